"""What the checks on load cost: the CPU time of loading a dataset with them and without, in turns.

    python benchmarks/checks.py [--rounds=15]

Data of the embedded U-Maze's size and layout, 100,000 transitions in 480 episodes, with made-up numbers. The checks are
those of values (NaN, bounds, float32), of shapes and types, and of where the arrays lie (no link, no other file);
without them the same code reads the same arrays. Prints one JSON line and writes results/checks.json.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from gtp_jax import datasets, foreign, records
from gtp_jax.datasets import minari, storage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import stored  # the tests' own writer

EPISODES, STEPS = 480, 210
UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]


def write(root: Path) -> None:
    """Writes a dataset as the collector does."""
    rng, sizes = np.random.default_rng(0), {"achieved_goal": 2, "desired_goal": 2, "observation": 27}
    spaces = {name: json.loads(stored.box(size, dtype="float32")) for name, size in sizes.items()}
    observations = {f"observations/{name}": (STEPS + 1, size) for name, size in sizes.items()}
    episodes = [
        {
            **{path: rng.normal(size=shape).astype(np.float32) for path, shape in observations.items()},
            "actions": rng.uniform(-1, 1, (STEPS, 8)).astype(np.float32),
            "rewards": np.arange(STEPS) == STEPS - 1.0,
            "terminations": np.arange(STEPS) == STEPS - 1,
            "truncations": np.zeros(STEPS, bool),
        }
        for _ in range(EPISODES)
    ]
    for episode in episodes:
        episode["rewards"] = episode["rewards"].astype(float)
    stored.write(
        root,
        "test/umaze-v0",
        episodes,
        observation_space=json.dumps({"type": "Dict", "subspaces": spaces}),
        action_space=stored.box(8, -1.0, 1.0, "float32"),
        env_spec=json.dumps({"id": "AntMaze_UMaze-v5", "kwargs": {"maze_map": UMAZE}}),
    )


@contextlib.contextmanager
def unchecked():
    """Loading as it is, the checks left out."""

    def read(array, shape, kinds, where):
        del shape, kinds, where
        result = np.empty(array.shape, array.dtype)
        array.read(h5py.h5s.ALL, h5py.h5s.ALL, result)
        return result

    with contextlib.ExitStack() as stack:
        for place, name, instead in (
            (storage, "_member", lambda group, name, where: h5py.h5o.open(group, name.encode())),
            (storage, "_check_keys", lambda *_: None),
            (storage, "_read", read),
            (minari, "check", lambda *_: None),
            (minari, "check_numbers", lambda *_: None),
            (minari, "check_file", lambda *_: None),
            (foreign, "check_file", lambda *_: None),
        ):
            stack.enter_context(mock.patch.object(place, name, instead))
        yield


def measure(root: Path) -> float:
    """CPU seconds of one load."""
    started = time.process_time()
    datasets.load("test/umaze-v0", root=root)
    return time.process_time() - started


def main() -> None:
    """Measures in turns and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    commit, seconds = records.commit(), {"checked": [], "unchecked": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root)
        measure(root)
        for _ in range(arguments.rounds):
            seconds["checked"].append(measure(root))
            with unchecked():
                seconds["unchecked"].append(measure(root))
    checked, without = (float(np.median(each)) for each in seconds.values())
    result = {
        "command": f"python benchmarks/checks.py --rounds={arguments.rounds}",
        "transitions": EPISODES * STEPS,
        "episodes": EPISODES,
        "cpu_seconds": {"checked": checked, "unchecked": without},
        "share_of_load": (checked - without) / checked,
        "date": records.now(),
        "device": records.device(),
        "versions": records.versions(),
        "commit": commit,
    }
    print(json.dumps(result))
    records.write_json(Path(__file__).parent / "results" / "checks.json", result)


if __name__ == "__main__":
    main()
