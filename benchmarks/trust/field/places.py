"""Directories and outputs of the commands, and environment variables, in this process and in others.

Where a command is refused, nothing may have changed on the disk but what was there before.
"""

import contextlib
import ctypes
import errno
import fcntl
import io
import os
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.trust.field.cases import Case, pick, variables
from benchmarks.trust.field.objects import TINY
from gtp_jax import commands, files
from gtp_jax.commands import evaluate, run
from gtp_jax.runs import plots
from gtp_jax.training import train

DATA = "pendulum/tiny-v0"
FLAGS = [f"--config.{name}={value}" for name, value in TINY.items()]
FLAGS += [f"--config.dataset={DATA}", "--config.eval.num_episodes=1", "--config.eval.progress_episodes=1"]
OVERRIDE, SEARCH = 1, 2  # the capabilities of reading and writing whatever the permissions say


@contextlib.contextmanager
def ordinary() -> Iterator[None]:
    """Permissions are those of anybody, where this is the superuser's process: two capabilities are put down."""
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    libc.capget(header, before)
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~(1 << OVERRIDE | 1 << SEARCH)
    libc.capset(header, less)
    try:
        yield
    finally:
        libc.capset(header, before)


def command(*words: str) -> tuple[int, list[str]]:
    """The exit code of a command in this process, and the lines on its standard error."""
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = commands.main(list(words))
    except SystemExit as end:
        code = end.code
    return code, errors.getvalue().splitlines()


