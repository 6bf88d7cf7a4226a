"""What an update costs, by the number of seeds, the size of the work, the matmul precision, and with a sweep.

    python benchmarks/speed.py [--only=seeds,sweep,growth,precision,compiler,memory] [--rounds=7]

AntMaze size: 36 numbers observed, 8 acted, batches of 256, three layers of 256, K = 5 in the critic's target and in a
sampled baseline. On a CPU on one core, single-threaded; on a GPU the seeds go on to 1,024. Programs that are compared
take turns; a number is the median over rounds, compilation apart. Writes results/speed-PLATFORM.json, keeping what it
did not measure this time. The machine must be idle.
"""

import argparse
import copy
import functools
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"  # before JAX starts

import flops
import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.config import trials
from gtp_jax.config.ranges import PRECISIONS
from gtp_jax.config.settings import DEFAULTS, check
from gtp_jax.parallel.compiler import update_options
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.runs import provenance
from gtp_jax.types import Batch

OBS, ACTIONS = 36, 8
RESULTS = Path(__file__).parent / "results"


def on_gpu() -> bool:
    """Whether the updates run elsewhere than on the processor."""
    return jax.default_backend() != "cpu"


def pin() -> None:
    """Starts the command again on one core, where the updates run on the processor: JAX counts cores as it starts."""
    if not on_gpu() and hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.execv(sys.executable, [sys.executable, *sys.argv])


def settings_with(**changes) -> dict:
    """The benchmark's settings; `policy__hidden=(64,)` changes `policy.hidden`."""
    settings = copy.deepcopy(DEFAULTS)
    settings["critic"]["num_steps"] = 5
    for name, value in changes.items():
        *parents, last = name.split("__")
        functools.reduce(dict.__getitem__, parents, settings)[last] = value
    check(settings)
    return settings


