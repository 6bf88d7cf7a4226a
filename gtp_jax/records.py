"""What a run leaves behind for people and programs: metrics.jsonl, JSON files, and where the numbers came from.

metrics.jsonl holds one JSON object per line, one line per step and training, which its seed and, in a sweep, its swept
hyperparameters name: {"step": 1000, "seed": 0, "eta": 0.3, "score": 61.0}.
Rows hold no times, so that a resumed run and an uninterrupted one write the same file.
"""

import contextlib
import csv
import datetime
import errno
import io
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

import numpy as np

TEMPORARY = ".*.tmp"  # how the names of files look that are being written and have not replaced the old ones yet
_PACKAGES = (
    "gtp_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "mujoco",
    "gymnasium",
    "gymnasium-robotics",
    "minari",
)


def plain(value):
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


def write_json(path: str | Path, value) -> None:
    """Writes `value` to `path`, keys in their order: either all of it or, after a crash, what was there before."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the block's end; where that fails, what was there before stays."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def rows(step: int, labels: Sequence[Mapping], metrics: Mapping[str, np.ndarray]) -> list[dict]:
    """The rows of one step: `labels` name the trainings, `metrics` hold for each name one number for each, [S]."""
    values = {name: np.asarray(value) for name, value in metrics.items()}
    for name, value in values.items():
        if value.shape != (len(labels),):
            raise ValueError(f"metric {name!r} must be one number for each of {len(labels)} seeds, got {value.shape}")
    return [
        plain({"step": int(step), **label, **{name: value[i] for name, value in values.items()}})
        for i, label in enumerate(labels)
    ]


def append(path: str | Path, rows: Iterable[Mapping]) -> None:
    """Appends `rows` to a metrics file and hands them to the disk; either all of them or, where that fails, none.

    Raises:
      OSError: where they cannot be written.
    """
    text = "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows)
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            written = file.write(text.encode())
            if written < len(text.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)  # or the next rows would stand behind half a row
            raise


def read(path: str | Path) -> list[dict]:
    """The rows of a metrics file; none if there is no file. An unfinished last line is left out.

    Raises:
      ValueError: a line before the last is not JSON.
    """
    path = Path(path)
    if not path.exists():
        return []
    # A process killed while writing leaves a last line without its newline, cut anywhere, even inside a character.
    *lines, _ = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is not JSON ({error}); delete that line to go on") from error
    return found


def truncate_after(path: str | Path, step: int) -> None:
    """Drops the rows past `step`, the step of a restored checkpoint, and an unfinished last line."""
    path = Path(path)
    if path.exists():
        kept = [row for row in read(path) if row["step"] <= step]
        with replacing(path) as file:
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in kept).encode())


def write_csv(path: str | Path, rows: Sequence[Mapping]) -> None:
    """Writes `rows` as a table, whole or not at all: a column for each name, empty where a row has no finite number."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def columns(rows: Iterable[Mapping], labels: Sequence[Mapping]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each metric as arrays: the steps at which it was written, int [N], and its values, float64 [N, S].

    The S columns are the trainings that `labels` name, for every metric. A value that one lacks, or that was not
    finite, is NaN.
    """
    rows, names = list(rows), tuple(labels[0])
    places = {tuple(label.values()): i for i, label in enumerate(labels)}
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", *names)):
        having = [row for row in rows if name in row]
        steps = {step: i for i, step in enumerate(sorted({row["step"] for row in having}))}
        values = np.full((len(steps), len(places)), np.nan)
        for row in having:
            place = places[tuple(row[key] for key in names)]
            values[steps[row["step"]], place] = np.nan if row[name] is None else row[name]
        found[name] = (np.array(list(steps)), values)
    return found


def now() -> str:
    """The time in UTC, `2030-01-31T12:00:00+00:00`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str | None]:
    """The versions of Python and of what computes the numbers; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """The commit of the source checkout, with "-dirty" where its code differs; None if it runs from elsewhere."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's checkout, whose commit would say nothing.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        revision = git("rev-parse", "HEAD")
        return revision + ("-dirty" if git("status", "--porcelain", "--", "gtp_jax", "experiments") else "")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, no commit yet, or a repository it distrusts
        return None


def processor() -> str:
    """The model's name of the host's processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def device() -> dict:
    """What JAX computes on: platform ("cpu", "gpu", "tpu"), kind (the model's name), count; the host and its cores."""
    import jax

    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "host_cores": os.cpu_count(),
    }
