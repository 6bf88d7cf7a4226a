"""How long a stranger waits: `--help`, and the first line of progress of a run, each in a process of its own.

The first line of progress that tells a rate is that of `antmaze.py` as the first command trains it, whose data are
there already. Cold is the first run of a machine; warm is one that finds the compiled programs of another run in the
cache. Writes RESULTS/startup.json. The machine must be idle.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

from benchmarks import shared

RUN = [sys.executable, "experiments/run.py"]


def seconds_to_end(words: list[str], environment: dict[str, str]) -> float:
    """Until a command has ended; SystemExit if it failed."""
    started = time.perf_counter()
    if subprocess.run(words, cwd=shared.ROOT, env=environment, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return time.perf_counter() - started


def seconds_to_progress(words: list[str], environment: dict[str, str]) -> float:
    """Until a run's first line of progress, after which it is stopped and its end is waited for."""
    started = time.perf_counter()
    made = subprocess.Popen(words, cwd=shared.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    with made:
        assert made.stdout is not None
        for line in made.stdout:
            if "updates/s" in line:
                seconds = time.perf_counter() - started
                break
        else:
            raise SystemExit(f"{' '.join(words)} ended without a line that tells a rate")
        made.send_signal(signal.SIGTERM)
        made.stdout.read()
    return seconds


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of each, once a round."""
    found: dict[str, list[float]] = {"help": [], "first progress, cold": [], "first progress, warm": []}
    with tempfile.TemporaryDirectory() as scratch:
        plain = {name: text for name, text in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        for i in range(rounds + 1):  # the first round reads the files from the disk, and fills the cache that is kept
            turn = {"help": seconds_to_end([*RUN, "--help"], plain)}
            for name, cache in {"cold": f"cache{i}", "warm": "cache"}.items():
                words = [*RUN, "--config=antmaze.py", f"--workdir={scratch}/{name}{i}"]
                environment = plain | {"XDG_CACHE_HOME": f"{scratch}/{cache}"}
                turn[f"first progress, {name}"] = seconds_to_progress(words, environment)
            for name, seconds in turn.items() if i else ():
                found[name].append(seconds)
    return {"seconds": found}


main = partial(shared.measure, __file__, __doc__, measure, rounds=5)