def make_data(num_rows: int) -> Batch:
    """Transitions of noise."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    action, ones = np.clip(normal(num_rows, ACTIONS), -1, 1), np.ones(num_rows, np.float32)
    return Batch(normal(num_rows, OBS), action, normal(num_rows), ones, normal(num_rows, OBS))


def make_agent(settings: dict):
    """The agent and the hyperparameters of its state."""
    bound = np.ones(ACTIONS, np.float32)
    return build.make(settings, -bound, bound)


def make_engine(settings: dict, data: Batch, devices=None, options=None) -> Seeds:
    """The compiled program of a run with these settings."""
    every, (agent, _) = trials.lanes(settings), make_agent(settings)
    example = jax.tree.map(lambda column: column[:1], data)
    own = {name: jnp.float32(each) for name, each in trials.hyperparameters(settings, every).items()}
    return Seeds(
        lambda key, hparams: agent.init(key, example, hparams),
        agent.update,
        data,
        seeds=[lane.seed for lane in every],
        batch_size=settings["batch_size"],
        own=[own],
        at_once=settings["seeds_at_once"],
        devices=devices,
        options=options,
    )


class Program:
    """A compiled program and its state: `turn` runs a chunk of updates and notes how long it took."""

    def __init__(self, settings: dict, data: Batch, updates: int, options=None):
        self.engine, self.updates = make_engine(settings, data, options=options), updates
        self.num_lanes, self.seconds, self.metrics = len(self.engine.seeds), [], None
        self.state = self.engine.init()
        self.turn()
        self.seconds.clear()

    def turn(self) -> None:
        """One chunk, waited for."""
        started = time.perf_counter()
        self.state, self.metrics = self.engine.advance(self.state, self.updates)
        jax.block_until_ready((self.state, self.metrics))
        self.seconds.append(time.perf_counter() - started)

    def numbers(self) -> dict:
        """Updates and seed-updates per second, milliseconds, the time of compilation."""
        median = float(np.median(self.seconds)) / self.updates
        return {
            "updates_per_second": 1 / median,
            "seed_updates_per_second": self.num_lanes / median,
            "milliseconds_per_seed_update": 1000 * median / self.num_lanes,
            "compile_seconds": self.engine.compile_seconds,
        }


def in_turns(programs: dict[str, Program], rounds: int) -> dict[str, dict]:
    """The numbers of programs that take turns."""
    for _ in range(rounds):
        for program in programs.values():
            program.turn()
    return {name: program.numbers() for name, program in programs.items()}


def matmul_peak(rounds: int) -> float:
    """FLOP/s of the best of some matrix products in float32, the yardstick of the same run."""
    best = 0.0
    for rows, inner in ((512, 256), (2048, 256), (2048, 2048), *(((8192, 8192),) if on_gpu() else ())):
        a, b = jnp.ones((rows, inner)), jnp.ones((inner, inner))
        count, lowered = max(1, int(2e9 / (2 * rows * inner**2))), jax.jit(jnp.matmul).lower(a, b)
        for options in ({}, update_options(jax.devices()[0])):
            multiply = lowered.compile(options)
            multiply(a, b).block_until_ready()
            for _ in range(rounds):
                started = time.perf_counter()
                for _ in range(count):
                    product = multiply(a, b)
                product.block_until_ready()
                best = max(best, count * 2 * rows * inner**2 / (time.perf_counter() - started))
    return best


def update_flops(settings: dict, data: Batch) -> float:
    """FLOPs of the matrix products of one update of one seed."""
    agent, hparams = make_agent(settings)
    batch = jax.tree.map(lambda column: column[: settings["batch_size"]], data)
    return flops.of_matmuls(lambda: agent.update(agent.init(jax.random.key(0), batch, hparams), batch))


def seeds(rounds: int) -> dict:
    """By the number of seeds on one device, side by side (`vmap`) and, at 8, one after the other (`lax.map`)."""
    counts, data = (1, 2, 4, 8, 16, 64, 256, 1024) if on_gpu() else (1, 2, 4, 8, 16), make_data(100_000)
    updates = 500 if on_gpu() else 24
    # Of many seeds fewer updates: a turn is to take about a second.
    programs = {f"{n} seeds": Program(settings_with(num_seeds=n), data, min(updates, 20_000 // n)) for n in counts}
    one_by_one = settings_with(num_seeds=8, seeds_at_once=1)
    programs["8 seeds, one after the other"] = Program(one_by_one, data, updates)
    programs["1 seed, relu"] = Program(
        settings_with(num_seeds=1, policy__activation="relu", critic__activation="relu"), data, updates
    )
    found = in_turns(programs, rounds)
    peak, work = matmul_peak(rounds), update_flops(settings_with(num_seeds=1), data)
    first = found["1 seeds"]["milliseconds_per_seed_update"]
    for name, numbers in found.items():
        numbers["times_one_seed"] = programs[name].num_lanes * numbers["milliseconds_per_seed_update"] / first
        numbers["share_of_matmul_peak"] = work * numbers["seed_updates_per_second"] / peak
    relu = found["1 seed, relu"]["milliseconds_per_seed_update"] / first
    about = {"share_of_relu_rate": relu, "matmul_peak_gflops": peak / 1e9, "matmul_mflop": work / 1e6}
    return {"programs": found} | about


def sweep(rounds: int) -> dict:
    """Four values of eta with four seeds beside 16 seeds of one value."""
    data, updates = make_data(100_000), 100 if on_gpu() else 12
    swept = settings_with(num_seeds=4, sweep=DEFAULTS["sweep"] | {"eta": (0.1, 0.3, 1.0, 3.0)})
    found = in_turns(
        {
            "16 seeds": Program(settings_with(num_seeds=16), data, updates),
            "4 values of eta x 4 seeds": Program(swept, data, updates),
        },
        rounds,
    )
    plain, swept = (numbers["milliseconds_per_seed_update"] for numbers in found.values())
    return {"programs": found, "ratio": swept / plain}


def growth(rounds: int) -> dict:
    """By batch size, by width, and by rows of data with the memory they take."""
    data, updates = make_data(100_000), 200 if on_gpu() else 4
    programs = {f"batch {n}": Program(settings_with(num_seeds=1, batch_size=n), data, updates) for n in (64, 256, 1024)}
    for width in (128, 256, 512):
        hidden = {"policy__hidden": (width,) * 3, "critic__hidden": (width,) * 3}
        programs[f"width {width}"] = Program(settings_with(num_seeds=1, **hidden), data, updates)
    found = {"work": in_turns(programs, rounds), "rows": {}}
    del programs
    for rows in (10_000, 100_000, 1_000_000, 10_000_000):
        gc.collect()
        big = make_data(rows)
        size = sum(column.nbytes for column in big)
        program = Program(settings_with(num_seeds=1), big, updates)
        found["rows"][f"{rows:,}"] = in_turns({"": program}, rounds)[""] | {"megabytes": size / 1e6}
        del program, big
    return found


def precision(rounds: int) -> dict:
    """By matmul precision: the time, and how far the losses of the first updates are from those in float32."""
    data, updates, found, losses = make_data(100_000), 200 if on_gpu() else 4, {}, {}
    for name in PRECISIONS:
        jax.config.update("jax_default_matmul_precision", name)
        program = Program(settings_with(num_seeds=1), data, updates)
        losses[name] = {key: np.mean(jax.device_get(value)) for key, value in program.metrics.items() if "loss" in key}
        found[name] = in_turns({"": program}, rounds)[""]
        off = {key: abs(losses[name][key] / value - 1) for key, value in losses["float32"].items()}
        found[name]["relative_difference_of_losses"] = {key: float(value) for key, value in off.items()}
    return found


def compiler(rounds: int) -> dict:
    """With our compiler options and with XLA's own defaults, where they differ."""
    if not update_options(jax.devices()[0]):
        return {"options": {}}
    data, updates = make_data(100_000), 200 if on_gpu() else 24
    found = in_turns(
        {
            "our options": Program(settings_with(num_seeds=1), data, updates),
            "XLA's defaults": Program(settings_with(num_seeds=1), data, updates, options={}),
        },
        rounds,
    )
    ours, defaults = (numbers["milliseconds_per_seed_update"] for numbers in found.values())
    return {"options": update_options(jax.devices()[0]), "programs": found, "ratio": ours / defaults}


