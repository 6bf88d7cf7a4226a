"""What an update costs, by the number of seeds, the size of the work, and with a sweep.

The update of work.py. On a CPU on one core, single-threaded; on a GPU the seeds go on to 1,024. Programs that are
compared take turns; a number is the median over rounds, compilation apart. Writes RESULTS/speed-PLATFORM.json, keeping
what it did not measure this time. The machine must be idle.
"""

import gc
import resource
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import shared
from benchmarks.speed import work
from benchmarks.speed.flops import matmul_mflop
from gtp_jax.config.settings import describe
from gtp_jax.parallel.compiler import update_options


def updates_of(on_cpu: int, elsewhere: int) -> int:
    """The updates in a turn, which is to take about a second."""
    return on_cpu if jax.default_backend() == "cpu" else elsewhere


def seeds(rounds: int) -> dict[str, Any]:
    """By the number of seeds on one device, side by side (`vmap`) and, at 8, one after the other (`lax.map`)."""
    counts = (1, 2, 4, 8, 16) if jax.default_backend() == "cpu" else (1, 2, 4, 8, 16, 64, 256, 1024)
    data, updates = work.make_data(100_000), updates_of(24, 500)
    many = {
        f"{n} seeds" if n > 1 else "1 seed": work.Program(
            work.settings_with({"num_seeds": n}), data, min(updates, 20_000 // n)
        )
        for n in counts
    }
    one, one_by_one = work.settings_with({"num_seeds": 1}), work.settings_with({"num_seeds": 8, "seeds_at_once": 1})
    many["8 seeds, one after the other"] = work.Program(one_by_one, data, updates)
    many["1 seed, relu"] = work.Program(work.settings_with({"num_seeds": 1}, "relu"), data, updates)
    found, (agent, hparams) = work.time_programs(many, rounds), work.make_agent(one)
    batch = jax.tree.map(lambda column: column[: one.batch_size], data)
    mflop = matmul_mflop(lambda: agent.update(agent.init(jax.random.key(0), batch, hparams), batch))
    peak, first = work.matmul_peak(rounds), found["1 seed"]["milliseconds_per_seed_update"]
    for name, numbers in found.items():
        numbers["times_one_seed"] = many[name].num_trials * numbers["milliseconds_per_seed_update"] / first
        numbers["share_of_matmul_peak"] = 1e6 * mflop * numbers["seed_updates_per_second"] / peak
    relu = found["1 seed, relu"]["milliseconds_per_seed_update"] / first
    return {"programs": found, "share_of_relu_rate": relu, "matmul_peak_gflops": peak / 1e9, "matmul_mflop": mflop}


def compare(settings: dict[str, Any], updates: int, rounds: int) -> dict[str, Any]:
    """Two programs that take turns, and the first one's time over the second one's."""
    data = work.make_data(100_000)
    programs = {name: work.Program(each[0], data, updates, *each[1:]) for name, each in settings.items()}
    found = work.time_programs(programs, rounds)
    first, second = (numbers["milliseconds_per_seed_update"] for numbers in found.values())
    return {"programs": found, "ratio": first / second}


def sweep(rounds: int) -> dict[str, Any]:
    """Four values of eta with four seeds beside 16 seeds of one value."""
    swept = work.settings_with({"num_seeds": 4, "sweep.eta": (0.1, 0.3, 1.0, 3.0)})
    both = {"4 values of eta x 4 seeds": (swept,), "16 seeds": (work.settings_with({"num_seeds": 16}),)}
    return compare(both, updates_of(12, 100), rounds)


def compiler(rounds: int) -> dict[str, Any]:
    """With our compiler options and with XLA's own defaults, where they differ."""
    options, one = update_options(jax.devices()[0]), work.settings_with({"num_seeds": 1})
    if not options:
        return {"options": {}}
    both = {"our options": (one,), "XLA's defaults": (one, {})}
    return {"options": options} | compare(both, updates_of(24, 200), rounds)


def guidance(rounds: int) -> dict[str, Any]:
    """What an update costs by the method, and times the update with the paper's weights; CPU time on a CPU."""
    methods = ("gtp-bc", "gtp", "gtp-paper", "gtp-q")
    data, clock = work.make_data(100_000), time.process_time if jax.default_backend() == "cpu" else None
    settings = {each: work.method(each) for each in methods}
    programs = {name: work.Program(each, data, updates_of(24, 500)) for name, each in settings.items()}
    found = work.time_programs(programs, rounds, clock)
    paper = found["gtp-paper"]["milliseconds_per_seed_update"]
    for name, each in found.items():
        each["times_the_papers"] = each["milliseconds_per_seed_update"] / paper
        each["algorithm"] = describe(settings[name])
    return {"programs": found}


def growth(rounds: int) -> dict[str, Any]:
    """By batch size, by width, and by rows of data with the memory they take."""
    data, updates = work.make_data(100_000), updates_of(4, 200)
    changes = {f"batch {n}": {"batch_size": n} for n in (64, 256, 1024)}
    for width in (128, 256, 512):
        changes[f"width {width}"] = {"policy.hidden": (width,) * 3, "critic.hidden": (width,) * 3}
    programs = {
        name: work.Program(work.settings_with({"num_seeds": 1} | each), data, updates) for name, each in changes.items()
    }
    found = {"work": work.time_programs(programs, rounds), "rows": {}}
    del programs
    for rows in (10_000, 100_000, 1_000_000, 10_000_000):
        gc.collect()
        big = work.make_data(rows)
        size = sum(column.nbytes for column in big if column is not None)
        program = work.Program(work.settings_with({"num_seeds": 1}), big, updates)
        found["rows"][f"{rows:,}"] = work.time_programs({"": program}, rounds)[""] | {"megabytes": size / 1e6}
        del program, big
    return found


def memory(rounds: int) -> dict[str, Any]:
    """Resident memory over 1,000 chunks of 1,000 updates of a tiny agent, after the first 100."""
    del rounds
    tiny = {"policy.hidden": (8,), "critic.hidden": (8,), "batch_size": 8, "num_seeds": 2}
    engine = work.make_engine(work.settings_with(tiny), work.make_data(1000))
    state, found = engine.init(), {}
    for chunk in range(1001):
        state, metrics = engine.advance(state, 1000)
        engine.gather(metrics)
        if chunk % 100 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found[f"{1000 * (chunk + 1):,}"] = pages * resource.getpagesize() / 1e6
    megabytes = list(found.values())
    return {"megabytes": found, "growth_after_100_chunks": megabytes[-1] - megabytes[1]}


SECTIONS = {section.__name__: section for section in (seeds, sweep, guidance, growth, compiler, memory)}


def main(argv: list[str] | None = None) -> None:
    """Measures the sections asked for and joins them to the file."""
    arguments = shared.parse(__doc__, argv, only=SECTIONS, rounds=7, results=work.RESULTS)
    shared.use_one_core()
    platform = jax.default_backend()
    usual, path = "float32" if platform == "cpu" else "tensorfloat32", arguments.results / f"speed-{platform}.json"
    jax.config.update("jax_default_matmul_precision", usual)
    result = shared.read(path) if path.exists() else {}
    for name in arguments.only:
        about = shared.source(shared.command(__file__, only=name, rounds=arguments.rounds))
        result[name] = about | {"matmul_precision": usual} | SECTIONS[name](arguments.rounds)
        print(name, flush=True)
        shared.write(path, result)
