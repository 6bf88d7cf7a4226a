"""CPU time of a training update beside the peers': one run, one core, everyone in turn, each with its own networks.

    python benchmarks/peers.py --peer diffusion_ql=PATH --peer flowrl=PATH ... [--peer_python=PYTHON] [--rounds=15]

PATH is a checkout of the peer's repository (README.md of this folder says which); no peer's code is here, only an
adapter, peers/NAME.py. Ours is one seed with K = 5 in the actions of the critic's target and of a sampled baseline,
once with mish and once with ReLU. All have 29 numbers observed, 8 acted, batches of 256, three layers of 256. Acting is
one sample for one observation, and for 1,000, by each program's own sampler without its choice among candidates: ours
and the diffusions' in 5 steps, Consistency-AC's in 2, FQL's in 1, SORL's in 8.

Every program is a process of its own, single-threaded, pinned to the same core; it compiles and warms up, then trains
for so many updates each time its turn comes, while the others wait. A number is the median over rounds; a ratio is
formed within each round, then its median. Prints one JSON line for each program and one for the ratios, and writes
results/peers.json. Linux only. Run it on an idle machine; milliseconds of wall time that exceed those of CPU time
tell that it was not.
"""

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtp_jax import files
from gtp_jax.runs import provenance

HERE = Path(__file__).parent
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


class Program:
    """A child process that trains when told to."""

    def __init__(self, python: str, adapter: str, checkout: str, options: dict, updates: int):
        command = [python, str(HERE / "peers" / "child.py"), adapter, checkout, json.dumps(options)]
        self.updates = updates
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self) -> dict:
        """Lets it train, and waits: seconds of CPU and of wall time, the last loss."""
        self.process.stdin.write(f"{self.updates}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict:
        """Its next line; the child's own error, if any, has gone to this terminal."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)} ended with exit code {self.process.wait()}")
        return json.loads(line)


def revision(checkout: Path) -> str | None:
    """The commit of a peer's checkout, with "-dirty" where files differ; None where it is none."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", checkout, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != checkout.resolve():
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def pin(core: int | None) -> int:
    """Restricts this process and its children to one core, the last allowed one by default."""
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def middle(values) -> dict:
    """Median and quartiles over rounds."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "quartiles": [low, high]}


def summarise(name: str, started: dict, turns: list[dict], updates: int) -> dict:
    """The line of one program."""
    cpu, wall = ([1000 * turn[clock] / updates for turn in turns] for clock in ("cpu", "wall"))
    line = {"program": name, "cpu_milliseconds": middle(cpu), "wall_milliseconds": middle(wall)}
    line |= {"matmul_mflop": started["matmul_mflop"], "start_seconds": started["seconds"]}
    line["acting_milliseconds"] = {n: middle([turn["acting"][n] for turn in turns]) for n in turns[0]["acting"]}
    return line | {"rounds": cpu, "versions": started["versions"]}


def compare(lines: list[dict]) -> dict:
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


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--peer_python", default=sys.executable, help="interpreter of the peers that use PyTorch")
    parser.add_argument("--jax_python", default=sys.executable, help="interpreter of the peers that use JAX")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=100, help="in one turn; at least 10, so that all is compiled")
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    peers = dict(words.split("=", 1) for words in arguments.peer)
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"unknown peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    if arguments.updates < 10:
        parser.error(f"--updates={arguments.updates} must be at least 10")
    commit, load = provenance.commit(), os.getloadavg()[0]
    os.environ.update(SINGLE_THREADED)
    core = pin(arguments.core)
    programs = {
        "gtp": (sys.executable, "gtp", "", {"activation": "mish"}),
        "gtp-relu": (sys.executable, "gtp", "", {"activation": "relu"}),
    }
    pythons = {"torch": arguments.peer_python, "jax": arguments.jax_python}
    for name, path in peers.items():
        programs[name] = (pythons[PEERS[name].library], name, str(Path(path).resolve()), {})
    lines = measure(programs, arguments.rounds, arguments.updates)
    for line in lines:
        print(json.dumps(line))
    ratios = compare(lines)
    print(json.dumps(ratios))
    words = [*(f"--peer {name}=PATH" for name in peers), f"--rounds={arguments.rounds}"]
    result = {
        "command": " ".join(["python benchmarks/peers.py", *words, f"--updates={arguments.updates}"]),
        "programs": lines,
        **ratios,
        "date": provenance.now(),
        "device": provenance.device(),
        "core": core,
        "load_average_before": load,
        "environment": SINGLE_THREADED,
        "versions": provenance.versions(),
        "commit": commit,
        "peers_commits": {name: revision(Path(path)) for name, path in peers.items()},
    }
    files.write_json(arguments.results / "peers.json", result)


if __name__ == "__main__":
    main()
