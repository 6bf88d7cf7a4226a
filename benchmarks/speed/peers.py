"""CPU time of a training update beside the peers': one run, one core, everyone in turn, each with its own networks.

    python benchmarks/run.py peers --peers=diffusion_ql=PATH,flowrl=PATH,... [--torch=PYTHON] [--jax=PYTHON]

PATH is a checkout of the peer's repository (the README of benchmarks/ names it); programs.py says how each is called.
All have 29 numbers observed, 8 acted, and batches of 256. Ours are `gtp-q`, the recommended method, and the paper's
update with K = 5, with mish and with ReLU. At our size, three layers of 256, FQL and GFP follow the flow in 5 steps;
at OGBench's, four layers of 512, in their own 10. Acting is one sample for one observation, and for 1,000, by each
program's own sampler without a choice among candidates: `gtp-q`, FQL and GFP in 1 step, the paper's update and the
diffusions in 5, Consistency-AC in 2, SORL in 8.

Every program is a process of its own, single-threaded, on the same core; it compiles and warms up, then trains when its
turn comes. A number is the median over rounds; a ratio is formed within each round. Linux; the machine must be idle:
wall time above CPU time tells that it was not.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import shared
from benchmarks.speed import work

SINGLE_THREADED = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
OURS = {  # by their options
    "gtp-q": {"method": f"{work.TASK},gtp-q"},
    "gtp-paper": {"method": f"{work.TASK},gtp-paper"},
    "gtp-paper-relu": {"method": f"{work.TASK},gtp-paper", "activation": "relu"},
}
# The peers' library, and how many times their rate ours is meant to reach.
PEERS = {
    "diffusion_ql": ("torch", 4.0),
    "consistency_ac": ("torch", 3.0),
    "flowrl": ("jax", 2.5),
    "fql": ("jax", 1.5),
    "gfp": ("jax", None),
    "sorl": ("jax", None),
}
# By size: the hidden layers, the steps of a flow, and the programs that are run.
SIZES = {
    "3 x 256": ((256,) * 3, 5, (*OURS, *PEERS)),
    "4 x 512": ((512,) * 4, 10, ("gtp-q", "gtp-paper", "gtp-paper-relu", "fql", "gfp")),
}
REQUIRED_SHARE = 0.75  # of the rate with ReLU


def turn(program: subprocess.Popen, updates: int) -> dict[str, Any]:
    """Lets a program train, and waits: seconds of CPU and of wall time, the last loss, milliseconds of acting."""
    program.stdin.write(f"{updates}\n")
    program.stdin.flush()
    line = program.stdout.readline()
    if not line:  # the child's own error has gone to this terminal
        raise SystemExit(f"{' '.join(program.args)} ended with exit code {program.wait()}")
    found = json.loads(line)
    if not math.isfinite(found["loss"]):
        raise SystemExit(f"{' '.join(program.args)} diverged: its loss is {found['loss']}")
    return found


def middle(values: Any) -> dict[str, Any]:
    """Median and quartiles over rounds."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "quartiles": [low, high]}


def summarise(name: str, started: dict, turns: list[dict], updates: int) -> dict[str, Any]:
    """The line of one program."""
    cpu, wall = ([1000 * each[clock] / updates for each in turns] for clock in ("cpu", "wall"))
    line = {"program": name, "cpu_milliseconds": middle(cpu), "wall_milliseconds": middle(wall)}
    line |= {"matmul_mflop": started["matmul_mflop"], "start_seconds": started["seconds"]}
    line["acting_milliseconds"] = {n: middle([each["acting"][n] for each in turns]) for n in turns[0]["acting"]}
    return line | {"rounds": cpu, "versions": started["versions"]}


def compare(lines: list[dict]) -> dict[str, Any]:
    """How many times each peer's rate ours is, and which share of its own rate with ReLU."""
    rounds = {line["program"]: np.array(line["rounds"]) for line in lines}
    theirs = {name: each for name, each in rounds.items() if name in PEERS}
    ratios = {
        ours: {name: middle(each / rounds[ours]) | {"required": PEERS[name][1]} for name, each in theirs.items()}
        for ours in ("gtp-q", "gtp-paper")
    }
    relu = middle(rounds["gtp-paper-relu"] / rounds["gtp-paper"]) | {"required": REQUIRED_SHARE}
    return {"times_the_rate_of": ratios, "share_of_relu_rate": relu}


def options_of(name: str, hidden: Sequence[int], flow_steps: int) -> dict[str, Any]:
    """The options of a program of programs.py at a size."""
    sized = {"hidden": hidden} if name in (*OURS, "fql", "gfp", "sorl") else {}
    return OURS.get(name, {}) | sized | ({"flow_steps": flow_steps} if name in ("fql", "gfp") else {})


def take_turns(words: Mapping[str, list[str]], rounds: int, updates: int) -> list[dict[str, Any]]:
    """Starts every program after the other, then lets them take turns, another one first in each round."""
    with contextlib.ExitStack() as stack:
        programs, started, turns = {}, {}, {name: [] for name in words}
        for name, (python, *rest) in words.items():
            command = [python, str(Path(__file__).with_name("programs.py")), *rest]
            made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            programs[name] = stack.enter_context(made)
            started[name] = turn(made, updates)
        names = list(words)
        for i in range(rounds):
            for name in (names[(i + j) % len(names)] for j in range(len(names))):
                turns[name].append(turn(programs[name], updates))
    return [summarise(name, started[name], turns[name], updates) for name in names]


def measure(peers: str, torch: str, jax: str, rounds: int, updates: int) -> dict[str, Any]:
    """Lets the programs of each size take turns; of the larger one so many updates that they take as long."""
    paths = shared.checkouts(peers, PEERS)
    if updates < 60:
        raise SystemExit(f"--updates={updates} must be at least 60, so that all is compiled in the first turn")
    load, core = os.getloadavg()[0], max(os.sched_getaffinity(0))
    os.environ.update(SINGLE_THREADED)
    os.sched_setaffinity(0, {core})
    about = {"core": core, "load_average_before": load, "environment": SINGLE_THREADED, "sizes": {}}
    about["peers_commits"] = {name: shared.revision(path) for name, path in paths.items()}
    for size, (hidden, flow_steps, names) in SIZES.items():
        words = {}
        for name in names:
            options = json.dumps(options_of(name, hidden, flow_steps))
            if name in OURS:
                words[name] = [sys.executable, "gtp", "", options]
            elif name in paths:
                words[name] = [{"torch": torch, "jax": jax}[PEERS[name][0]], name, str(paths[name]), options]
        lines = take_turns(words, rounds, updates if size == "3 x 256" else updates // 6)
        about["sizes"][size] = {"programs": lines, **compare(lines)}
    return about


PYTHONS = {"torch": sys.executable, "jax": sys.executable}  # with each library
main = partial(shared.measure, __file__, __doc__, measure, peers="", **PYTHONS, rounds=15, updates=100)
