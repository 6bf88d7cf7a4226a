"""The command line: `gtp-jax run`, `evaluate`, `export`, `collect`, `merge` and `diagnose`, a module each."""

import argparse
import asyncio.log
import contextlib
import importlib
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from gtp_jax import files
from gtp_jax.declare import Range
from gtp_jax.names import there_are
from gtp_jax.runs import provenance
from gtp_jax.runs.terminal import Terminal, open_closed, refuse, release_output

COMMANDS = {
    "run": "trains and evaluates a policy from offline data",
    "evaluate": "evaluates a trained policy at other numbers of steps and temperatures",
    "export": "writes a trained policy to one file that works without this package",
    "collect": "collects a built-in dataset",
    "merge": "joins runs of different seeds into one result",
    "diagnose": "compares what the critic of an AntMaze run estimates with what happens",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names, and returns its exit code.

    A mistake that the user can mend (ValueError, OSError) is one line on standard error and exit code 2.
    """
    open_closed()
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if name in ("--help", "-h"):
            Terminal().facts("gtp-jax COMMAND [--help] [FLAGS], where COMMAND is one of", COMMANDS)
            Terminal().say("gtp-jax --version [--all] prints the versions; with --all also devices and commit")
        elif name == "--version":
            if rest not in ([], ["--all"]):
                raise ValueError(f"--version {shlex.join(rest):.80}: it takes nothing, or --all for devices too")
            facts: dict[str, Any] = provenance.versions()
            version = facts.pop("gtp_jax")
            facts |= {"commit": provenance.commit(), "system": platform.platform()} if rest else {}
            Terminal().facts(f"gtp_jax {version}", facts | (provenance.device() if rest else {}))
        elif name not in COMMANDS:
            raise ValueError(f"there is no command {name!r:.80}; {there_are(name, COMMANDS)}")
        else:
            logging.set_verbosity(logging.FATAL)  # Orbax logs every step of a save, and errors that we print in a line
            asyncio.log.logger.setLevel("CRITICAL")  # likewise its futures
            sys.unraisablehook = _without_closed_loops
            return importlib.import_module(f"gtp_jax.commands.{name}").main(rest) or 0
    except (ValueError, OSError) as error:
        refuse(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        release_output()
    return 0


def _without_closed_loops(found: "sys.UnraisableHookArgs") -> None:
    """Prints an error that nobody can catch, but not TensorStore's for each array of a save that failed."""
    if str(found.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(found)


def number(allowed: Range, kind: type[int] | type[float] = int) -> Callable[[str], int | float]:
    """Returns a function that reads one number of a range from the command line."""

    def read(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if (value := kind(text)) in allowed:
                return value
        whole = "whole " if kind is int else ""
        raise argparse.ArgumentTypeError(f"{text[:80]!r} must be a {whole}number {allowed}")

    return read


def numbers(allowed: Range, kind: type[int] | type[float] = int) -> Callable[[str], list[int | float]]:
    """Returns a function that reads several numbers of a range, separated by commas, each once."""
    return lambda text: list(dict.fromkeys(map(number(allowed, kind), text.split(","))))


def user_path(text: str) -> Path:
    """Reads a path from the command line, as `files.user_path`."""
    try:
        return files.user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def origin(command: str, argv: Sequence[str] | None) -> dict[str, Any]:
    """The command, date, device, versions and commit of a result, for JSON."""
    line = shlex.join(["gtp-jax", command, *(sys.argv[1:] if argv is None else argv)])
    machine = {"device": provenance.device(), "versions": provenance.versions(), "commit": provenance.commit()}
    return {"command": line, "date": provenance.now(), **machine}
