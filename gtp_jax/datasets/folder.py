"""The folder of Minari datasets: where it is, and how a dataset gets into it whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gtp_jax import files


def datasets_root(root: str | os.PathLike | None = None) -> Path:
    """`root`, or else Minari's own folder: MINARI_DATASETS_PATH, or .minari/datasets in the home folder."""
    if root is not None:
        return files.user_path(root).absolute()
    try:
        return files.user_path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").absolute()
    except ValueError as error:
        raise ValueError(f"the folder of datasets: {error}; or set MINARI_DATASETS_PATH to it") from None


def is_there(dataset_id: str, path: Path) -> bool:
    """Whether a file or folder of a dataset exists. Raises ValueError where that cannot be found out."""
    try:
        return files.exists(path)
    except OSError as error:  # no permission, or too long a name
        raise ValueError(f"{dataset_id}: {path} cannot be read ({error.strerror})") from None


def prepare(root: Path, dataset_id: str) -> None:
    """Makes the folder that `install` needs. Raises ValueError where nothing can be written to it."""
    try:
        files.check_writable((root / dataset_id).parent)
    except ValueError as error:
        raise ValueError(f"dataset {dataset_id}: {error}: MINARI_DATASETS_PATH names it") from None


def install(root: Path, dataset_id: str, build: Callable[[Path], None]) -> Path:
    """Puts a dataset at root / dataset_id, unless it is there, and returns that path.

    `build(folder)` writes the dataset to folder / dataset_id, in a new folder on the same file system, from which it
    moves into place in one rename. Other processes that want the dataset wait meanwhile, or, on a file system without
    locks, build it as well. A build that is killed leaves a hidden folder, which the next build of the dataset removes.
    """
    target = root / dataset_id
    prepare(root, dataset_id)
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        held = files.lock(lock, wait=True)
        if (target / "data").exists():
            return target
        for stale in target.parent.glob(f".{target.name}.building-*") if held else ():
            shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.building-", dir=target.parent))
        try:
            build(folder)
            os.rename(folder / dataset_id, target)
        except OSError:
            if held or not (target / "data").exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target
