"""The directory of a run: one process at a time, one configuration for good."""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gtp_jax import files
from gtp_jax.config.settings import check, completed, flatten
from gtp_jax.files import check_file, read_json

UNSAVED = 74  # the exit code of a run whose state or results could not be written: "input/output error" of sysexits.h

# What may change when a run is started again: a longer run continues the shorter one, the rest is about the machine
# and about what is reported.
FREE = {
    *("num_updates", "devices", "cpu_devices", "gpu_memory_fraction", "seeds_at_once", "eval.overlap"),
    *("critic.divergence", "log.tensorboard", "log.wandb"),
}


@contextmanager
def claim(workdir: Path) -> Iterator[None]:
    """Makes the directory and holds it until the block ends; a run that wrote nothing leaves nothing.

    Raises:
      ValueError: where another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{workdir} cannot be made ({error.strerror}); choose another --workdir") from None
    for path in workdir.iterdir():
        if path.is_symlink() and path.name not in ("checkpoints", "tensorboard"):  # which may well lie on a larger disk
            check_file(path, workdir)
    with (workdir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{workdir} is in use by another process; choose another --workdir or wait") from None
        for stale in workdir.glob(files.TEMPORARY):  # of a process that was killed while writing
            stale.unlink()
        try:
            yield
        finally:
            if [path.name for path in workdir.iterdir()] == [".lock"]:
                shutil.rmtree(workdir)


def settle(workdir: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Completes the settings at a run's first start; at a later one, checks that config.json is of the same run.

    The curriculum's length, where it is left open, is the number of updates of the first start, so that a longer run
    continues a shorter one on the same time grids, in its directory or in another one (`continue_from`).

    Args:
      workdir: the run's directory.
      settings: what was asked for now.

    Returns:
      The settings to run with.

    Raises:
      ValueError: where the directory belongs to a run with other settings; every difference is named.
    """
    path = workdir / "config.json"
    settings = files.plain(settings)
    saved, source = _read_config(path), settings["continue_from"]
    if not settings["curriculum_updates"]:
        first = saved or (_read_config(Path(source) / "config.json") if source else {})
        settings["curriculum_updates"] = first.get("curriculum_updates", settings["num_updates"])
    if saved:
        different = differences(completed(saved), settings)
        if different:
            raise ValueError(f"{workdir} holds another run; choose another --workdir. " + "; ".join(different))
        if settings["num_updates"] < saved["num_updates"]:
            raise ValueError(
                f"{workdir} holds a run of {saved['num_updates']} updates; num_updates = {settings['num_updates']} "
                "would shorten it; choose another --workdir"
            )
    return settings


def _read_config(path: Path) -> dict[str, Any]:
    return _read(path, lambda saved: check(completed(saved))) or {}


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two nested mappings do not share, apart from what may change: "NAME: A there, B now" for each."""
    before, after = dict(flatten(there)), dict(flatten(now))
    return [
        f"{name}: {before.get(name)!r} there, {after.get(name)!r} now"
        for name in sorted(before.keys() | after.keys())
        if name not in FREE and before.get(name) != after.get(name)
    ]


def finished(workdir: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of the run, where it has ended with as many updates as are asked for."""
    summary = _read(workdir / "summary.json", _check_summary)
    return summary if summary and summary["num_updates"] == settings["num_updates"] else None


def _check_summary(summary: Any) -> None:
    if not isinstance(summary, Mapping) or "num_updates" not in summary:
        raise ValueError("it is not the summary of a run")


def _read(path: Path, check: Callable[[Any], None]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = read_json(path)
        check(found)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, and the same command writes it again") from error
    return found
