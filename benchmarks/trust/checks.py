"""What the checks on load cost: the CPU time of loading a dataset with them and without, in turns.

    python benchmarks/trust/checks.py [--rounds=25] [--episodes=480]

Data of the built-in U-Maze's size and layout, 100,000 transitions in 480 episodes, with made-up numbers. The checks of
data are those of values (NaN, bounds, float32), shapes and types; those of place look for links and for arrays in other
files. Without them the same code reads the same arrays; Minari's own reader, which does not look, stands beside it, and
reads infos, too. Writes RESULTS/checks.json.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, __file__.rpartition("/benchmarks/")[0])
sys.path.insert(0, f"{sys.path[0]}/tests")

import h5py
import numpy as np
import stored
from minari.dataset.minari_storage import MinariStorage

from benchmarks import shared
from gtp_jax import datasets, files
from gtp_jax.datasets import hdf5, reader
from gtp_jax.datasets.builtin.antmaze import UMAZE

STEPS, ID, SIZES = 210, "test/umaze-v0", {"achieved_goal": 2, "desired_goal": 2, "observation": 27}


def write(root: Path, episodes: int) -> None:
    """Writes a dataset with the arrays that Minari would write."""
    rng, last = np.random.default_rng(0), np.arange(STEPS) == STEPS - 1
    boxes = {key: json.loads(stored.box(size, dtype="float32")) for key, size in SIZES.items()}

    def episode() -> dict[str, np.ndarray]:
        observed = {key: rng.normal(size=(STEPS + 1, size)).astype(np.float32) for key, size in SIZES.items()}
        return {f"observations/{key}": array for key, array in observed.items()} | {
            "actions": rng.uniform(-1, 1, (STEPS, 8)).astype(np.float32),
            "rewards": last.astype(float),
            "terminations": last,
            "truncations": np.zeros(STEPS, bool),
            "infos/success": np.arange(STEPS + 1) == STEPS,
        }

    stored.write(
        root,
        ID,
        [episode() for _ in range(episodes)],
        observation_space=json.dumps({"type": "Dict", "subspaces": boxes}),
        action_space=stored.box(8, -1.0, 1.0, "float32"),
        env_spec=json.dumps({"id": "AntMaze_UMaze-v5", "kwargs": {"maze_map": UMAZE.maze_map}}),
    )


@contextlib.contextmanager
def without(place: bool) -> Iterator[None]:
    """Loading as it is, without the checks of data and, unless `place`, without those of where the arrays lie."""

    def read(group, path, shapes, where):
        del shapes
        for key in path.split("/"):
            group = hdf5._member(group, key, where)
        if place:
            hdf5._check_storage(group, where)
        result = np.empty(group.shape, group.dtype)
        group.read(h5py.h5s.ALL, h5py.h5s.ALL, result)
        return result

    left_out = [(hdf5, "_read", read), (reader, "check_transitions", lambda *_: None)]
    if not place:
        left_out += [(hdf5, "_member", lambda group, name, where: h5py.h5o.open(group, name.encode()))]
        left_out += [(module, "check_file", lambda *_: None) for module in (reader, files)]
    with contextlib.ExitStack() as stack:
        for module, name, instead in left_out:
            stack.enter_context(mock.patch.object(module, name, instead))
        yield


def measure(rounds: int, episodes: int) -> dict[str, Any]:
    """CPU seconds of loading with and without checks, in turns, and the share of the checks."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, episodes)

        def load(place: bool | None = None) -> None:
            with contextlib.nullcontext() if place is None else without(place):
                datasets.load(ID, root=root)

        def read_by_minari() -> None:
            list(MinariStorage.read(root / ID / "data").get_episodes(range(episodes)))

        calls = {"all checks": load, "those of place": lambda: load(True), "none": lambda: load(False)}
        calls["reading alone, by Minari"] = read_by_minari
        seconds = shared.in_turns(calls, rounds, clock=time.process_time)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    whole, placed, none, _ = medians.values()
    shares = {"data": (whole - placed) / whole, "place": (placed - none) / whole}
    sizes = {"transitions": episodes * STEPS, "episodes": episodes}
    return sizes | {"cpu_seconds": medians, "share_of_load": shares}


main = partial(shared.measure, __file__, __doc__, measure, rounds=25, episodes=480)


if __name__ == "__main__":
    main()
