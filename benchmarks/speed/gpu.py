"""All that a GPU is to be measured for, in one command of at most --seconds, what is worth most first.

Every number is printed and saved as soon as it is there, so that a machine that goes away early loses nothing. What is
left when the time is over stands in the file as not measured, and a step that fails with its error; the others go on.
Another call keeps the steps that it does not measure: --only=NAME,... measures those that are missing.
The update is that of the recommended method `gtp-q` on transitions of noise, AntMaze size. FQL stands beside it where
--peers=fql=CHECKOUT names it. --small tries every step at sizes for a CPU. The machine must be idle.
"""

import functools
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import gtp_jax
from benchmarks import shared
from benchmarks.scores import q_peers
from benchmarks.speed import latency, speed, work
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings

WANTED = "3,000 updates/s of one seed, 60,000 seed-updates/s of many, 16 seeds at most 1.5 times one, 0.2 ms at K = 2"
METHOD = f"{work.TASK},gtp-q"
MAZE = "d4rl:gtp/d4rl-antmaze/umaze-{rows}-v0,gtp-q"


make_data = functools.cache(work.make_data)


class Sizes(NamedTuple):
    """How large each step is."""

    rows: int = 1_000_000
    updates: int = 500  # in one dispatch
    rounds: int = 5
    hidden: tuple[int, ...] = (256, 256, 256)
    large: tuple[int, ...] = (512, 512, 512, 512)
    seeds: tuple[int, ...] = (1, 16, 256, 4, 64)  # in order of worth
    chunks: tuple[int, ...] = (10, 100, 2000)
    batches: tuple[int, ...] = (1, 100, 10_000)
    maze_rows: str = "100k"
    maze_updates: int = 20_000
    maze_episodes: int = 100


SMALL = Sizes(4000, 2, 2, (8,), (16, 16), (1, 2), (1, 3), (1, 4), "5k", 40, 2)
Found = Iterator[tuple[str, dict[str, Any]]]  # by name, as they come
# What JAX calls the precision of matrix products on a GPU.
PRECISIONS = ("tensorfloat32", "float32", "bfloat16")
USUAL = PRECISIONS[0]


def settings_with(hidden: tuple[int, ...], **changes: Any) -> Settings:
    """The recommended method's, for one seed where nothing else is said."""
    widths = {"policy.hidden": hidden, "critic.hidden": hidden}
    return preset(METHOD).replace({"num_seeds": 1} | widths | changes)


def rate(settings: Settings, sizes: Sizes, updates: int | None = None, precision: str = USUAL) -> dict[str, Any]:
    """Updates per second of one program, warm, and the device's memory in use."""
    with jax.default_matmul_precision(precision):
        program = work.Program(settings, make_data(sizes.rows), updates or sizes.updates)
        found: dict[str, Any] = work.time_programs({"": program}, sizes.rounds)[""]
    in_use = (jax.devices()[0].memory_stats() or {}).get("bytes_in_use")
    return found | {"megabytes_in_use": None if in_use is None else in_use / 1e6}


def seeds(sizes: Sizes, _: str) -> Found:
    """1 to 256 seeds side by side."""
    first = None
    for count in sizes.seeds:
        found = rate(settings_with(sizes.hidden, num_seeds=count), sizes)
        first = first or found
        yield str(count), found | {"times_one_seed": first["updates_per_second"] / found["updates_per_second"]}


def latencies(sizes: Sizes, _: str) -> Found:
    """Milliseconds of a call of the sampler, from NumPy to NumPy."""
    for batch in sizes.batches:
        for num_steps in (2, 1, 5):
            sample = {"": latency.sampler("gtp", num_steps, batch)}
            with jax.default_matmul_precision(USUAL):
                milliseconds = 1000 * np.median(shared.in_turns(sample, 4 * sizes.rounds, 25)[""])
            yield f"K = {num_steps}, batch {batch}", {"milliseconds": float(milliseconds)}


def precisions(sizes: Sizes, _: str) -> Found:
    """One seed in each precision of matrix products."""
    for precision in PRECISIONS:
        yield precision, rate(settings_with(sizes.hidden), sizes, precision=precision)


def chunks(sizes: Sizes, _: str) -> Found:
    """One seed by the number of updates in a dispatch."""
    for updates in sizes.chunks:
        yield str(updates), rate(settings_with(sizes.hidden), sizes, updates)


