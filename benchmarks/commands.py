"""The repository's own scripts, started by the benchmarks that are made of their runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def python(words: list[str]) -> None:
    """Runs a script from the repository's root to its end, with this repository's package.

    SIGINT and SIGTERM go to the script, which saves what it has. A run with a training that diverged has ended, with a
    result; any other exit code but 0 ends the caller with the same one.
    """
    print("python", *words, flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    child, early = None, []

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
