"""Files that somebody else may have written: no link leads out of their folder, and none is larger than it may be."""

import json
import stat
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 16 * 2**20  # the largest that a run or a dataset writes is some hundred kilobytes


def check_file(path: Path, folder: Path, max_bytes: int | None = None) -> None:
    """Raises ValueError where `path` is no ordinary file, is too large, or lies outside `folder`, links followed.

    The folder itself may be a link: it is the user's own.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{path} leads out of its folder, to {path.resolve()}, and is not followed; copy the file there"
        )
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not an ordinary file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ValueError(f"{path} is not read: it has {status.st_size:,} bytes, and may have {max_bytes:,}")


def read_json(path: Path, folder: Path | None = None) -> Any:
    """What a JSON file of a run or a dataset holds.

    Args:
      path: of the file.
      folder: that it must lie in, links followed; its own by default.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: for a file that is no JSON, larger than MAX_JSON_BYTES, or outside its folder.
    """
    check_file(path, folder or path.parent, MAX_JSON_BYTES)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error


def check_tree(folder: Path, data: str) -> None:
    """Checks all files below a folder: no links out of it, none above MAX_JSON_BYTES but in folders of the name `data`.

    Raises:
      ValueError: naming the first bad file.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            check_file(path, folder, None if data in path.relative_to(folder).parts[:-1] else MAX_JSON_BYTES)
