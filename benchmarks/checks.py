"""What the checks on load cost: the CPU time of loading a dataset with them and without, in turns.

    python benchmarks/checks.py [--rounds=25]

Data of the embedded U-Maze's size and layout, 100,000 transitions in 480 episodes, with made-up numbers, written by
Minari. The checks of data are those of values (NaN, bounds, float32), shapes and types; those of place look for links
and for arrays in other files. Without them the same code reads the same arrays; Minari's own reader, which does not
look and reads infos, too, stands beside it. Prints one JSON line and writes results/checks.json.
"""

import argparse
import contextlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
from gymnasium import spaces
from minari import create_dataset_from_buffers
from reader.data_collector.episode_buffer import EpisodeBuffer
from reader.dataset.minari_storage import MinariStorage

from gtp_jax import datasets, files
from gtp_jax.datasets import hdf5
from gtp_jax.datasets.builtin import antmaze
from gtp_jax.datasets.folder import environment
from gtp_jax.runs import provenance

EPISODES, STEPS = 480, 210
ID = "test/umaze-v0"


def write(root: Path) -> None:
    """Writes a dataset with Minari's writer, as the collector does."""
    rng, sizes = np.random.default_rng(0), {"achieved_goal": 2, "desired_goal": 2, "observation": 27}
    episodes = [
        EpisodeBuffer(
            observations={key: rng.normal(size=(STEPS + 1, n)).astype(np.float32) for key, n in sizes.items()},
            actions=rng.uniform(-1, 1, (STEPS, 8)).astype(np.float32),
            rewards=(np.arange(STEPS) == STEPS - 1).astype(float),
            terminations=np.arange(STEPS) == STEPS - 1,
            truncations=np.zeros(STEPS, bool),
            infos={"success": np.arange(STEPS + 1) == STEPS},
        )
        for _ in range(EPISODES)
    ]
    boxes = {key: spaces.Box(-np.inf, np.inf, (n,), np.float32) for key, n in sizes.items()}
    with environment(MINARI_DATASETS_PATH=str(root)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the metadata lack
        create_dataset_from_buffers(
            ID, episodes, observation_space=spaces.Dict(boxes), action_space=spaces.Box(-1, 1, (8,), np.float32)
        )
    path = root / ID / "data" / "metadata.json"
    spec = {"id": "AntMaze_UMaze-v5", "kwargs": {"maze_map": antmaze.UMAZE.maze_map}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env_spec": json.dumps(spec)}))


@contextlib.contextmanager
def without(place: bool):
    """Loading as it is, without the checks of data and, unless `place`, without those of where the arrays lie."""

    def read(array, shape, kinds, where):
        del shape, kinds
        if place:
            hdf5._check_place(array, where)
        result = np.empty(array.shape, array.dtype)
        array.read(h5py.h5s.ALL, h5py.h5s.ALL, result)
        return result

    left_out = [(storage, "_check_keys", lambda *_: None), (storage, "_read", read)]
    left_out += [(minari, "check", lambda *_: None), (minari, "check_numbers", lambda *_: None)]
    if not place:
        left_out += [(storage, "_member", lambda group, name, where: h5py.h5o.open(group, name.encode()))]
        left_out += [(module, "check_file", lambda *_: None) for module in (minari, foreign)]
    with contextlib.ExitStack() as stack:
        for module, name, instead in left_out:
            stack.enter_context(mock.patch.object(module, name, instead))
        yield


def seconds_of(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Measures in turns and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    by_minari: list[float] = []
    commit, seconds = provenance.commit(), {"all checks": [], "those of place": [], "none": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root)

        def load():
            datasets.load(ID, root=root)

        def read_by_minari():
            list(MinariStorage.read(root / ID / "data").get_episodes(range(EPISODES)))

        load()
        for _ in range(arguments.rounds):
            seconds["all checks"].append(seconds_of(load))
            for name, place in (("those of place", True), ("none", False)):
                with without(place):
                    seconds[name].append(seconds_of(load))
            by_minari.append(seconds_of(read_by_minari))
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    whole, placed, none = medians.values()
    result = {
        "command": f"python benchmarks/checks.py --rounds={arguments.rounds}",
        "transitions": EPISODES * STEPS,
        "episodes": EPISODES,
        "cpu_seconds": medians | {"reading alone, by Minari": float(np.median(by_minari))},
        "share_of_load": {"data": (whole - placed) / whole, "place": (placed - none) / whole},
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    print(json.dumps(result))
    files.write_json(Path(__file__).parent / "results" / "checks.json", result)


if __name__ == "__main__":
    main()
