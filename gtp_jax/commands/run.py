"""Trains and evaluates a policy from offline data.

    gtp-jax run --config=antmaze.py[:TASK[,METHOD]] [--workdir=DIR] [--config.KEY=VALUE ...]

--config names a preset (antmaze.py, gym.py, adroit.py, kitchen.py) or a Python file whose get_config([variant]) returns
settings. Run again with the same directory, the command resumes from the last checkpoint. --distributed=auto (SLURM,
Kubernetes, TPU) or --distributed=HOST:PORT,COUNT,INDEX makes one run of several processes.
"""

import ast
import os
import re
import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from gtp_jax import files
from gtp_jax.config.presets import DEFAULT_TASKS, preset
from gtp_jax.config.settings import Settings
from gtp_jax.config.table import declarations, nearest_setting, reference, refusal, unknown
from gtp_jax.config.tasks import of_family
from gtp_jax.config.trials import name_values, trials
from gtp_jax.declare import shown
from gtp_jax.names import nearest, there_are
from gtp_jax.parallel.compiler import cores
from gtp_jax.runs.terminal import Terminal

_FLAGS = ("config", "workdir", "distributed")
_READ = {bool: flags.BooleanParser().parse, int: int, float: float, str: str}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one configuration in one directory; returns the exit code. Raises ValueError for what the user can mend."""
    words = list(sys.argv[1:] if argv is None else argv)
    if asked := {*words} & {"--help", "-h", "--helpfull", "-help"}:
        return print_help([word for word in words if word not in asked])
    settings, workdir, distributed = parse(words)
    start_jax(settings)
    from gtp_jax.datasets import DatasetUnavailable
    from gtp_jax.parallel import hosts
    from gtp_jax.training.playing import FAILED, EvaluationFailed
    from gtp_jax.training.train import run

    terminal = Terminal()
    if distributed:
        hosts.start(distributed)
    hosts.check_devices(terminal.say)
    if not hosts.first():
        terminal = Terminal(Console(quiet=True))
    try:
        summary, code, _ = run(settings, None, workdir, terminal)
    except DatasetUnavailable as error:
        names = {
            task.builtin: f"{family}.py:{name}" for family in DEFAULT_TASKS for name, task in of_family(family).items()
        }
        instead = error.builtin and names.get(error.builtin, f"d4rl.py:{error.builtin}")
        raise FileNotFoundError(f"{error}: --config={instead}" if instead else error) from None
    except EvaluationFailed:  # which is printed
        return FAILED
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last checkpoint, if there is one", file=sys.stderr)
        return 130
    return code if summary is None else report(terminal, summary, workdir)


def print_help(words: Sequence[str] = ()) -> int:
    """Prints the usage and every setting; of a configuration, where the words name one, the settings that it has."""
    title, rows = "Settings, with the defaults that a preset changes:", {}
    given = {row.name: row.default for row in reference()}
    if any(word.lstrip("-").partition("=")[0] == "config" for word in words):
        title, given = f"Settings, with the values of {' '.join(words)}:", parse(words)[0].flat()
    for row in reference():
        notes = [row.allowed] * isinstance(row.default, str) + [f"sweep: {row.hparam}"] * bool(row.hparam)
        of = [f" ({'; '.join(notes)})"] * bool(notes) + [f" [{', '.join(row.owners)}]"] * bool(row.owners)
        if row.name in given:
            rows[f"--config.{row.name}={given[row.name]!r}"] = row.doc + "".join(of)
    Terminal().facts(f"{__doc__}\n{title}", rows)
    return 0


def parse(words: Sequence[str]) -> tuple[Settings, Path, str | None]:
    """Reads the command line: settings, directory (runs/NAME[-VARIANT] by default) and the value of --distributed.

    Raises ValueError for a mistake.
    """
    found = _flags(words)
    name, workdir, distributed = (found.pop(each, None) for each in _FLAGS)
    if name is None:
        raise ValueError("--config is missing; for a first look: --config=antmaze.py:tiny")
    settings = read_config(name).replace({key: _value(key, text) for key, text in found.items()})
    _, path, variant = split_name(name)
    default = Path("runs") / re.sub("[/,:]", "-", f"{Path(path).stem}-{variant}").rstrip("-")
    try:
        return settings, default if workdir is None else files.user_path(workdir), distributed
    except ValueError as error:
        raise ValueError(f"--workdir: {error}") from None


def _flags(words: Sequence[str]) -> dict[str, str]:
    """The flags as they are written, KEY for --config.KEY, the last of equals; `-NAME VALUE` is `--NAME=VALUE`."""
    found, rest = {}, iter(words)
    for word in rest:
        name, is_given, text = word.lstrip("-").partition("=")
        if not name or not word.startswith("-"):
            raise ValueError(f"unexpected argument {word!r}; settings are set by --config.KEY=VALUE")
        if name.startswith("noconfig."):
            name, is_given, text = name.removeprefix("no"), "=", "False"
        key = name.removeprefix("config.")
        if key == name and name not in _FLAGS:
            near = nearest(name, _FLAGS) or f"config.{nearest_setting(name) or 'KEY'}"
            raise ValueError(f"there is no flag --{name}; did you mean --{near}?")
        if key != name and key not in declarations():
            raise ValueError(f"{word}: {unknown(key)}")
        if not is_given:
            is_switch = key != name and isinstance(declarations()[key].setting.default, bool)
            text = "True" if is_switch else next(rest, "")
        found[key] = text
    return found


def _value(name: str, text: str) -> Any:
    """Reads a setting's value: of its default's type, or a tuple, whose brackets may be left out."""
    default = declarations()[name].setting.default
    try:
        if not name.startswith("sweep.") and not isinstance(default, tuple):
            return _READ[type(default)](text)
        value = ast.literal_eval(text)
        if not isinstance(value, set | dict):
            return tuple(value) if isinstance(value, list | tuple) else (value,)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        pass
    raise ValueError(refusal(name, text))


def read_config(name: str) -> Settings:
    """The settings that --config names: of a Python file, or else of a preset. Raises ValueError where neither has any.

    A file runs, whatever it holds: only start files that you trust.
    """
    file, path, variant = split_name(name)
    if file is None and path.removesuffix(".py") not in DEFAULT_TASKS:
        presets = there_are(path, [f"{family}.py" for family in DEFAULT_TASKS])
        raise ValueError(f"--config={name}: there is no file {name!r}; of presets {presets}")
    try:
        return preset(name) if file is None else _settings_of(file, variant)
    except ValueError as error:
        raise ValueError(f"--config={name}: {error}") from None


def split_name(name: str) -> tuple[Path | None, str, str]:
    """The file that --config names, or None for a preset's; what stands before the variant; and the variant.

    A path may hold colons: the longest one that is a file counts.
    """
    words = name.split(":")
    for count in range(len(words), 0, -1):
        path, variant = ":".join(words[:count]), ":".join(words[count:])
        for each in filter(None, (path, path and f"{path}.py")):
            if (file := files.user_path(each)).is_file():
                return file, path, variant
    return None, words[0], ":".join(words[1:])


def _settings_of(file: Path, variant: str) -> Settings:
    try:
        names = runpy.run_path(str(file))
        found: Any = names["get_config"](*filter(None, [variant])) if "get_config" in names else None
    except (Exception, SystemExit) as error:  # of every kind: it is anybody's code
        lines = [n for at, n in traceback.walk_tb(error.__traceback__) if at.f_code.co_filename == str(file)]
        where = f"{file}, line {lines[-1]}: " if lines else ""
        raise ValueError(f"{where}{type(error).__name__}: {error}") from error
    if "get_config" not in names:
        raise ValueError(f"{file} defines no get_config([variant])")
    if isinstance(found, Settings):
        return found
    found = found.to_dict() if hasattr(found, "to_dict") else found
    if not isinstance(found, Mapping):
        raise ValueError(f"get_config() must return Settings, a ConfigDict or a dict, got {shown(found)}")
    return Settings.from_json(found)


def start_jax(settings: Settings) -> None:
    """Sets what JAX reads only once, before it starts; JAX_COMPILATION_CACHE_DIR names another cache of programs."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(settings.gpu_memory_fraction))
    import jax

    count = settings.cpu_devices
    own = "JAX_NUM_CPU_DEVICES" in os.environ
    if not count and not own and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        count = min(len(trials(settings)), cores())
    if count:
        jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_default_matmul_precision", settings.matmul_precision)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        jax.config.update("jax_compilation_cache_dir", str(caches / "gtp_jax" / "compiled"))


