"""What the benchmarks share: the command line, where numbers come from, results on disk, and runs of experiments/."""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gtp_jax import files
from gtp_jax.runs import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = json.loads((ROOT / "benchmarks" / "rows.json").read_text())  # what the rows of the studies are and change


def parse(doc: str, argv: list[str] | None = None, **options: Any) -> argparse.Namespace:
    """Reads a command line, by default the process's; --help prints `doc`.

    `rounds=7` is an option --rounds of that default and type, False a flag. A tuple or mapping holds names of which
    some may be chosen, separated by commas; all are by default.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in options.items():
        if default is False:
            parser.add_argument(f"--{name}", action="store_true")
        elif isinstance(default, tuple | Mapping):
            parser.add_argument(f"--{name}", type=_some_of(tuple(default)), default=list(default), help="by commas")
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default, help="default: %(default)s")
    given = parser.parse_args(argv)
    for name in {"results", "out"} & options.keys():  # before anything is measured
        try:
            files.check_writable(getattr(given, name))
        except ValueError as error:
            parser.error(f"--{name}: {error}")
    return given


def _some_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    def choose(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in names]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return chosen

    return choose


def command(script: str, **options: Any) -> str:
    """`python benchmarks/run.py SCRIPT --NAME=VALUE`; a flag by its name, or not at all; absolute paths as PATH."""
    shown = {name: re.sub("(^|=)[/~][^,]*", r"\1PATH", str(value)) for name, value in options.items() if value}
    words = [f"--{name}" if options[name] is True else f"--{name}={text}" for name, text in shown.items()]
    return " ".join(["python benchmarks/run.py", Path(script).stem, *words])


def checkouts(peers: str, known: Iterable[str]) -> dict[str, Path]:
    """The folders that `NAME=CHECKOUT,NAME=CHECKOUT` names, whose names are among those known; else SystemExit."""
    paths = dict(words.partition("=")[::2] for words in peers.split(",") if words)
    for name, path in paths.items():
        if name not in known or not Path(path).is_dir():
            raise SystemExit(f"--peers={name}={path}: must be {' or '.join(known)}, and a folder")
    return {name: Path(path).resolve() for name, path in paths.items()}


def revision(checkout: Path) -> str | None:
    """The commit of a peer's checkout, with "-dirty" where files differ; None where it is none."""
    words = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or None


def source(command: str) -> dict[str, Any]:
    """Where numbers come from: command, date, device, versions and commit."""
    machine = {"device": provenance.device(), "versions": provenance.versions()}
    return {"command": command, "date": provenance.now(), **machine, "commit": provenance.commit()}


def measure(script: str, doc: str, function: Callable[..., dict], argv: Any = None, **options: Any) -> None:
    """The command of a script that measures one thing: RESULTS/NAME.json holds `function(**options)` and its source."""
    path = Path(script).resolve()
    arguments = vars(parse(doc, argv, results=RESULTS / path.parent.name, **options))
    results = arguments.pop("results") / f"{path.stem}.json"
    told = {name: value for name, value in arguments.items() if not isinstance(value, list | Path)}
    write(results, source(command(script, **told)) | function(**arguments))


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())


def write(path: Path, result: Any) -> None:
    """Writes a result as JSON, whole or not at all; lists of numbers stay on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        file.write(f"{_text(files.plain(result))}\n".encode())


def _text(value: Any, indent: str = "") -> str:
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(line) <= 100 or "{" not in line:
        return line
    inner, is_dict = f"{indent} ", isinstance(value, dict)
    items = value.items() if is_dict else enumerate(value)
    parts = [(f"{json.dumps(key)}: " if is_dict else "") + _text(item, inner) for key, item in items]
    opening, closing = "{}" if is_dict else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{closing}"


def run_cells(folder: Path, cells: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
    """Runs the cells of a study, each into FOLDER/NAME.json; a cell whose file is there is not run again."""
    for name, run in cells.items():
        path = folder / f"{name}.json"
        if not path.exists():
            write(path, run())
            print(f"{name}: written to {path}", flush=True)


def load_cells(folder: Path) -> dict[str, dict[str, Any]]:
    """The finished cells of a folder and the folders below it, by name."""
    return {str(path.relative_to(folder).with_suffix("")): read(path) for path in sorted(folder.rglob("*.json"))}


def in_turns(calls: Mapping[Any, Callable[[], object]], rounds: int, repeats: int = 1, clock: Any = None) -> dict:
    """The mean seconds of `repeats` calls in each round, by name, after one call each that does not count.

    The calls take turns, so that another load of the machine falls on all. The clock is `time.perf_counter` by default.
    """
    clock, seconds = clock or time.perf_counter, {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = clock()
            for _ in range(repeats):
                call()
            seconds[name].append((clock() - started) / repeats)
    return seconds


def use_one_core() -> None:
    """Starts the command again, single-threaded on one core, if JAX computes on the CPU: JAX reads both at start."""
    import jax

    flag, flags = "--xla_cpu_multi_thread_eigen=false", os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() == "cpu" and hasattr(os, "sched_setaffinity") and flag not in flags:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.environ["XLA_FLAGS"] = f"{flags} {flag}"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def run_python(words: list[str]) -> None:
    """Runs a script from the repository's root to its end, with this repository's package.

    SIGINT and SIGTERM go to the script, which saves what it has. A run with a training that diverged has ended, with a
    result; any other exit code but 0 ends the caller with the same one.
    """
    print("python", *words, flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    child, early, environment = None, [], os.environ | {"PYTHONPATH": path}

    def forward(number, _):
        early.append(number) if child is None else child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # In a group of its own: a terminal sends its Ctrl-C to the whole group, and a second one stops a run at once.
        child = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, process_group=0)
        for number in early:
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        from gtp_jax.training import divergence

        if code != divergence.EXIT_CODE:
            raise SystemExit(code if code > 0 else 128 - code)


def train(config: str, workdir: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Runs experiments/run.py in a directory below the root; returns its command and its summary."""
    changes = [f"--config.{k}={tuple(v) if isinstance(v, list) else v}" for k, v in settings.items()]
    words = ["experiments/run.py", f"--config={config}", f"--workdir={workdir}", *changes]
    run_python(words)
    return {"run": " ".join(["python", *words]), "summary": read(ROOT / workdir / "summary.json")}


def evaluate(workdir: Path, **options: Any) -> list[dict[str, Any]]:
    """Runs experiments/evaluate.py on a finished run; returns the score at each K and temperature."""
    words = [f"--workdir={workdir}", *(f"--{k}={v}" for k, v in options.items())]
    run_python(["experiments/evaluate.py", *words])
    own = shlex.join(["gtp-jax", "evaluate", *words])  # among those that the file holds
    kept = ("num_steps", "temperature", "episodes", "score", "milliseconds_per_sample", "command", "date", "commit")
    found = [each for each in read(ROOT / workdir / "evaluations.json") if each["command"] == own]
    return [{name: each[name] for name in kept} for each in found]
