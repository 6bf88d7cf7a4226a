"""Collects OGBench's data into files of its format, episode by episode, so that a killed collection goes on."""

import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.metadata
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtp_jax.datasets import folder, npz
from gtp_jax.datasets.builtin.controller import CONTROLLERS
from gtp_jax.datasets.builtin.ids import BuiltIn
from gtp_jax.datasets.builtin.ogbench import OGBenchCollection, columns_of
from gtp_jax.datasets.builtin.ogbench_episodes import PARTS, Simulator
from gtp_jax.datasets.builtin.workers import enter
from gtp_jax.datasets.hdf5 import digest
from gtp_jax.datasets.reader import SEAL
from gtp_jax.files import replacing, write_json


class _Block(NamedTuple):
    """The unit of work and of what is kept: some whole episodes of one part."""

    part: str
    first: int
    episodes: int

    @property
    def file(self) -> str:
        return f"{self.part}-{self.first}.npz"


def install(builtin: BuiltIn, root: Path, workers: int) -> None:
    """Collects a dataset into root / builtin.stored, unless it is there.

    Its folder data/ holds NAME-v0.npz and NAME-v0-val.npz, which ogbench.make_env_and_datasets reads, and
    metadata.json. Finished episodes wait in a hidden folder beside it. Prints DONE/TOTAL lines.
    """
    target = root / builtin.stored
    versions = {name: importlib.metadata.version(name) for name in ("mujoco", "numpy", "ogbench")}
    # The weights of a controller are a version, too.
    versions |= {
        name: hashlib.sha256((CONTROLLERS / name).read_bytes()).hexdigest() for name in builtin.collection.controllers
    }
    # Other versions may make other episodes.
    kept = target.parent / f".{target.name}.kept-{hashlib.sha256(str(versions).encode()).hexdigest()[:8]}"
    folder.install(root, builtin.stored, functools.partial(_build, builtin, workers, kept, versions))
    for each in target.parent.glob(f".{target.name}.kept-*"):
        shutil.rmtree(each, ignore_errors=True)


def _build(builtin: BuiltIn, workers: int, kept: Path, versions: dict[str, str], place: Path) -> None:
    collection = builtin.collection
    assert isinstance(collection, OGBenchCollection)
    kept.mkdir(exist_ok=True)
    episodes = -(-builtin.transitions // collection.steps)
    each = max(1, 1000 // collection.steps)
    blocks = [
        _Block(part, first, min(each, count - first))
        for part, count in zip(PARTS, (episodes, max(1, episodes // 10)), strict=True)
        for first in range(0, count, each)
    ]
    found = {block.file: _read(kept / block.file) for block in blocks}
    missing = [block for block in blocks if found[block.file] is None]
    given = collection, builtin.seed, kept, place
    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, given)
    try:
        done = len(blocks) - len(missing)
        for future in concurrent.futures.as_completed([pool.submit(_play, block) for block in missing]):
            future.result()
            done += 1
            print(f"{builtin.transitions * done // len(blocks)}/{builtin.transitions}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    data = place / builtin.stored / "data"
    data.mkdir(parents=True)
    rows = {"train": builtin.transitions + episodes, "val": None}
    seal = ""
    for part, suffix in zip(PARTS, ("", "-val"), strict=True):
        played = [found[block.file] or npz.read(kept / block.file) for block in blocks if block.part == part]
        columns = {name: np.concatenate([one[name] for one in played])[: rows[part]] for name in played[0]}
        columns["terminals"][-1] = True  # a last episode that is cut to size ends there
        _save(data / f"{collection.name}-v0{suffix}.npz", columns, np.savez_compressed)
        seal = seal or digest((name, columns[name]) for name in columns_of(collection.name))
    mover = "an expert of its own" if collection.controllers else "oracles"
    write_json(
        data / "metadata.json",
        {
            "dataset_id": builtin.stored,
            "description": f"Made again by gtp_jax with OGBench's environments and {mover}, by its published settings.",
            "settings": {"noise": collection.noise, "random_actions": collection.random, "steps": collection.steps},
            "seed": builtin.seed,
            "transitions": builtin.transitions,
            "versions": versions,
            SEAL: seal,
        },
    )


def _save(path: Path, columns: dict[str, np.ndarray], write: Callable[..., None]) -> None:
    with replacing(path) as file:
        write(file, **columns)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    with contextlib.suppress(ValueError):
        return npz.read(path)
    return None


_simulator: Simulator  # of this worker process
_kept: Path


def _start_worker(collection: OGBenchCollection, seed: int, kept: Path, place: Path) -> None:
    global _simulator, _kept
    enter(place)
    _simulator, _kept = Simulator(collection, seed), kept


def _play(block: _Block) -> None:
    episodes = [_simulator.episode(block.part, block.first + i) for i in range(block.episodes)]
    columns = {name: np.concatenate([each[name] for each in episodes]) for name in episodes[0]}
    _save(_kept / block.file, columns, np.savez)
