"""The directory of a run: one process at a time, one configuration for good."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gtp_jax import files
from gtp_jax.config.settings import Settings
from gtp_jax.config.table import is_free

T = TypeVar("T")

UNSAVED = 74  # the exit code of a run whose state or results could not be written: "input/output error" of sysexits.h

_ANOTHER = "choose another directory (--workdir)"


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[str]:
    """Makes the directory and holds it until the block ends; a run that wrote nothing leaves what was there before.

    Yields a warning where the file system has no locks to hold it by. Raises ValueError where it cannot be made,
    another process holds it, or a link in it leads out of it.
    """
    lock, warning = directory / ".lock", ""
    made = [each for each in (lock, directory, *directory.parents) if not os.path.lexists(each)]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove, made)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{directory} cannot be made ({error.strerror}); {_ANOTHER}") from None
        for path in directory.iterdir():
            if path.is_symlink() and path.name not in ("checkpoints", "tensorboard"):  # which may lie on a larger disk
                try:
                    files.check_file(path, directory)
                except ValueError as error:
                    raise ValueError(f"{error}, but a link; {_ANOTHER}") from None
        file = stack.enter_context(lock.open("w"))
        try:
            if not files.lock(file, wait=False):
                warning = f"{directory} is on a file system without locks: start no second process in it"
        except BlockingIOError:
            made.clear()
            raise ValueError(f"{directory} is in use by another process; {_ANOTHER} or wait") from None
        stack.callback(_remove, made)  # while it is held
        for stale in directory.glob(files.TEMPORARY):  # of a process that was killed while writing
            stale.unlink()
        yield warning


def _remove(made: Sequence[Path]) -> None:
    """Removes a lock that is alone, and empty folders; the first path lies in the second, and so on."""
    for path in made:
        with contextlib.suppress(OSError):  # it is not empty, busy, or gone: the reason why a run ends is another one
            if path.name != ".lock":
                path.rmdir()
            elif [each.name for each in path.parent.iterdir()] == [".lock"]:
                path.unlink()


def resume_settings(directory: Path, settings: Settings) -> Settings:
    """Completes the settings at a run's first start; at a later one, checks that config.json is of the same run.

    A curriculum's length that is left open becomes the number of updates of the first start, so that a longer run
    continues a shorter one on the same time grids, in its directory or in another one (`continue_from`).

    Raises ValueError, naming every difference, where the directory belongs to a run with other settings.
    """
    saved, source = _read(directory / "config.json", Settings.from_json), settings.continue_from
    if not settings.curriculum_updates:
        there = _read(files.user_path(source) / "config.json", Settings.from_json) if source else None
        first = saved or there or settings
        settings = settings.replace({"curriculum_updates": first.curriculum_updates or first.num_updates})
    if saved:
        if different := differences(saved.flat(), settings.flat()):
            raise ValueError(f"{directory} holds another run; {_ANOTHER}. " + "; ".join(different))
        if settings.num_updates < saved.num_updates:
            raise ValueError(
                f"{directory} holds a run of {saved.num_updates} updates; num_updates = {settings.num_updates} would "
                f"shorten it; {_ANOTHER}"
            )
    return settings


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two flat mappings do not share, free settings apart: "NAME: A there, B now" for each."""
    return [
        f"{name}: {there.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted(there.keys() | now.keys())
        if not is_free(name) and there.get(name) != now.get(name)
    ]


def finished(directory: Path, settings: Settings) -> dict[str, Any] | None:
    """The summary of the run, where it has ended with as many updates as the settings name."""
    summary = _read(directory / "summary.json", lambda found: {**found, "num_updates": found["num_updates"]})
    return summary if summary and summary["num_updates"] == settings.num_updates else None


def check_same(directory: Path, summary: Mapping[str, Any], **now: str | None) -> None:
    """Raises ValueError where a finished run's summary has other entries than these: of its data, its environment."""
    now = {name: each for name, each in now.items() if name in summary}
    if different := differences({name: summary[name] for name in now}, now):
        raise ValueError(f"{directory} holds another run; {_ANOTHER}. " + "; ".join(different))


def _read(path: Path, parse: Callable[[Any], T]) -> T | None:
    if not path.exists():
        return None
    try:
        return parse(files.read_json(path))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, or another version wrote it ({error}); delete it, and the same command writes it again"
        ) from error
