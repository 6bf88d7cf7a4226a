"""metrics.jsonl: a line per step and trial, such as {"step": 1000, "seed": 0, "eta": 0.3, "score": 61.0}.

Rows hold no times, so that a resumed run and an uninterrupted one write the same file.
"""

import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.files import plain, replacing

Row = Mapping[str, Any]
Curve = tuple[np.ndarray, np.ndarray]  # a metric's steps, int [N], and values of S trials, float64 [N, S], NaN for none


def to_rows(step: int, labels: Sequence[Row], metrics: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows of one step, of S labels and of metrics [S]. Raises ValueError for a metric of another shape."""
    for name, value in metrics.items():
        if (shape := np.shape(value)) != (len(labels),):
            raise ValueError(f"metric {name!r} must be one number for each of {len(labels)} seeds, got {shape}")
    return [
        plain({"step": step, **label, **{name: value[i] for name, value in metrics.items()}})
        for i, label in enumerate(labels)
    ]


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows).encode()


def append_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Appends `rows` and flushes them to the disk: all of them or, if that raises OSError, none."""
    lines = _lines(rows)
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(size)  # or the next rows would stand behind half a row
            error.filename = str(path)  # which an open file's own errors do not name
            raise


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, without an unfinished last line; none if there is no file.

    Raises ValueError where a line before the last is not JSON.
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
    """Drops the rows after `step` and an unfinished last line."""
    if Path(path).exists():
        kept = _lines(row for row in read_rows(path) if row["step"] <= step)
        with replacing(path) as file:
            file.write(kept)


def mean_scores(path: str | Path) -> dict[int, float]:
    """The mean score over all trials at each evaluated step of a metrics file, NaN where a trial has none."""
    found: dict[int, list[float]] = {}
    for row in read_rows(path):
        if "score" in row:
            found.setdefault(row["step"], []).append(np.nan if row["score"] is None else row["score"])
    return {step: float(np.mean(each)) for step, each in found.items()}


def columns(rows: Iterable[Row], labels: Sequence[Row]) -> dict[str, Curve]:
    """The curve of each metric for the trials with these labels; a value that was not finite is NaN."""
    rows, names = list(rows), tuple(labels[0])
    indices = {tuple(label.values()): i for i, label in enumerate(labels)}
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", *names)):
        having = [row for row in rows if name in row]
        steps = np.unique([row["step"] for row in having])
        values = np.full((len(steps), len(indices)), np.nan)
        for row in having:
            index = indices[tuple(row[key] for key in names)]
            values[np.searchsorted(steps, row["step"]), index] = np.nan if row[name] is None else row[name]
        found[name] = (steps, values)
    return found