class Sandbox:
    """A folder of folders, files and links that a path may lead to; ROOT holds the runs and data to copy from."""

    def __init__(self, root: Path, number: int):
        self.root, self.base = root, root / "boxes" / f"{number}"
        self.home = self.base / "home"
        self.here = self.base / "deep" / "deeper" / "here"
        for folder in (self.home, self.here, self.base / "elsewhere"):
            folder.mkdir(parents=True)
        for name in ("empty", "with space", "used", "read-only", "closed", "held", "=a,b(c)", "[red]", "é"):
            (self.here / name).mkdir()
        shutil.copytree(root / "run", self.here / "run")
        (self.here / "used" / "mine.txt").write_text("mine")
        (self.here / "used" / "config.json").write_text("{")
        (self.here / "file").write_text("mine")
        for name, target in {
            "link": "empty",
            "away": "../../../elsewhere",
            "dangling": "no",
            "loop": "loop",
            "linked": "file",
        }.items():
            (self.here / name).symlink_to(target)
        os.mkfifo(self.here / "pipe")
        self.lock = (self.here / "held" / ".lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        (self.here / "read-only").chmod(0o555)
        (self.here / "closed").chmod(0)

    def paths(self, rng: np.random.Generator) -> str:
        """A path as a user may write it."""
        names = [each.name for each in self.here.iterdir()]
        # fmt: off
        odd = (".", "..", "", "new", "n/e/w", "x" * 255, "x" * 256, "y" * 5000, "~", "$HOME", "${HOME}", "$NOT_SET",
               "~nobody-here", "a\0b", "a\nb", "\udcff", "-x", "%s", "{}", "*", "日本", " ", "\\", "'", '"', ";ls",
               "a:b", "\x1b[31m", "é" * 127, "é" * 128)
        # fmt: on
        first = pick(rng, [*names, *odd, str(self.here), "/dev/null/x", "/proc/self/x", "/sys/x"])
        words = [first, *(pick(rng, [*names, *odd]) for _ in range(rng.integers(0, 3)))]
        return "/".join(words[: 1 + int(rng.integers(len(words)))]) + pick(rng, ("", "", "/", "/.", "//"))

    def state(self) -> dict[str, Any]:
        """Everything that lies here, locks apart."""
        found = {}
        for folder, inner, names in os.walk(self.base):
            for name in (*inner, *names):
                status = os.lstat(path := os.path.join(folder, name))
                link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
                if name != ".lock":
                    is_file = stat.S_ISREG(status.st_mode)
                    found[path] = status.st_mode, link, (status.st_size, status.st_mtime_ns) if is_file else ()
        return found

    def remove(self) -> None:
        """Removes it all."""
        self.lock.close()
        (self.here / "closed").chmod(0o755)
        shutil.rmtree(self.base)


class Stub:
    """In the place of a training, which writes nothing."""

    policy = None

    def __init__(self, *_: Any):
        pass

    def run(self) -> tuple[None, int]:
        """Ends early, as if by a signal."""
        return None, 130

    def close(self) -> None:
        """Nothing is open."""


@contextlib.contextmanager
def failing(rng: np.random.Generator, base: Path) -> Iterator[str]:
    """A file system that has an error of its own for one call, as a mount, a quota or a lost server would."""
    name = pick(rng, ("mkdir", "rmdir", "listdir", "flock", ""))
    number = pick(
        rng,
        (
            errno.EROFS,
            errno.EACCES,
            errno.EBUSY,
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EIO,
            errno.ESTALE,
            errno.ENOLCK,
            errno.EPERM,
        ),
    )
    module = fcntl if name == "flock" else os
    if not name:
        yield ""
        return
    real = getattr(module, name)

    def fail(*given: Any, **kwargs: Any) -> Any:
        path = os.path.abspath(given[0]) if isinstance(given[0], str | os.PathLike) else str(base)
        if str(path).startswith(str(base)):
            raise OSError(number, os.strerror(number), *([str(given[0])] if name != "flock" else []))
        return real(*given, **kwargs)

    with mock.patch.object(module, name, fail):
        yield f"{name}: {os.strerror(number)}"


def directories(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Commands with directories and outputs of all kinds."""
    for number in range(count):
        box = Sandbox(root, number)
        which, path = pick(rng, ("run", "run", "run", "evaluate", "export", "merge")), box.paths(rng)
        while not _harmless(box, path):
            path = box.paths(rng)
        as_input = which != "run" and rng.integers(2) == 0
        shown = [which, path, as_input]
        yield Case(f"directory, {which}", "^error: ", partial(_placed, rng, box, which, path, as_input, shown), shown)
        box.remove()


def _harmless(box: Sandbox, path: str) -> bool:
    """Whether a path leads into the box, or to where nobody can write."""
    target = expected(box, path)
    return target is None or target.startswith((f"{box.base}/", "/dev/null/", "/proc/", "/sys/"))


def expected(box: Sandbox, path: str) -> str | None:
    """Where a path leads, by the rules of a shell."""
    if path == "~" or path.startswith("~/"):
        path = str(box.home) + path[1:]
    path = path.replace("${HOME}", str(box.home)).replace("$HOME", str(box.home))
    return os.path.realpath(os.path.join(box.here, path)) if path and "\0" not in path else None


def _placed(rng: np.random.Generator, box: Sandbox, which: str, path: str, as_input: bool, shown: list) -> bool:
    os.chdir(box.here)
    target = expected(box, path)
    fails, injected = rng.integers(3) == 0, contextlib.nullcontext("")
    reason = ValueError("the reason") if which == "run" and fails else None
    if which == "run":
        words = ["--config=gym.py:hopper-medium", *FLAGS, f"--workdir={path}"]
        injected = failing(rng, box.base) if rng.integers(3) == 0 else injected
    elif which == "evaluate":
        words = [
            "--episodes=1",
            "--num_steps=1",
            *([f"--workdir={path}"] if as_input else ["--workdir=run", f"--output={path}"]),
        ]
    elif which == "export":
        words = (
            [f"--workdir={path}", "--out=out.safetensors"]
            if as_input
            else ["--workdir=run", f"--out={path}.safetensors"]
        )
        target = target if as_input else expected(box, f"{path}.safetensors")
    else:
        words = (
            [path, str(box.root / "run-2"), "--out=out"]
            if as_input
            else [str(box.root / "run"), str(box.root / "run-2"), f"--out={path}"]
        )
    with variables(HOME=str(box.home), MINARI_DATASETS_PATH=str(box.root)), ordinary(), contextlib.ExitStack() as stack:
        before = box.state()
        load = mock.Mock(side_effect=reason) if reason else mock.Mock(return_value=mock.MagicMock())
        if which == "run":
            for name, other in (("load_dataset", load), ("Training", Stub), ("_facts", lambda _: {"a": "b"})):
                stack.enter_context(mock.patch.object(train, name, other))
        stack.enter_context(mock.patch.object(run, "start_jax", lambda settings: None))
        stack.enter_context(mock.patch.object(plots, "curves"))
        stack.enter_context(mock.patch.object(evaluate, "milliseconds_per_sample", lambda *_: 1.0))
        shown.append(stack.enter_context(injected))
        code, lines = command(which, *words)
        after = box.state()
    shown += [code, lines[-3:]]
    if code == 2:
        if len(lines) == 1 and (before == after or shown[3].startswith("rmdir")):
            raise ValueError(lines[0])
        shown.append({key for key in before.keys() | after.keys() if before.get(key) != after.get(key)})
        return False
    if code not in (0, 130) or any(
        after.get(key) != value for key, value in before.items() if "evaluations.json" not in key
    ):
        return False
    new = {os.path.realpath(key) for key in after.keys() - before.keys()}
    if which == "run":
        return (
            target is not None
            and (code == 0 or target + "/config.json" in new)
            and all((target + "/").startswith(each + "/") or each.startswith(target) for each in new)
        )
    place = {
        "evaluate": (target if not as_input else f"{target}/evaluations.json"),
        "export": str(box.here / "out.safetensors") if as_input else target,
        "merge": str(box.here / "out") if as_input else target,
    }[which]
    assert place is not None and os.path.exists(place), place
    if which == "export":
        return Path(place).read_bytes() == (box.root / "run.safetensors").read_bytes()
    if which == "merge":
        return len(files.read_json(Path(place) / "summary.json")["seeds"]) == 4
    return len(files.read_json(Path(place))) == 1


def prepare(root: Path) -> None:
    """Two runs of other seeds on a recording, and what the first one exports."""
    with variables(MINARI_DATASETS_PATH=str(root)), mock.patch.object(run, "start_jax", lambda settings: None):
        for name, offset in (("run", 0), ("run-2", 2)):
            words = [*FLAGS, f"--config.seed_offset={offset}", f"--workdir={root / name}"]
            assert command("run", "--config=gym.py:hopper-medium", *words) == (0, []), name
        assert command("export", f"--workdir={root / 'run'}", f"--out={root / 'run.safetensors'}")[0] == 0
