"""Lines reach the log and progress is shown, whatever standard output is and whatever becomes of the disk."""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from toy import full_disk

from gtp_jax.runs import terminal as module
from gtp_jax.runs.terminal import Terminal

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 (.*)")


class Full(io.StringIO):
    """A stream on a full disk."""

    write = flush = full_disk

    def close(self):
        pass


def logged(path):
    return [LINE.fullmatch(line)[1] for line in path.read_text().splitlines()]


def test_every_line_is_logged_with_the_time(tmp_path, capsys):
    """Those that were printed before the log was known, or above a bar, too."""
    terminal = Terminal()
    terminal.say("first")
    terminal.log = tmp_path / "run.log"
    terminal.facts("facts", {"seeds": "0, 1"})
    with terminal.progress("training", 10, "updates"):
        terminal.say("half")
    assert logged(terminal.log) == ["first", "facts", "  seeds  0, 1", "half"]
    assert capsys.readouterr().out.splitlines() == ["first", "facts", "  seeds  0, 1", "half"]


def test_a_log_on_a_full_disk_is_completed_later(tmp_path, monkeypatch):
    terminal = Terminal()
    terminal.log = tmp_path / "run.log"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_, **__: Full())
        terminal.say("error: the disk is full")
    terminal.say("later")
    assert logged(terminal.log) == ["error: the disk is full", "later"]


@pytest.mark.parametrize("output", [Full(), None], ids=["full", "closed"])
def test_a_standard_output_that_takes_nothing_ends_nothing(output, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", output)
    terminal = Terminal()
    terminal.log = tmp_path / "run.log"
    terminal.say("on")
    terminal.table("scores", ["seed"], [[0]])
    assert logged(terminal.log) == ["on"]


@pytest.mark.parametrize("to", [">&-", "> /dev/full", "2>&-", "2> /dev/full", "| true"])
def test_a_program_whose_output_goes_nowhere_ends_as_it_would(to):
    """Without a message and with its own exit code, that of a success and that of a refusal."""
    program = "import sys, time; from gtp_jax.commands import main; time.sleep(0.1); sys.exit(main(sys.argv[1:]))"
    for word, code in (("--version", 0), ("nosuch", 2)):
        command = f"set -o pipefail; '{sys.executable}' -c '{program}' {word} {to}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == code and len(done.stderr.splitlines()) == (code == 2 and "2>" not in to), done


def test_closed_numbers_are_opened_on_nothing_before_a_file_gets_them():
    program = "import os; from gtp_jax.commands import main; main(['--version']); print(*map(os.fstat, range(3)))"
    closed = f"'{sys.executable}' -c \"{program}\" <&- 2>&- && true"
    done = subprocess.run(["bash", "-c", closed], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("st_mode") == 3


def progress_lines(monkeypatch, first, every, updates, wait_for=0):
    """What is printed off a terminal; `updates` are the arguments of `Bar.update`."""
    monkeypatch.setattr(module, "FIRST_SECONDS", first)
    monkeypatch.setattr(module, "EVERY_SECONDS", every)
    terminal = Terminal(Console(file=io.StringIO(), highlight=False, soft_wrap=True))
    lines = lambda: terminal.console.file.getvalue().splitlines()
    deadline = time.monotonic() + 30
    with terminal.progress("training", 4000, "updates", 1000) as bar:
        for update in updates:
            bar.update(*update)
        while len(lines()) < wait_for and time.monotonic() < deadline:
            time.sleep(0.01)
    return lines()


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch):
    """Also while no update ends, as in a long evaluation; a short run prints none. The clock tells the time left."""
    assert module.FIRST_SECONDS < 60 and module.EVERY_SECONDS == 30
    updates = [(2000, 80.0, "policy 0.5"), (3000, 80.0, "policy 0.25  critic 1.5  score 61.0")]
    clock = iter([100.0, 150.0, 0.0])
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    lines = progress_lines(monkeypatch, 0.05, 0.01, updates, wait_for=2)
    assert lines[1] == "training  3,000/4,000 updates  80 updates/s  0:00:50 left  policy 0.25  critic 1.5  score 61.0"
    assert progress_lines(monkeypatch, 0.01, 60.0, [], wait_for=1) == ["training  1,000/4,000 updates"]
    assert progress_lines(monkeypatch, 60.0, 0.01, updates[2:]) == []


def test_a_table_without_a_terminal_is_as_wide_as_it_is():
    terminal = Terminal(Console(file=io.StringIO(), highlight=False, soft_wrap=True))
    terminal.table("scores", ["method", "score"], [["m" * 100, "1" * 50]])
    assert "m" * 100 + " │ " + "1" * 50 in terminal.console.file.getvalue()
