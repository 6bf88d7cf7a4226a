"""Reading files that somebody else may have written, and writing files whole or not at all."""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

MAX_JSON_BYTES = 16 * 2**20  # the largest that a run or a dataset writes is some hundred kilobytes
MAX_PATH = 4096  # characters; Linux takes no more bytes
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
TEMPORARY = ".*.tmp"  # the names of files that are being written and have not replaced the old ones yet


def user_path(path: str | bytes | os.PathLike) -> Path:
    """A path as a user writes it: ~ is the home folder, and $NAME or ${NAME} a variable of the environment.

    Raises ValueError where there is no such folder or variable, and for an empty or endless path or one that is not
    UTF-8.
    """
    text = os.fsdecode(path)
    _check_text(text)
    unset = [name for name in re.findall(r"\$\{?([A-Za-z_]\w*)", text) if name not in os.environ]
    if unset and not os.path.lexists(text):
        raise ValueError(f"path {text!r:.300}: the environment has no {unset[0]}; set it, or write the path without")
    try:
        found = Path(text if unset else os.path.expandvars(text)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"path {text!r:.300}: {error}; set HOME, or write the path without ~") from None
    _check_text(str(found))  # variables and the home folder hold anything
    return found


def _check_text(path: str) -> None:
    if not path or len(path) > MAX_PATH or re.search("[\0-\x1f\x7f\ud800-\udfff]", path):
        what = f"is empty, not UTF-8, or holds control characters or more than {MAX_PATH:,}"
        raise ValueError(f"path {path!a:.300} {what}; choose another")


def exists(path: Path) -> bool:
    """Whether something is there. Raises OSError where that cannot be found out, as `Path.exists` did before 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_writable(folder: Path) -> None:
    """Makes a folder, before results for it are computed. Raises ValueError where it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None


def check_output(path: Path) -> None:
    """Makes the folder of a file that will be written. Raises ValueError where that cannot be."""
    if path.is_dir() or path.is_symlink():
        raise ValueError(f"{path} is a {'link' if path.is_symlink() else 'folder'}; name a file")
    check_writable(path.parent)
    try:  # the longest name that `replacing` will use
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp").close()
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); choose another name") from None


def lock(file: IO[Any], wait: bool) -> bool:
    """Locks an open file until it is closed; returns False where its file system has no locks.

    Raises BlockingIOError where another process holds it, unless to `wait` for that.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        error.filename = error.filename or str(file.name)
        raise
    return True


def check_file(path: Path, folder: Path, max_bytes: int | None = None) -> None:
    """Raises ValueError where `path` is no ordinary file, is too large, or lies outside `folder`, links followed.

    The folder itself may be a link: it is the user's own.
    """
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} leads out of its folder, to {target}, and is not followed; copy the file there")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not an ordinary file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ValueError(f"{path} is not read: it has {status.st_size:,} bytes, and may have {max_bytes:,}")


def check_tree(folder: Path, data: str) -> None:
    """`check_file` of all files below a folder; only those in folders of the name `data` may exceed MAX_JSON_BYTES."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            check_file(path, folder, None if data in path.relative_to(folder).parts[:-1] else MAX_JSON_BYTES)


def read_json(path: Path, folder: Path | None = None) -> Any:
    """The content of a JSON file in `folder`, links followed; in its own folder by default.

    Raises FileNotFoundError where there is none, and ValueError for a file that is no JSON or fails `check_file`.
    """
    check_file(path, folder or path.parent, MAX_JSON_BYTES)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error


def plain(value: Any) -> Any:
    """`value` as what JSON can hold: NumPy and JAX arrays as lists and numbers, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no JSON form; convert it first")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `plain(value)`, keys in their order, as `replacing` does."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that replaces `path` at the block's end; after an error or a crash the content before stays."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):  # of a full disk, which names no file
            error.filename = error.filename or str(path)
        raise
