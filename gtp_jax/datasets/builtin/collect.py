"""Collects the built-in datasets, on all cores; the data do not depend on how many there are."""

import collections
import concurrent.futures
import functools
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.config.tasks import reference
from gtp_jax.datasets import reader
from gtp_jax.datasets.builtin.antmaze import AntMazeCollection
from gtp_jax.datasets.builtin.d4rl_antmaze import D4RLAntMazeCollection
from gtp_jax.datasets.builtin.ids import BuiltIn, Collection, parse_id
from gtp_jax.datasets.builtin.ogbench import OGBenchCollection
from gtp_jax.datasets.builtin.rollouts import Episode, Simulator
from gtp_jax.datasets.builtin.workers import enter
from gtp_jax.datasets.folder import install, is_there, prepare
from gtp_jax.envs.making import private_tempdir
from gtp_jax.parallel.compiler import cores

CollectionProgress = Callable[[int, int], None]  # (transitions done, of how many)

# Threads do not pay for small products, and how BLAS splits them may change their last bits.
_ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def collect(
    builtin: BuiltIn, root: Path, workers: int | None = None, progress: CollectionProgress | None = None
) -> Path:
    """Collects a dataset into a Minari root, unless it is there, and returns its folder.

    A Python process of its own does it, so that any script or notebook may call this function, with `workers` processes
    that simulate (None: one for each core). The id alone decides every bit of the data, on one machine with one set of
    versions. `progress` is called after every block of episodes.

    Raises ValueError where it cannot be written there, and OSError with the last line of the process's error output.
    """
    folder = root / builtin.stored
    if is_there(builtin.id, folder / "data"):
        return folder
    workers = cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    prepare(root, builtin.stored)
    command = [sys.executable, "-m", "gtp_jax.datasets.builtin.collect", builtin.stored, str(root), str(workers)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, **_ONE_THREAD, "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables)
        assert child.stdout is not None
        try:
            for line in child.stdout:
                counts = re.fullmatch(r"(\d+)/(\d+)\n", line)  # MuJoCo's warnings come this way, too
                if progress is not None and counts:
                    progress(int(counts[1]), int(counts[2]))
        finally:
            # Reached early only by an exception here (Ctrl-C, say): closing the pipe stops the child, which tidies up.
            child.stdout.close()
            status = child.wait()
        if status:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            raise OSError(f"collecting {builtin.stored} failed (exit status {status}): {' '.join(last):.2000}")
    return folder


def _build(builtin: BuiltIn, workers: int, folder: Path) -> None:
    """Writes the dataset to folder / builtin.id, in the process that `collect` starts, and prints DONE/TOTAL lines."""
    episodes, done, indices = [], 0, itertools.count()
    assert not isinstance(builtin.collection, OGBenchCollection)
    given, spawn = (builtin.collection, builtin.seed, folder), multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, _start_worker, given)
    try:
        ahead = collections.deque(pool.submit(_block, next(indices)) for _ in range(workers + 1))
        while done < builtin.transitions:
            block = ahead.popleft().result()
            ahead.append(pool.submit(_block, next(indices)))
            for episode in block:
                # In order and whole, so that slow, unsuccessful episodes count; only the last one is cut to size.
                if done < builtin.transitions:
                    episodes.append(episode.first(builtin.transitions - done))
                    done += len(episodes[-1].rewards)
            print(f"{done}/{builtin.transitions}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    _write(builtin, episodes, folder)
    reader.seal(folder / builtin.id, builtin.id)


_simulator: Simulator  # of this worker process


def _start_worker(collection: Collection, seed: int, folder: Path) -> None:
    global _simulator
    enter(folder)
    _simulator = Simulator(collection, seed)


def _block(index: int) -> list[Episode]:
    return _simulator.block(index)


def _write(builtin: BuiltIn, episodes: list[Episode], folder: Path) -> None:
    """Writes episodes as a Minari dataset to folder / builtin.id."""
    from gymnasium import spaces
    from minari import create_dataset_from_buffers
    from minari.data_collector.episode_buffer import EpisodeBuffer

    def box(column: np.ndarray) -> spaces.Box:
        return spaces.Box(-float("inf"), float("inf"), column.shape[1:], np.float32)

    collection, observed = builtin.collection, episodes[0].observations
    assert not isinstance(collection, OGBenchCollection)
    eval_env = collection.eval_env()
    low, high = reference(eval_env.env_id) or (0.0, 1.0)
    definition: dict[str, Any] = {"task": f"{collection.family}/{collection.name}", "environment": eval_env.env_id}
    if isinstance(collection, AntMazeCollection | D4RLAntMazeCollection):
        definition |= {"starts": collection.starts, "goals": collection.goals}
    definition |= {"action_noise": collection.noise, "controllers": collection.controllers}
    definition |= {"transitions": builtin.transitions, "seed": builtin.seed}
    is_dict = isinstance(observed, dict)
    space = spaces.Dict({name: box(column) for name, column in observed.items()}) if is_dict else box(observed)
    spec = eval_env.make_env().spec
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    with private_tempdir():
        create_dataset_from_buffers(
            builtin.id,
            [EpisodeBuffer(**episode._asdict()) for episode in episodes],
            env=spec,
            eval_env=spec,
            observation_space=space,
            action_space=spaces.Box(-1.0, 1.0, episodes[0].actions.shape[1:], np.float32),
            algorithm_name="SAC controller",
            author="gtp_jax contributors",
            author_email="none",
            code_permalink="gtp_jax.datasets.builtin.collect",
            ref_min_score=low,  # D4RL's returns of a random and an expert policy
            ref_max_score=high,  # without both, Minari plays a hundred random episodes
            description=f"Made by gtp_jax: {collection.card} Data and controller: Apache-2.0.\n"
            + json.dumps(definition),
            requirements=list(collection.requirements),
        )


if __name__ == "__main__":
    _builtin, _root, _workers = parse_id(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if isinstance(_builtin.collection, OGBenchCollection):
        from gtp_jax.datasets.builtin import ogbench_files

        ogbench_files.install(_builtin, _root, _workers)
    else:
        install(_root, _builtin.id, functools.partial(_build, _builtin, _workers))
