"""Output for people: lines, progress, tables and the errors of command lines."""

import argparse
import contextlib
import datetime
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Any, NoReturn, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from gtp_jax.names import nearest
from gtp_jax.runs import provenance

FIRST_SECONDS, EVERY_SECONDS = 10.0, 30.0  # until the first line of progress, and between lines, off a terminal
_CLOSED = (AttributeError, OSError, ValueError)  # AttributeError: closed before the start, so that it is None


class _Enduring:
    """Standard output that may be closed, or on a full disk, without an error."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(*_CLOSED):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(*_CLOSED):
            self._stream.flush()


def refuse(problem: object) -> NoReturn:
    """Ends the program with one line on standard error and exit code 2, for a mistake that the user can mend."""
    with contextlib.suppress(*_CLOSED):
        print("error:", " ".join(str(problem).split()), file=sys.stderr)
    sys.exit(2)


def open_closed() -> None:
    """Opens standard input, output and error on nothing where they are closed: files would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free


def release_output() -> None:
    """Lets what standard output and error do not take go, or Python would end with a message and another exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):
            continue  # closed
        except OSError:  # a full disk, or a pipe whose reader is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Parser(argparse.ArgumentParser):
    """A parser of command lines whose errors are one line, with the nearest flag to an unknown one."""

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
        output = cast("IO[str]", _Enduring(sys.stdout))
        self.console = console or Console(file=output, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = 1000  # where nothing has to fit
        self.log: Path | None = None  # a file that gets each line, too, with the time
        self._unwritten: list[str] = []
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Prints one line, above a bar that is shown, and adds it to the log."""
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
        width = max(map(len, facts))
        for name, value in facts.items():
            self.say(f"  {name:<{width}}  {value}")

    @contextlib.contextmanager
    def progress(self, description: str, total: int, unit: str, done: int = 0) -> Iterator["Bar"]:
        """Shows progress from `done` to `total` units: a bar, or off a terminal a line every EVERY_SECONDS."""
        columns = BarColumn(bar_width=24), TextColumn("{task.description}", markup=False)
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            bar = Bar(progress, description, total, unit, done)
            if self.console.is_terminal:
                yield bar
                return
            ended = threading.Event()

            def repeat(seconds: float = FIRST_SECONDS) -> None:
                while not ended.wait(seconds):
                    self.console.print(bar.line, markup=False)
                    seconds = EVERY_SECONDS

            thread = threading.Thread(target=repeat, daemon=True)
            thread.start()
            try:
                yield bar
            finally:
                ended.set()
                thread.join()

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table, the first column left and the others right aligned; off a terminal at its full width."""
        table = Table(title=title, title_justify="left")
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*map(str, row))
        self.console.print(table)


class Bar:
    """Progress while it is shown."""

    def __init__(self, progress: Progress, description: str, total: int, unit: str, done: int):
        self._progress, self._description, self._total, self._unit = progress, description, total, unit
        self._first: tuple[float, int] | None = None  # when the first update was, at which count
        self.line = f"{description}  {done:,}/{total:,} {unit}"
        self._task = progress.add_task(self.line, total=total, completed=done)

    def update(self, done: int, rate: float, latest: str = "") -> None:
        """Moves the bar to `done`; `rate` is in units per second."""
        now = monotonic()
        since, first = self._first = self._first or (now, done)
        # By the clock, which counts evaluations, but not the compilation before the first update.
        each = (now - since) / (done - first) if done > first else 1 / max(rate, 1e-9)
        left = datetime.timedelta(seconds=round(min(each * (self._total - done), 1e9)))
        count = f"{self._description}  {done:,}/{self._total:,} {self._unit}"
        self.line = f"{count}  {rate:,.0f} {self._unit}/s  {left} left  {latest}"
        self._progress.update(self._task, completed=done, description=self.line)
