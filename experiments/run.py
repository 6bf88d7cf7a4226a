"""Trains and evaluates a policy from offline data.

    python experiments/run.py --config=antmaze.py[:VARIANT] [--workdir=DIR] [--config.KEY=VALUE ...]

Run again with the same directory, it goes on from the last checkpoint.
"""

import contextlib
import importlib.util
import os
import re
import sys
import time
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from gtp_jax import files
from gtp_jax.config.settings import DEFAULTS, check, check_names, flatten, refusal, shown, unknown
from gtp_jax.runs.terminal import Terminal, refuse

CONFIGS = Path(__file__).resolve().parent / "configs"


def resolve_config(argv: list[str]) -> list[str]:
    """Replaces a bare name in --config=NAME[:VARIANT] by its path: the working directory first, then configs/.

    Raises:
      ValueError: where there is no such file.
    """
    resolved = []
    arguments = iter(argv)
    for argument in arguments:
        if argument in ("--config", "-config"):
            argument = f"--config={next(arguments, '')}"
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config") and equals:
            name, colon, variant = value.partition(":")
            candidates = [Path(name), Path(name + ".py"), CONFIGS / name, CONFIGS / (name + ".py")]
            path = next((path for path in candidates if path.is_file()), None)
            if path is None:
                there = ", ".join(sorted(path.name for path in CONFIGS.glob("*.py")))
                raise ValueError(
                    f"--config={value}: no file {name!r} here or in experiments/configs/ (which has {there})"
                )
            argument = f"--config={path}{colon}{variant}"
        resolved.append(argument)
    return resolved


def default_workdir(argv: list[str]) -> Path:
    """runs/NAME or runs/NAME-VARIANT."""
    value = next(argument for argument in argv if argument.startswith("--config=")).partition("=")[2]
    path, _, variant = value.partition(":")
    return Path("runs") / "-".join([Path(path).stem, *filter(None, [variant.replace("/", "-").replace(",", "-")])])


def start_jax(settings: dict) -> None:
    """Sets what JAX reads only once, before it starts."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(settings["gpu_memory_fraction"]))
    import jax

    from gtp_jax.config import trials

    count = settings["cpu_devices"]
    if not count and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores, num_lanes = os.cpu_count() or 1, len(trials.lanes(settings))
        count = max(n for n in range(1, cores + 1) if num_lanes % n == 0)
    if count:
        jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_default_matmul_precision", settings["matmul_precision"])
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(compilation_cache()))


def compilation_cache() -> Path:
    """Where compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR names another place."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gtp_jax" / "compiled"


def load_dataset(settings: dict, terminal):
    """Loads the dataset, with a progress bar where it is collected first."""
    from gtp_jax import datasets

    started, bar = time.perf_counter(), None
    with contextlib.ExitStack() as stack:

        def progress(done, total):
            nonlocal bar
            if bar is None:
                terminal.say(f"collecting {settings['dataset']}, once: {total:,} transitions")
                bar = stack.enter_context(terminal.progress("collecting", total, "transitions"))
            bar.update(done, done / (time.perf_counter() - started))

        return datasets.load(settings["dataset"], **settings["data"], progress=progress)


def report(terminal, summary: dict, workdir: Path) -> int:
    """Prints the scores, which trainings diverged and where everything lies; returns the exit code."""
    from gtp_jax.config.trials import describe
    from gtp_jax.training import divergence

    found = summary.get("diverged", [])  # runs of earlier versions did not look

    def interval(score):
        return " to ".join(map(number, score["ci95"]))

    def number(value):  # None where a seed that diverged has no score
        return "none" if value is None else f"{value:.1f}"

    def each(values, score):
        marks = divergence.marks([{"seed": seed, **values} for seed in summary["seeds"]], found)
        return [number(value) + " (diverged)" * mark for value, mark in zip(score["per_seed"], marks, strict=True)]

    if "sweep" in summary:
        header = ["", "mean", "95 % interval", *(f"seed {seed}" for seed in summary["seeds"])]
        rows = []
        for row in summary["sweep"]:
            score, swept = row["score"], {name: value for name, value in row.items() if name != "score"}
            rows.append([describe(swept), number(score["mean"]), interval(score), *each(swept, score)])
    else:
        header, score = ["", "score"], summary["score"]
        rows = [[f"seed {seed}", shown] for seed, shown in zip(summary["seeds"], each({}, score), strict=True)]
        rows += [["mean", number(score["mean"])], ["95 % interval", interval(score)]]
    if summary["behaviour"]["behaviour_success"] is not None:
        rows.append(["behaviour policy in the data", f"{100 * summary['behaviour']['behaviour_success']:.1f}"])
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    terminal.table(
        f"{summary['dataset']}: {summary['algorithm']}, {summary['eval_episodes']} episodes a seed, last checkpoint",
        header,
        rows,
    )
    for record in found:
        terminal.say(divergence.describe(record))
    for name in (
        *("summary.json", "episodes.json", "metrics.jsonl", "metrics.csv"),
        *("curves.png", "maze.png", "tensorboard", "checkpoints"),
    ):
        if (workdir / name).exists():
            terminal.say(f"  {workdir / name}")
    return divergence.EXIT_CODE if found else 0


