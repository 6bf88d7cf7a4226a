"""What a person sees of a run: the settings at the start, a progress bar, a table of scores at the end."""

import argparse
import contextlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from gtp_jax.names import nearest
from gtp_jax.runs import provenance


class _Enduring:
    """Standard output, whose reader may have left or whose disk may be full: the run goes on without it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def refuse(problem: object) -> NoReturn:
    """Ends the program for what the user can mend: one line on standard error and exit code 2."""
    print("error:", " ".join(str(problem).split()), file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """A parser of command lines that refuses in one line, with the nearest flag to one that there is not."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit code 2."""
        wrong = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        near = wrong and nearest(wrong[1], self._option_string_actions)
        refuse(message + (f"; did you mean {near}?" if near else ""))


class Terminal:
    """Prints to standard output: with a moving bar on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(file=_Enduring(sys.stdout), highlight=False, soft_wrap=True)
        self.log: Path | None = None  # a file that gets each line, too, with the time
        self._unwritten: list[str] = []
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Prints one line, and adds it to the log."""
        self.console.print(text, markup=False)
        with self._lock:
            self._unwritten.append(f"{provenance.now()} {text}\n")
            if self.log is not None:
                with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                    file.write("".join(self._unwritten))
                    file.flush()
                    self._unwritten = []  # else they wait for a later line

    def facts(self, title: str, facts: Mapping[str, object]) -> None:
        """Prints a title and, below it, a line for each fact."""
        self.say(title)
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            self.say(f"  {name:<{width}}  {value}")

    @contextmanager
    def progress(self, description: str, total: int, unit: str, done: int = 0) -> Iterator["Bar"]:
        """A progress bar that counts `unit`s up to `total` and shows rate, time left and a line of latest values."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[latest]}", markup=False),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(description, total=total, completed=done, unit=unit, rate="", latest="")
            yield Bar(progress, task, unit, self.say)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table, the first column left and the others right aligned."""
        table = Table(title=title, title_justify="left")
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*(str(value) for value in row))
        self.console.print(table)


class Bar:
    """A progress bar while it is shown; `milestone(text)` prints a line that stays, above it."""

    def __init__(self, progress: Progress, task: TaskID, unit: str, say: Callable[[str], None]):
        self._progress, self._task, self._unit, self.milestone = progress, task, unit, say

    def update(self, done: int, rate: float, latest: str = "") -> None:
        """Moves the bar to `done`; `rate` is in units per second."""
        self._progress.update(self._task, completed=done, rate=f"{rate:,.0f} {self._unit}/s", latest=latest)