def memory(rounds: int) -> dict:
    """Resident memory over 1,000 chunks of a tiny agent, after the first 100."""
    del rounds
    tiny = {"policy__hidden": (8,), "critic__hidden": (8,), "batch_size": 8, "num_seeds": 2}
    engine = make_engine(settings_with(**tiny), make_data(1000))
    state, megabytes = engine.init(), []
    for chunk in range(1001):
        state, metrics = engine.advance(state, 2)
        engine.gather(metrics)
        if chunk % 100 == 0:
            megabytes.append(resident())
    return {"megabytes": megabytes, "growth_after_100_chunks": megabytes[-1] - megabytes[1]}


def resident() -> float:
    """Resident memory in MB; where it cannot be read, its highest value so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


SECTIONS = {section.__name__: section for section in (seeds, sweep, growth, precision, compiler, memory)}


def main() -> None:
    """Measures the sections asked for and joins them to the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pin()
    commit, device = provenance.commit(), provenance.device()
    usual = "tensorfloat32" if on_gpu() else "float32"
    path = arguments.results / f"speed-{device['platform']}.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only.split(","):
        started = time.perf_counter()
        jax.config.update("jax_default_matmul_precision", usual)
        section = SECTIONS[name](arguments.rounds)
        result[name] = section | {
            "command": f"python benchmarks/speed.py --only={name} --rounds={arguments.rounds}",
            "matmul_precision": "each" if name == "precision" else usual,
            "wall_seconds": time.perf_counter() - started,
            "date": provenance.now(),
            "device": device,
            "versions": provenance.versions(),
            "commit": commit,
        }
        print(json.dumps({name: section}), flush=True)
        files.write_json(path, result)


if __name__ == "__main__":
    main()