def main(config, workdir: Path, distributed: str | None = None) -> int:
    """Runs one configuration in one directory; returns the exit code."""
    from gtp_jax import datasets
    from gtp_jax.runs import directory, loggers

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax tells every step of every save otherwise
    terminal = Terminal()
    settings = config.to_dict()
    check(settings)
    loggers.check(settings["log"])
    data = {name: settings["data"][name] for name in ("reward", "observation", "episodes")}
    datasets.check(settings["dataset"], batch_size=settings["batch_size"], **data)
    first, lost = True, contextlib.nullcontext()
    if distributed:
        start_jax(settings)
        from gtp_jax.parallel import hosts

        hosts.start(distributed)
        first, lost = hosts.first(), hosts.lost(workdir)
        terminal = terminal if first else Terminal(Console(quiet=True))
    with directory.claim(workdir) if first else contextlib.nullcontext():
        settings = directory.settle(workdir, settings)
        summary = directory.finished(workdir, settings)
        if summary:
            terminal.say(f"{workdir} holds the finished run:")
            return report(terminal, summary, workdir)
        if not distributed:
            start_jax(settings)
        from gtp_jax.agent import build
        from gtp_jax.config import trials
        from gtp_jax.parallel import hosts
        from gtp_jax.parallel.seeds import choose_devices
        from gtp_jax.training.loop import Training

        build.check(settings)
        trainings = trials.lanes(settings)
        choose_devices(len(trainings[hosts.share(trainings)]), settings["devices"])
        training = Training(settings, workdir, load_dataset(settings, terminal), terminal)
        if first:
            files.write_json(workdir / "config.json", settings)
            terminal.log = workdir / "run.log"
        terminal.facts("gtp_jax", training.facts())
        try:
            with lost:
                summary, code = training.run()
        except OSError as error:
            terminal.say(f"error: {error}. Once that is mended, the same command goes on: --workdir={workdir}")
            return directory.UNSAVED
        finally:
            training.close()
        return code if summary is None else report(terminal, summary, workdir)


def read_config(argv: list[str]) -> ConfigDict:
    """What get_config of the file named by --config gives; ValueError where that is not a complete configuration.

    A configuration is a Python file that runs, whatever it holds: only start files that you trust.
    """
    value = next((word.partition("=")[2] for word in argv if word.startswith("--config=")), None)
    if value is None:
        raise ValueError("--config is missing; for a first look: --config=antmaze.py:tiny")
    path, _, variant = value.partition(":")
    try:
        spec = importlib.util.spec_from_file_location("config", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(*filter(None, [variant]))
    except (Exception, SystemExit) as error:  # of every kind: it is anybody's code
        raise ValueError(f"--config={value}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"--config={value}: get_config() must return a ConfigDict, got {shown(config)}")
    try:
        check_names(config.to_dict())
    except ValueError as error:
        raise ValueError(f"--config={value}: {error}") from None
    return config


def check_keys(argv: list[str]) -> None:
    """Raises ValueError for a --config.KEY that is no setting, with the nearest that is, and for a set or a dict.

    As a tuple, which is how they would be read, `{}` is an empty one.
    """
    known = dict(flatten(DEFAULTS))
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        match = re.match(r"--?config\.([^=]*)(?:=(.*))?", word, re.DOTALL)
        if match and match[1] not in known:
            raise ValueError(f"{word}: {unknown(match[1])}")
        value = match and (following if match[2] is None else match[2])
        if value and value.lstrip().startswith("{"):
            raise ValueError(refusal(match[1], value))


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags; a wrong one ends the program with one line and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}; settings are set by --config.KEY=VALUE")
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL)
        refuse(refusal(bad[1], bad[2]) if bad and bad[1] in dict(flatten(DEFAULTS)) else error)


if __name__ == "__main__":
    try:
        ARGUMENTS = resolve_config(sys.argv)
        check_keys(ARGUMENTS)
        asking = not any(word.startswith("--config=") for word in ARGUMENTS) and {"--help", "--helpfull"} & {*ARGUMENTS}
        GIVEN = ConfigDict(DEFAULTS) if asking else read_config(ARGUMENTS)
    except ValueError as error:
        refuse(error)
    FLAGS_ONLY = [word for word in ARGUMENTS if not word.startswith("--config=")]
    CONFIG = config_flags.DEFINE_config_dict("config", GIVEN, "NAME.py[:VARIANT]", sys_argv=FLAGS_ONLY)
    WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; runs/NAME-VARIANT by default.")
    DISTRIBUTED = flags.DEFINE_string(
        "distributed", None, "One run over several processes: auto (SLURM, Kubernetes, TPU) or HOST:PORT,COUNT,INDEX."
    )

    def start(_) -> None:
        """Runs; what the user can mend is one line and exit code 2, the rest a traceback."""
        try:
            sys.exit(main(CONFIG.value, Path(WORKDIR.value or default_workdir(ARGUMENTS)), DISTRIBUTED.value))
        except (ValueError, OSError) as error:
            refuse(error)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from the last checkpoint, if there is one", file=sys.stderr)
            sys.exit(130)

    app.run(start, argv=FLAGS_ONLY, flags_parser=parse_flags)