def report(terminal: Terminal, summary: dict[str, Any], workdir: Path) -> int:
    """Prints the scores, which trials diverged and where everything lies; returns the exit code."""
    from gtp_jax.training import divergence

    found, seeds = summary["diverged"], summary["seeds"]

    def number(value: float | None) -> str:  # None where a seed that diverged has no score
        return "none" if value is None else f"{value:.1f}"

    def cells(score: Mapping[str, Any], swept: Mapping[str, float]) -> dict[str, str]:
        marks = divergence.marks([{"seed": seed, **swept} for seed in seeds], found)
        each = zip(seeds, score["per_seed"], marks, strict=True)
        own = {f"seed {seed}": number(value) + " (diverged)" * mark for seed, value, mark in each}
        return {"mean": number(score["mean"]), "95 % interval": " to ".join(map(number, score["ci95"])), **own}

    rows: list[tuple[str, ...]]
    header, rows, title = ["", ""], [], f"{summary['dataset']}: {summary['algorithm']}, not evaluated"
    if "sweep" in summary:
        each = [(row["score"], {name: row[name] for name in row if name != "score"}) for row in summary["sweep"]]
        named = [{"": name_values(swept), **cells(score, swept)} for score, swept in each]
        header, rows = list(named[0]), [tuple(row.values()) for row in named]
    elif summary["score"] is not None:
        mean, interval, *own = cells(summary["score"], {}).items()
        header, rows = ["", "score"], [*own, mean, interval]
    behaviour = summary["behaviour"].get("behaviour_success")
    if behaviour is not None:
        rows.append(("behaviour policy in the data", f"{100 * behaviour:.1f}"))
    if episodes := summary["eval_episodes"]:
        how = f"{summary['score_of']} of {episodes} episodes a seed, last checkpoint"
        title = f"{summary['dataset']}: {summary['algorithm']}, {how}"
    terminal.table(title, header, rows)
    for record in found:
        terminal.say(divergence.describe_record(record))
    for path in sorted(workdir.glob("[!.]*")):
        terminal.say(f"  {path}")
    return divergence.EXIT_CODE if found else 0
