"""The folder of Minari datasets: where it is, and how a dataset gets into it whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def datasets_root(root: str | os.PathLike | None = None) -> Path:
    """`root`, or else Minari's own folder: MINARI_DATASETS_PATH, or .minari/datasets in the home folder."""
    if root is not None:
        return Path(root).expanduser().absolute()
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets").absolute()


def install(root: Path, dataset_id: str, build: Callable[[Path], None]) -> Path:
    """Puts a dataset at root / dataset_id, unless it is there, and returns that path.

    `build(folder)` writes the dataset to folder / dataset_id, in a new folder on the same file system, from which it
    moves into place in one rename. Other processes that want the dataset wait meanwhile. A build that is killed leaves
    a hidden folder, which the next build of the dataset removes.
    """
    target = root / dataset_id
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / "data").exists():
            return target
        for stale in target.parent.glob(f".{target.name}.building-*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.building-", dir=target.parent))
        try:
            build(folder)
            os.rename(folder / dataset_id, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target
