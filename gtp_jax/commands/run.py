"""Trains and evaluates a policy from offline data.

    gtp-jax run --config=antmaze.py[:TASK[,METHOD]] [--workdir=DIR] [--config.KEY=VALUE ...]

--config names a preset (antmaze.py, gym.py, adroit.py, kitchen.py) or a Python file whose get_config([variant]) returns
settings. Run again with the same directory, the command resumes from the last checkpoint.
"""

import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from gtp_jax.config.presets import FAMILIES, preset
from gtp_jax.config.settings import Settings
from gtp_jax.config.table import declarations, nested, reference, refusal, unknown
from gtp_jax.config.trials import name_values, trials
from gtp_jax.declare import shown
from gtp_jax.runs.terminal import Terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one configuration in one directory; returns the exit code.

    Raises:
      ValueError: for flags and settings that the user can mend.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-h", "--helpfull", "-help"} & {*words}:
        return print_help()
    settings, workdir, distributed = parse(words)
    logging.set_verbosity(logging.WARNING)  # Orbax logs every step of every save otherwise
    start_jax(settings)
    from gtp_jax.parallel import hosts
    from gtp_jax.training.train import run

    terminal = Terminal()
    if distributed:
        hosts.start(distributed)
        terminal = terminal if hosts.first() else Terminal(Console(quiet=True))
    try:
        summary, code, _ = run(settings, None, workdir, terminal)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last checkpoint, if there is one", file=sys.stderr)
        return 130
    return code if summary is None else report(terminal, summary, workdir)


def print_help() -> int:
    """Prints the usage and every setting."""
    terminal = Terminal()
    terminal.say(__doc__ or "")
    rows = {}
    for row in reference():
        of = f" [{', '.join(row.owners)}]" if row.owners else ""
        rows[f"--config.{row.name}={row.default!r}"] = f"{row.doc}{of}"
    terminal.facts("Settings, with their defaults:", rows)
    return 0


def parse(words: Sequence[str]) -> tuple[Settings, Path, str | None]:
    """Reads the command line: the settings, the directory and the value of --distributed.

    Raises:
      ValueError: for an unknown flag, a wrong value, or a configuration that cannot be read.
    """
    words = _joined(words)
    configs = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    if not configs:
        raise ValueError("--config is missing; for a first look: --config=antmaze.py:tiny")
    given = read_config(configs[-1])
    _check_keys(words)
    kept = _last_of_each(words)
    try:
        values = FlagValues(given, kept)
        rest = values.flags(["gtp-jax run", *kept])
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL)
        raise ValueError(refusal(bad[1], bad[2]) if bad and bad[1] in declarations() else error) from None
    if len(rest) > 1:
        raise ValueError(f"unexpected argument {rest[1]!r}; settings are set by --config.KEY=VALUE")
    settings = Settings.from_json(values.config.to_dict())
    return settings, Path(values.workdir or default_workdir(configs[-1])).expanduser(), values.distributed


class FlagValues:
    """The flags of one command line, apart from absl's global ones."""

    def __init__(self, given: Settings, words: Sequence[str]):
        self.flags = flags.FlagValues()
        every = {name: each.setting.default for name, each in declarations().items() if "sweep." not in name}
        every |= {name: () for name in declarations() if name.startswith("sweep.")} | given.flat()
        config = ConfigDict(nested(every))
        self._config = config_flags.DEFINE_config_dict(
            "config", config, "settings", flag_values=self.flags, sys_argv=list(words)
        )
        text = "directory of the run; runs/NAME-VARIANT by default"
        self._workdir = flags.DEFINE_string("workdir", None, text, flag_values=self.flags)
        text = "one run over several processes: auto (SLURM, Kubernetes, TPU) or HOST:PORT,COUNT,INDEX"
        self._distributed = flags.DEFINE_string("distributed", None, text, flag_values=self.flags)

    @property
    def config(self) -> ConfigDict:
        """The settings as they were given."""
        return self._config.value

    @property
    def workdir(self) -> str | None:
        """--workdir."""
        return self._workdir.value

    @property
    def distributed(self) -> str | None:
        """--distributed."""
        return self._distributed.value


def _joined(words: Sequence[str]) -> list[str]:
    """`--config NAME` as `--config=NAME`, one dash as two."""
    found, rest = [], iter(words)
    for word in rest:
        word = "-" + word if re.match(r"-config\b", word) else word
        found.append(f"--config={next(rest, '')}" if word == "--config" else word)
    return found


def _last_of_each(words: Sequence[str]) -> list[str]:
    """The words but --config; of a setting that is given more than once, the last one alone."""
    last = {word.partition("=")[0]: index for index, word in enumerate(words)}
    kept = [
        word for index, word in enumerate(words) if not word.startswith("--") or last[word.partition("=")[0]] == index
    ]
    return [word for word in kept if not word.startswith("--config=")]


