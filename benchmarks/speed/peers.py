"""CPU time of a training update beside the peers': one run, one core, everyone in turn, each with its own networks.

    python benchmarks/speed/peers.py --peers=diffusion_ql=PATH,flowrl=PATH,... [--peer_python=PYTHON] [--rounds=15]

PATH is a checkout of the peer's repository (the README of benchmarks/ says which); no peer's code is here, only an
adapter, peers/NAME.py. Ours is one seed with K = 5 in the actions of the critic's target and of a sampled baseline,
once with mish and once with ReLU. All have 29 numbers observed, 8 acted, batches of 256, three layers of 256. Acting is
one sample for one observation, and for 1,000, by each program's own sampler without its choice among candidates: ours
and the diffusions' in 5 steps, Consistency-AC's in 2, FQL's in 1, SORL's in 8.

Every program is a process of its own, single-threaded, pinned to the same core; it compiles and warms up, then trains
for so many updates each time its turn comes, while the others wait. A number is the median over rounds; a ratio is
formed within each round, then its median. Writes RESULTS/peers.json. Linux only. Run it on an idle machine;
milliseconds of wall time that exceed those of CPU time tell that it was not.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, __file__.rpartition("/benchmarks/")[0])

import numpy as np

from benchmarks import shared

CHILD = Path(__file__).parent / "peers" / "child.py"
SINGLE_THREADED = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Peer(NamedTuple):
    """What is known of a peer before it runs."""

    library: str  # "torch" or "jax"
    required: float | None  # how many times its rate ours is meant to reach


PEERS = {
    "diffusion_ql": Peer("torch", 3.5),
    "consistency_ac": Peer("torch", 2.5),
    "flowrl": Peer("jax", 2.0),
    "fql": Peer("jax", None),
    "sorl": Peer("jax", None),
}
REQUIRED_SHARE = 0.75  # of the rate with ReLU
OURS = {"gtp": "mish", "gtp-relu": "relu"}  # by activation


class Program:
    """A child process that trains when told to."""

    def __init__(self, python: str, adapter: str, checkout: str, options: dict, updates: int):
        command, self.updates = [python, str(CHILD), adapter, checkout, json.dumps(options)], updates
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self) -> dict:
        """Lets it train, and waits: seconds of CPU and of wall time, the last loss."""
        self.process.stdin.write(f"{self.updates}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:  # the child's own error has gone to this terminal
            raise SystemExit(f"{' '.join(self.process.args)} ended with exit code {self.process.wait()}")
        return json.loads(line)


def revision(checkout: Path) -> str | None:
    """The commit of a peer's checkout, with "-dirty" where files differ; None where it is none."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", checkout, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != checkout.resolve():
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def middle(values) -> dict[str, Any]:
    """Median and quartiles over rounds."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "quartiles": [low, high]}


def summarise(name: str, started: dict, turns: list[dict], updates: int) -> dict[str, Any]:
    """The line of one program."""
    cpu, wall = ([1000 * turn[clock] / updates for turn in turns] for clock in ("cpu", "wall"))
    line = {"program": name, "cpu_milliseconds": middle(cpu), "wall_milliseconds": middle(wall)}
    line |= {"matmul_mflop": started["matmul_mflop"], "start_seconds": started["seconds"]}
    line["acting_milliseconds"] = {n: middle([turn["acting"][n] for turn in turns]) for n in turns[0]["acting"]}
    return line | {"rounds": cpu, "versions": started["versions"]}


def compare(lines: list[dict]) -> dict[str, Any]:
    """How many times each peer's rate ours is, and which share of its own rate with ReLU."""
    rounds = {line["program"]: np.array(line["rounds"]) for line in lines}
    ours, relu = rounds.pop("gtp"), rounds.pop("gtp-relu")
    ratios = {name: middle(theirs / ours) | {"required": PEERS[name].required} for name, theirs in rounds.items()}
    return {"times_the_rate_of": ratios, "share_of_relu_rate": middle(relu / ours) | {"required": REQUIRED_SHARE}}


def measure(programs: dict[str, tuple], rounds: int, updates: int) -> list[dict]:
    """Starts every program after the other, then lets them take turns, another one first in each round."""
    with contextlib.ExitStack() as stack:
        running, started = {}, {}
        for name, arguments in programs.items():
            running[name] = Program(*arguments, updates)
            stack.enter_context(running[name].process)
            started[name] = running[name].turn()
        names, turns = list(programs), {name: [] for name in programs}
        for i in range(rounds):
            for name in (names[(i + j) % len(names)] for j in range(len(names))):
                turns[name].append(running[name].turn())
                if not math.isfinite(turns[name][-1]["loss"]):
                    raise SystemExit(f"{name} diverged: its loss is {turns[name][-1]['loss']}")
    return [summarise(name, started[name], turns[name], updates) for name in names]


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    pythons = {"peer_python": sys.executable, "jax_python": sys.executable}
    arguments = shared.parse(
        __doc__, argv, peers="", **pythons, rounds=15, updates=100, core=-1, results=shared.RESULTS / "speed"
    )
    peers = dict(words.split("=", 1) for words in arguments.peers.split(",") if words)
    if unknown := [name for name in peers if name not in PEERS]:
        raise SystemExit(f"--peers: {unknown[0]!r} is none of {', '.join(PEERS)}")
    if arguments.updates < 10:
        raise SystemExit(f"--updates={arguments.updates} must be at least 10, so that all is compiled")
    paths = ",".join(f"{name}=PATH" for name in peers)
    command = shared.command(__file__, peers=paths, rounds=arguments.rounds, updates=arguments.updates)
    load, core = os.getloadavg()[0], arguments.core if arguments.core >= 0 else max(os.sched_getaffinity(0))
    os.environ.update(SINGLE_THREADED)
    os.sched_setaffinity(0, {core})
    programs = {name: (sys.executable, "gtp", "", {"activation": a}) for name, a in OURS.items()}
    for name, path in peers.items():
        python = arguments.peer_python if PEERS[name].library == "torch" else arguments.jax_python
        programs[name] = (python, name, str(Path(path).resolve()), {})
    about, lines = shared.source(command), measure(programs, arguments.rounds, arguments.updates)
    about |= {"core": core, "load_average_before": load, "environment": SINGLE_THREADED}
    about["peers_commits"] = {name: revision(Path(path)) for name, path in peers.items()}
    ratios = compare(lines)
    print(*lines, ratios, sep="\n")
    shared.write(arguments.results / "peers.json", about | {"programs": lines} | ratios)


if __name__ == "__main__":
    main()
