"""What a run says reaches the log, whatever becomes of standard output and of the disk."""

import errno
import io
import re
from pathlib import Path

from gtp_jax.runs.terminal import Terminal

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 (.*)")


class Refusing(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        pass


def logged(path):
    return [LINE.fullmatch(line)[1] for line in path.read_text().splitlines()]


def test_every_line_is_logged_with_the_time(tmp_path, capsys):
    """Those that were said before it was known where, and a bar's milestones, too."""
    terminal = Terminal()
    terminal.say("first")
    terminal.log = tmp_path / "run.log"
    terminal.facts("facts", {"seeds": "0, 1"})
    with terminal.progress("training", 10, "updates") as bar:
        bar.milestone("half")
    assert logged(terminal.log) == ["first", "facts", "  seeds  0, 1", "half"]
    assert capsys.readouterr().out.splitlines() == ["first", "facts", "  seeds  0, 1", "half"]


def test_a_log_on_a_full_disk_is_completed_later(tmp_path, monkeypatch):
    terminal = Terminal()
    terminal.log = tmp_path / "run.log"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_, **__: Refusing())
        terminal.say("error: the disk is full")
    terminal.say("later")
    assert logged(terminal.log) == ["error: the disk is full", "later"]


def test_a_closed_standard_output_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", Refusing())
    terminal = Terminal()
    terminal.log = tmp_path / "run.log"
    terminal.say("on")
    terminal.table("scores", ["seed"], [[0]])
    assert logged(terminal.log) == ["on"]