def _check_keys(words: Sequence[str]) -> None:
    """Raises ValueError for a --config.KEY that is no setting, with the nearest that is, and for a set or a dict.

    As a tuple, which is how they would be read, `{}` is an empty one.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        match = re.match(r"--config\.([^=]*)(?:=(.*))?", word, re.DOTALL)
        if match and match[1] not in declarations():
            raise ValueError(f"{word}: {unknown(match[1])}")
        value = match and (following if match[2] is None else match[2])
        if match and value and value.lstrip().startswith("{"):
            raise ValueError(refusal(match[1], value))


def read_config(name: str) -> Settings:
    """The settings that --config names: of a Python file, or else of a preset.

    A file runs, whatever it holds: only start files that you trust.

    Raises:
      ValueError: where there is neither, or the file's get_config does not return settings.
    """
    path, _, variant = name.partition(":")
    file = next((each for each in (Path(path), Path(f"{path}.py")) if each.is_file()), None)
    if file is None:
        if path.removesuffix(".py") not in FAMILIES:
            there = ", ".join(f"{family}.py" for family in FAMILIES)
            raise ValueError(f"--config={name}: there is no file {path!r}, and the presets are {there}")
        try:
            return preset(name)
        except ValueError as error:
            raise ValueError(f"--config={name}: {error}") from None
    try:
        spec = importlib.util.spec_from_file_location("config", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = module.get_config(*filter(None, [variant]))
    except (Exception, SystemExit) as error:  # of every kind: it is anybody's code
        raise ValueError(f"--config={name}: {type(error).__name__}: {error}") from error
    if isinstance(found, Settings):
        return found
    if not isinstance(found, ConfigDict | Mapping):
        raise ValueError(f"--config={name}: get_config() must return Settings or a ConfigDict, got {shown(found)}")
    try:
        return Settings.from_json(found.to_dict() if isinstance(found, ConfigDict) else found)
    except ValueError as error:
        raise ValueError(f"--config={name}: {error}") from None


def default_workdir(name: str) -> Path:
    """runs/NAME or runs/NAME-VARIANT of a configuration NAME[:VARIANT]."""
    path, _, variant = name.partition(":")
    return Path("runs") / "-".join([Path(path).stem, *filter(None, [variant.replace("/", "-").replace(",", "-")])])


def start_jax(settings: Settings) -> None:
    """Sets what JAX reads only once, before it starts."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(settings.gpu_memory_fraction))
    import jax

    count = settings.cpu_devices
    if not count and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores, number = os.cpu_count() or 1, len(trials(settings))
        count = max(n for n in range(1, cores + 1) if number % n == 0)
    if count:
        jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_default_matmul_precision", settings.matmul_precision)
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(compilation_cache()))


def compilation_cache() -> Path:
    """Where compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR names another place."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gtp_jax" / "compiled"


def report(terminal: Terminal, summary: dict[str, Any], workdir: Path) -> int:
    """Prints the scores, which trials diverged and where everything lies; returns the exit code."""
    from gtp_jax.training import divergence

    found, seeds = summary["diverged"], summary["seeds"]

    def number(value: float | None) -> str:  # None where a seed that diverged has no score
        return "none" if value is None else f"{value:.1f}"

    def interval(score: Mapping[str, Any]) -> str:
        return " to ".join(map(number, score["ci95"]))

    def each(values: Mapping[str, float], score: Mapping[str, Any]) -> list[str]:
        marks = divergence.marks([{"seed": seed, **values} for seed in seeds], found)
        return [number(value) + " (diverged)" * mark for value, mark in zip(score["per_seed"], marks, strict=True)]

    if "sweep" in summary:
        header, rows = ["", "mean", "95 % interval", *(f"seed {seed}" for seed in seeds)], []
        for row in summary["sweep"]:
            score, swept = row["score"], {name: value for name, value in row.items() if name != "score"}
            rows.append([name_values(swept), number(score["mean"]), interval(score), *each(swept, score)])
    else:
        header, score = ["", "score"], summary["score"]
        rows = [[f"seed {seed}", value] for seed, value in zip(seeds, each({}, score), strict=True)]
        rows += [["mean", number(score["mean"])], ["95 % interval", interval(score)]]
    behaviour = summary["behaviour"].get("behaviour_success")
    if behaviour is not None:
        rows.append(["behaviour policy in the data", f"{100 * behaviour:.1f}"])
    terminal.table(
        f"{summary['dataset']}: {summary['algorithm']}, {summary['eval_episodes']} episodes a seed, last checkpoint",
        header,
        [row + [""] * (len(header) - len(row)) for row in rows],
    )
    for record in found:
        terminal.say(divergence.describe(record))
    for name in (
        *("summary.json", "episodes.json", "metrics.jsonl", "metrics.csv"),
        *("curves.png", "maze.png", "tensorboard", "checkpoints"),
    ):
        with contextlib.suppress(OSError):
            if (workdir / name).exists():
                terminal.say(f"  {workdir / name}")
    return divergence.EXIT_CODE if found else 0
