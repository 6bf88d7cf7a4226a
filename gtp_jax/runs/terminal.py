"""What a person sees of a run: the settings at the start, progress, a table of scores at the end."""

import argparse
import contextlib
import datetime
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gtp_jax.names import nearest
from gtp_jax.runs import provenance

FIRST_SECONDS, EVERY_SECONDS = 10.0, 30.0  # until the first line of progress, and between lines, off a terminal
_WIDTH = 1000  # off a terminal, where nothing has to fit
_CLOSED = (AttributeError, OSError, ValueError)  # AttributeError: closed before the start, so that it is None


class _Enduring:
    """Standard output, which may be closed, or its disk full: the run goes on without it."""

    def __init__(self, stream: IO[str] | None):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(*_CLOSED):
            cast("IO[str]", self._stream).write(text)

    def flush(self) -> None:
        with contextlib.suppress(*_CLOSED):
            cast("IO[str]", self._stream).flush()


def refuse(problem: object) -> NoReturn:
    """Ends the program for a mistake that the user can mend: one line on standard error and exit code 2."""
    print("error:", " ".join(str(problem).split()), file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """A parser of command lines whose errors are one line, with the flag that is nearest to an unknown one."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit code 2."""
        wrong = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        near = wrong and nearest(wrong[1], self._option_string_actions)
        refuse(message + (f"; did you mean {near}?" if near else ""))


class Terminal:
    """Prints to standard output: with a moving bar on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console | None = None):
        if console is None:
            console = Console(file=cast("IO[str]", _Enduring(sys.stdout)), highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = _WIDTH
        self.console = console
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

    @contextlib.contextmanager
    def progress(self, description: str, total: int, unit: str, done: int = 0) -> Iterator["Bar"]:
        """Counts `unit`s up to `total` and shows rate, time left and latest values.

        On a terminal a bar shows them. Elsewhere a line every `EVERY_SECONDS` does, the first after `FIRST_SECONDS`,
        whatever the program is busy with.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[latest]}", markup=False),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            bar = Bar(progress, description, total, unit, done, self.say)
            if self.console.is_terminal:
                yield bar
                return
            ended = threading.Event()
            thread = threading.Thread(target=self._repeat, args=(bar, ended), daemon=True)
            thread.start()
            try:
                yield bar
            finally:
                ended.set()
                thread.join()

    def _repeat(self, bar: "Bar", ended: threading.Event) -> None:
        seconds = FIRST_SECONDS
        while not ended.wait(seconds):
            self.console.print(bar.line, markup=False)
            seconds = EVERY_SECONDS

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table, the first column left and the others right aligned; off a terminal as wide as it is."""
        table = Table(title=title, title_justify="left")
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*(str(value) for value in row))
        self.console.print(table)


class Bar:
    """Progress while it is shown; `milestone(text)` prints a line that stays, above a bar."""

    def __init__(
        self, progress: Progress, description: str, total: int, unit: str, done: int, milestone: Callable[[str], None]
    ):
        self._progress, self._description, self._total, self._unit = progress, description, total, unit
        self._task = progress.add_task(description, total=total, completed=done, unit=unit, rate="", latest="")
        self.milestone = milestone
        self.line = f"{description}  {done:,}/{total:,} {unit}"  # the same without a terminal

    def update(self, done: int, rate: float, latest: str = "") -> None:
        """Moves the bar to `done`; `rate` is in units per second."""
        speed = f"{rate:,.0f} {self._unit}/s"
        self._progress.update(self._task, completed=done, rate=speed, latest=latest)
        left = datetime.timedelta(seconds=round((self._total - done) / rate)) if rate > 0 else "unknown time"
        self.line = f"{self._description}  {done:,}/{self._total:,} {self._unit}  {speed}  {left} left  {latest}"
