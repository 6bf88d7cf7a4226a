"""OGBench's single-task datasets (arXiv:2410.20092): names, files, the reading of files, the rewards of a task."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.datasets import hosted, npz, reader
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.collect import CollectionProgress, collect
from gtp_jax.datasets.builtin.ogbench import OGBENCH, OGBenchCollection, columns_of, single_task
from gtp_jax.datasets.folder import is_there
from gtp_jax.datasets.hdf5 import CURE, KINDS, BadDataset, digest
from gtp_jax.envs.making import EvalEnv
from gtp_jax.files import check_writable, read_json, user_path
from gtp_jax.names import nearest

_MAZES = ("medium", "large", "giant", "teleport")
TYPES = {
    **{f"antmaze-{maze}": ("navigate", "stitch", "explore") for maze in _MAZES},
    **{f"{body}-{maze}": ("navigate", "stitch") for body in ("pointmaze", "humanoidmaze") for maze in _MAZES},
    **{f"antsoccer-{field}": ("navigate", "stitch") for field in ("arena", "medium")},
    **{f"cube-{number}": ("play", "noisy") for number in ("single", "double", "triple", "quadruple", "octuple")},
    **{arm: ("play", "noisy") for arm in ("scene", "puzzle-3x3", "puzzle-4x4", "puzzle-4x5", "puzzle-4x6")},
}
TASKS = ("singletask", *(f"singletask-task{number}" for number in range(1, 6)))
NAMES = tuple(f"ogbench/{env}-{each}-{task}-v0" for env, types in TYPES.items() for each in types for task in TASKS)
_KINDS = {"terminals": "biuf", "button_states": "iu"}  # NumPy's letters; floats otherwise


def _unavailable(dataset_id: str, path: Path, problem: str) -> hosted.DatasetUnavailable:
    again, instead = f"gtp/{dataset_id.removesuffix('-v0')}-1m-v0", "This package cannot make data like it"
    if path.stem.removesuffix("-v0") in OGBENCH:
        instead = f"Data like it, of other seeds, are {again}; to make them here: `gtp-jax collect {again}`"
    return hosted.DatasetUnavailable(
        f"{dataset_id}: {path.name} is not in {path.parent}, and {problem}. To get it: `python -c 'import ogbench; "
        f'ogbench.download_datasets(["{path.stem}"])\'` where there is a network, then copy it there. {instead}'
    )


def is_ogbench(dataset_id: str) -> bool:
    """Whether an id names a dataset of OGBench, hosted or made again here."""
    return dataset_id.startswith(("ogbench/", "gtp/ogbench/"))


def check(dataset_id: str) -> None:
    """Raises ValueError where `load` would for the id alone: an unknown name, a package that is not installed."""
    if dataset_id.startswith("gtp/"):
        ids.parse_id(dataset_id)
    elif dataset_id not in NAMES:
        near = nearest(dataset_id, NAMES)
        form = "they are ogbench/ENVIRONMENT-TYPE-singletask[-taskN]-v0, N from 1 to 5"
        raise ValueError(f"no dataset {dataset_id!r:.100}; {form}{f'; did you mean {near!r}?' if near else ''}")
    from gtp_jax.envs.ogbench import check_installed

    check_installed(dataset_id)


def load(dataset_id: str, root: Path, progress: CollectionProgress | None = None) -> tuple[reader.Raw, EvalEnv]:
    """The data of one task, and the environment that its policies are evaluated in, by success.

    Rewards are OGBench's: minus the number of parts of the task that the state does not meet. They are 0 where all are
    met, and `terminated` is true there, also in the middle of an episode. `gtp/ogbench/...` is collected into `root`
    first, unless it is there, and `ogbench/...` downloaded into OGBench's own folder. Without "singletask-taskN" the
    task is OGBench's default one.

    Raises ValueError for an unknown name, BadDataset for a file that cannot be trained on, DatasetUnavailable for one
    that is not here and cannot be downloaded.
    """
    check(dataset_id)
    from gtp_jax.envs.ogbench import in_its_maze

    if dataset_id.startswith("gtp/"):
        wanted = ids.parse_id(dataset_id)
        assert isinstance(wanted.collection, OGBenchCollection)
        folder, env = collect(wanted, root, progress=progress), wanted.collection.eval_env(wanted.task or TASKS[0])
        name, seal = wanted.collection.name, _seal(folder, wanted.id)
        return read(folder / "data" / f"{name}-v0.npz", wanted.id, env, seal), in_its_maze(env)
    name, _, task = dataset_id.removeprefix("ogbench/").removesuffix("-v0").partition("-singletask")
    env = single_task(name, TASKS[0] + task)
    return read(download(dataset_id, name), dataset_id, env), in_its_maze(env)


def _seal(folder: Path, dataset_id: str) -> str:
    try:
        return str(read_json(folder / "data" / "metadata.json", folder)[reader.SEAL])
    except (OSError, ValueError, TypeError, KeyError) as error:
        says = f"metadata.json of {folder} states no {reader.SEAL} ({error})"
        raise BadDataset(f"{dataset_id}: {says}; delete the folder and it is collected anew") from error


def download(dataset_id: str, name: str) -> Path:
    """Downloads ENVIRONMENT-TYPE-v0.npz to where the package keeps its data, unless it is there, and returns its path.

    Raises DatasetUnavailable where there is no network, within 3 seconds, and where the download fails.
    """
    from ogbench import utils  # pyright: ignore[reportAttributeAccessIssue]  # not on Python 3.13 and newer

    path = user_path(utils.DEFAULT_DATASET_DIR) / f"{name}-v0.npz"
    if is_there(dataset_id, path):
        return path
    if (problem := hosted.problem_of(utils.DATASET_URL)) is not None:
        raise _unavailable(dataset_id, path, problem)
    check_writable(path.parent)
    # Elsewhere first: two of the package's downloads of one file would write into each other's.
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        program = "import sys, ogbench; ogbench.download_datasets(sys.argv[1:2], sys.argv[2])"
        command = [sys.executable, "-c", program, path.stem, str(temporary)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
            raise _unavailable(dataset_id, path, f"the download failed: {lines[-1]}")
        for each in temporary.glob("*.npz"):
            os.replace(each, path.parent / each.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def read(path: Path, dataset_id: str, eval_env: EvalEnv, seal: str | None = None) -> reader.Raw:
    """Reads ENVIRONMENT-TYPE-v0.npz as the package does, with the rewards of the task of `eval_env`.

    An episode's last row holds its final observation, with an action that leads nowhere. `seal` is the SHA-256 that the
    content must have.

    Raises BadDataset for a file that is unreadable, arrays that are missing, of another type or shape than the
    environment's, NaN or infinity (field, episode and index are named), actions outside their bounds, episodes without
    an end or a transition, and content that is not what was sealed.
    """
    arrays = npz.read(path, columns_of(path.stem))
    if seal is not None and (found := digest(arrays.items())) != seal:
        cure = f"delete {path.parent.parent} and it is collected anew"
        raise BadDataset(f"{dataset_id}: {path} has the SHA-256 {found}, and {seal} was collected; {cure}")
    env = eval_env.make_env()
    try:
        lengths = _check(f"{dataset_id}: {path}", arrays, env)
        bounds = np.stack([env.action_space.low, env.action_space.high])
        has_next = arrays["terminals"] == 0
        columns = {"observations": arrays["observations"], "actions": arrays["actions"][has_next]}
        reader.check_numbers(dataset_id, "qpos", arrays["qpos"], lengths + 1)
        reader.check_transitions(dataset_id, columns, lengths, bounds)
        labels = {name: arrays[name][has_next] for name in ("qpos", "button_states") if name in arrays}
        from ogbench.relabel_utils import relabel_dataset  # pyright: ignore[reportMissingImports]

        relabel_dataset(eval_env.env_id, env, labels)
    finally:
        env.close()
    return reader.Raw(
        observations=arrays["observations"].astype(np.float32, copy=False),
        action=columns["actions"].astype(np.float32, copy=False),
        reward=labels["rewards"],
        terminated=labels["masks"] == 0,
        episode=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        step=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        action_low=bounds[0],
        action_high=bounds[1],
        metadata={},
        fingerprint=digest([*arrays.items(), ("rewards", labels["rewards"]), ("masks", labels["masks"])]),
    )


def _check(where: str, arrays: dict[str, np.ndarray], env: Any) -> np.ndarray:
    """Checks types, shapes and ends of episodes against the environment; returns the transitions of each episode."""
    inner, rows = env.unwrapped, len(arrays["observations"]) if arrays["observations"].ndim else 0
    widths = {"observations": env.observation_space.shape, "actions": env.action_space.shape, "terminals": ()}
    widths |= {"qpos": (inner.model.nq,)}
    if "button_states" in arrays:
        widths["button_states"] = inner._cur_button_states.shape
    for name, array in arrays.items():
        kinds = _KINDS.get(name, "f")
        if array.dtype.kind not in kinds:
            names = " or ".join(dict.fromkeys(KINDS[kind] for kind in kinds))
            raise BadDataset(f"{where}, {name}: expected {names}, got {array.dtype}; {CURE}")
        if array.shape != (rows, *widths[name]):
            raise BadDataset(f"{where}, {name}: expected shape {(rows, *widths[name])}, got {array.shape}; {CURE}")
    terminals = arrays["terminals"]
    if (odd := (terminals != 0) & (terminals != 1)).any():
        raise BadDataset(f"{where}, terminals: {terminals[odd][0]} at index {odd.argmax()} is neither 0 nor 1; {CURE}")
    if not rows or not terminals[-1]:
        raise BadDataset(f"{where}, terminals: the last of {rows} rows must be 1, the end of an episode; {CURE}")
    lengths = np.diff(np.flatnonzero(terminals), prepend=-1) - 1
    if not lengths.all():
        number = int(lengths.argmin())
        raise BadDataset(f"{where}, terminals: episode {number} has one row, and so no transitions; {CURE}")
    return lengths
