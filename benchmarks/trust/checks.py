"""What the checks on load cost: the CPU time of loading a dataset with them and without, in turns.

The checks of data are those of values, shapes and types; those of place look for links and for arrays in other files.
Minari's own reader, which does not look, stands beside them, and reads infos, too.
"""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import h5py
import numpy as np
from minari.dataset.minari_storage import MinariStorage

from benchmarks import shared
from gtp_jax import datasets, files
from gtp_jax.datasets import folder, hdf5, reader


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


def measure(rounds: int, dataset: str) -> dict[str, Any]:
    """CPU seconds of loading with and without checks, in turns, and the share of the checks."""
    data = datasets.load(dataset)  # collects it
    path = folder.datasets_root() / dataset / "data"

    def load(place: bool | None = None) -> None:
        with contextlib.nullcontext() if place is None else without(place):
            datasets.load(dataset)

    def read_by_minari() -> None:
        storage = MinariStorage.read(path)
        list(storage.get_episodes(range(storage.total_episodes)))

    calls = {"all checks": load, "those of place": lambda: load(True), "none": lambda: load(False)}
    calls["reading alone, by Minari"] = read_by_minari
    seconds = shared.in_turns(calls, rounds, clock=time.process_time)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    whole, placed, none, _ = medians.values()
    shares = {"data": (whole - placed) / whole, "place": (placed - none) / whole}
    sizes = {"transitions": len(data.episode), "episodes": int(data.episode[-1]) + 1}
    return sizes | {"cpu_seconds": medians, "share_of_load": shares}


main = partial(shared.measure, __file__, __doc__, measure, rounds=25, dataset="gtp/antmaze/umaze-v0")
