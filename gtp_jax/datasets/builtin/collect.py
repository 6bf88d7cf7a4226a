"""Collects the embedded datasets, on all cores, the same bytes whatever their number.

For the data alone: python -m gtp_jax.datasets.builtin.collect TASK [--transitions N] [--seed S]
    [--root DIR] [--workers W]
"""

import argparse
import collections
import concurrent.futures
import contextlib
import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gtp_jax.datasets import reader
from gtp_jax.datasets.builtin.ids import Embedded, Task, for_task, is_embedded, parse
from gtp_jax.datasets.builtin.rollouts import Episode, Simulator
from gtp_jax.datasets.folder import datasets_root, environment, install
from gtp_jax.envs.registry import private_tempdir

Progress = Callable[[int, int], None]  # (transitions done, of how many)

# Threads do not pay for small products, and how BLAS splits them may change their last bits.
_ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def collect(embedded: Embedded, root: Path, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Collects a dataset into a Minari root, unless it is there, and returns its folder.

    Uses `workers` processes (all cores if None) started by spawn: call it from under a main guard, or let
    `collect_in_child` do so. Bit-reproducible from the id alone on one machine and set of versions.
    """
    workers = _processes(workers)

    def build(folder: Path) -> None:
        episodes, done, total = [], 0, embedded.transitions
        blocks = _blocks(embedded, workers, folder)
        with environment(**_ONE_THREAD), contextlib.closing(blocks):
            while done < total:
                for episode in next(blocks):
                    # In order and whole, so that slow, unsuccessful episodes count; only the last one is cut to size.
                    if done < total:
                        episodes.append(episode.first(total - done))
                        done += episodes[-1].steps
                if progress is not None:
                    progress(done, total)
        _write(embedded, episodes, folder)
        reader.seal(folder / embedded.id, embedded.id)

    return install(root, embedded.id, build)


def collect_in_child(
    embedded: Embedded, root: Path, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Like `collect`, in a Python process of its own: from any script or notebook, and with this one left as it is.

    Raises RuntimeError with the child's last words if it fails.
    """
    command = [sys.executable, "-m", "gtp_jax.datasets.builtin.collect", embedded.id, "--root", str(root)]
    command += ["--workers", str(_processes(workers))]
    source = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, **_ONE_THREAD, "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables)
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
            raise RuntimeError(
                f"collecting {embedded.id} failed (exit status {status}): {errors.read()[-2000:].strip()}"
            )
    return root / embedded.id


def _processes(workers: int | None) -> int:
    if workers is not None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(embedded: Embedded, workers: int, folder: Path) -> Iterator[list[Episode]]:
    """All blocks of episodes, from index 0 up, without end; worked ahead on by `workers` processes."""
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(embedded.task, embedded.seed, folder),
    )
    try:
        indices = itertools.count()
        ahead = collections.deque(pool.submit(_block, next(indices)) for _ in range(workers + 1))
        while True:
            block = ahead.popleft().result()
            ahead.append(pool.submit(_block, next(indices)))
            yield block
    finally:
        pool.shutdown(cancel_futures=True)


_simulator: Simulator | None = None  # of this worker process


def _start_worker(task: Task, seed: int, folder: Path) -> None:
    global _simulator
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # MuJoCo writes its warnings to MUJOCO_LOG.TXT in the working directory.
    os.chdir(tempfile.mkdtemp(dir=folder))
    _simulator = Simulator(task, seed)


def _die_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _block(index: int) -> list[Episode]:
    return _simulator.block(index)


def _write(embedded: Embedded, episodes: list[Episode], folder: Path) -> None:
    """Writes episodes as a Minari dataset to folder / embedded.id."""
    from gymnasium import spaces
    from minari import create_dataset_from_buffers
    from reader.data_collector.episode_buffer import EpisodeBuffer

    task, first = embedded.task, episodes[0]

    def box(column: np.ndarray) -> spaces.Box:
        return spaces.Box(-float("inf"), float("inf"), column.shape[1:], "float32")

    observed = first.observations
    buffers = [
        EpisodeBuffer(
            seed=episode.seed,
            options={name: list(each) for name, each in episode.options.items()},
            observations=episode.observations,
            actions=episode.action,
            rewards=episode.reward,
            terminations=_last_only(episode.steps, episode.terminated),
            truncations=_last_only(episode.steps, not episode.terminated),
            infos=episode.infos,
        )
        for episode in episodes
    ]
    spec = for_task(task).make_env().spec
    low, high = task.references
    with environment(MINARI_DATASETS_PATH=str(folder)), private_tempdir():
        create_dataset_from_buffers(
            embedded.id,
            buffers,
            env=spec,
            eval_env=spec,
            observation_space=spaces.Dict({name: box(column) for name, column in observed.items()})
            if isinstance(observed, dict)
            else box(observed),
            action_space=spaces.Box(-1.0, 1.0, first.action.shape[1:], "float32"),
            algorithm_name="SAC controller",
            author="gtp_jax contributors",
            author_email="none",
            code_permalink="gtp_jax.datasets.builtin.collect",
            # Both reference scores: without them Minari plays a hundred random episodes.
            ref_min_score=low,
            ref_max_score=high,
            description=f"Made by gtp_jax: {task.card} Data and controller: Apache-2.0.\n"
            + json.dumps(_definition(embedded)),
            requirements=list(task.requirements),
        )


def _definition(embedded: Embedded) -> dict:
    task = embedded.task
    return {
        "task": f"{task.family}/{task.name}",
        "environment": task.env_id,
        **task.definition(),
        "action_noise": task.noise,
        "controllers": task.controllers,
        "transitions": embedded.transitions,
        "seed": embedded.seed,
    }


def _last_only(length: int, value: bool) -> np.ndarray:
    flags = np.zeros(length, bool)
    flags[-1] = value
    return flags


def main(argv: list[str] | None = None) -> None:
    """The command line. Prints DONE/TOTAL lines, from which `collect_in_child` takes its progress."""
    parser = argparse.ArgumentParser(
        prog="python -m gtp_jax.datasets.builtin.collect", description=__doc__.split("\n")[0]
    )
    parser.add_argument("task", metavar="TASK", help="a dataset's id, or FAMILY/TASK: antmaze/umaze, hopper/medium")
    parser.add_argument("--transitions", type=int, help="size of the data set, if not the task's own")
    parser.add_argument("--seed", type=int, help="seed of the collection (0)")
    parser.add_argument("--root", help="Minari's datasets folder, if not the one of MINARI_DATASETS_PATH")
    parser.add_argument("--workers", type=int, help="processes (all cores)")
    args = parser.parse_args(argv)
    dataset_id = args.task if is_embedded(args.task) else f"gtp/{args.task}-v0"
    try:
        embedded = parse(dataset_id, args.transitions, args.seed)
        collect(
            embedded,
            datasets_root(args.root),
            args.workers,
            lambda done, total: print(f"{done}/{total}", flush=True),
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