def rerun(sizes: Sizes, _: str) -> Found:
    """Whether two runs of one program end with the same bits."""
    ends = []
    for _ in range(2):
        with jax.default_matmul_precision(USUAL):
            program = work.Program(settings_with(sizes.hidden), make_data(sizes.rows), sizes.updates)
            program()
        ends.append(program.engine.gather(program.state.policy_ema))
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), *ends)
    yield "bits", {"equal": all(jax.tree.leaves(same)), "updates": sizes.updates}


def memory(sizes: Sizes, _: str) -> Found:
    """Resident memory over many dispatches."""
    yield "resident", speed.memory(sizes.rounds)


def large(sizes: Sizes, peers: str) -> Found:
    """OGBench's size, beside FQL at the same."""
    ours = rate(settings_with(sizes.large), sizes)
    yield "gtp-q", ours
    for name, checkout in shared.checkouts(peers, ("fql",)).items():
        made, batch = q_peers.agent_class(name, checkout), make_data(sizes.rows)
        config = q_peers.hyperparameters(name, "cube-single-play")
        config |= {"actor_hidden_dims": sizes.large, "value_hidden_dims": sizes.large}
        data = {"observations": batch.obs, "actions": batch.action, "rewards": batch.reward}
        data |= {"masks": batch.discount, "next_observations": batch.next_obs}
        with jax.default_matmul_precision(USUAL):
            train = q_peers.trainer(made, config, data, range(1))
            seconds = shared.in_turns({"": functools.partial(train, sizes.updates)}, sizes.rounds)[""]
        theirs = sizes.updates / float(np.median(seconds))
        yield name, {"updates_per_second": theirs, "ours_relative": ours["updates_per_second"] / theirs}


def whole_run(sizes: Sizes, _: str) -> Found:
    """A run under D4RL's protocol with evaluations between and beside the updates; data are collected before."""
    name = MAZE.format(rows=sizes.maze_rows)
    dataset = gtp_jax.datasets.load(preset(name).dataset)
    every = {"log_every": sizes.maze_updates // 20, "eval.every": sizes.maze_updates // 4}
    every |= {"checkpoint_every": sizes.maze_updates // 4, "num_updates": sizes.maze_updates, "num_seeds": 1}
    for overlap in ("always", "never"):
        started = time.perf_counter()
        changes: dict[str, Any] = {"eval.overlap": overlap, "eval.num_episodes": sizes.maze_episodes}
        changes |= {"policy.hidden": sizes.hidden, "critic.hidden": sizes.hidden}
        result = gtp_jax.train(name, every | changes, dataset=dataset, quiet=True)
        yield f"overlap: {overlap}", {"seconds": time.perf_counter() - started, "score": result.summary["score"]}


STEPS: tuple[Callable[[Sizes, str], Found], ...] = (
    *(seeds, latencies, precisions, rerun),
    *(large, whole_run, chunks, memory),
)


def main(argv: list[str] | None = None) -> None:
    """Runs the steps until the time is over; ends with exit code 1 where one failed."""
    options: dict[str, Any] = {"results": work.RESULTS, "peers": "", "seconds": 480.0, "small": False}
    given = shared.parse(__doc__ or "", argv, only={step.__name__: step for step in STEPS}, **options)
    shared.checkouts(given.peers, ("fql",))
    deadline, sizes = time.monotonic() + given.seconds, SMALL if given.small else Sizes()
    path: Path = given.results / f"gpu-{jax.default_backend()}{'-small' * given.small}.json"
    only = "" if len(given.only) == len(STEPS) else ",".join(given.only)
    told = {"only": only, "peers": given.peers, "seconds": given.seconds, "small": given.small}
    about = shared.source(shared.command(__file__, **told))
    result = {step.__name__: {"state": "not measured"} for step in STEPS}
    result |= shared.read(path) if path.exists() else {}
    result |= {"wanted": WANTED, "sizes": sizes._asdict()}
    failed = False
    for step in (step for step in STEPS if step.__name__ in given.only):
        if time.monotonic() > deadline:
            print(f"{step.__name__}: not measured, the {given.seconds:g} seconds are over", flush=True)
            continue
        here = result[step.__name__] = {"state": "not measured"} | about
        try:
            for name, found in step(sizes, given.peers):
                here |= {name: found, "state": "begun"}
                print(f"{step.__name__}, {name}: {found}", flush=True)
                shared.write(path, result)
                if time.monotonic() > deadline:
                    break
            else:
                here["state"] = "done"
        except (Exception, SystemExit) as error:  # of whatever kind: the next step may still be measured
            failed, here["state"] = True, f"failed: {type(error).__name__}: {error!s:.300}"
            traceback.print_exc()
        shared.write(path, result)
    if failed:
        raise SystemExit(f"some steps failed; {path} tells which")
