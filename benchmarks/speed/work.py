"""The update that the speed benchmarks time: AntMaze size, 36 numbers observed, 8 acted, on transitions of noise."""

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import shared
from gtp_jax.agent import build
from gtp_jax.config import trials
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings
from gtp_jax.parallel.compiler import update_options
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.types import Agent, Array, Batch

OBS, ACTIONS = 36, 8
RESULTS = shared.RESULTS / "speed"
TASK = "ogbench:gtp/ogbench/cube-single-play-singletask-task1-500k-v0"  # whose settings the methods have


def settings_with(changes: Mapping[str, Any], activation: str = "mish") -> Settings:
    """The settings: batches of 256, three layers of 256, K = 5 in the critic's target and in a sampled baseline."""
    same = {"critic.num_steps": 5, "policy.activation": activation, "critic.activation": activation}
    return Settings.of(same | changes)


def method(name: str) -> Settings:
    """One seed of a named method, as it is on OGBench's tasks."""
    return preset(f"{TASK},{name}").replace({"num_seeds": 1})


def make_data(num_rows: int) -> Batch:
    """Transitions of noise."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    action, ones = np.clip(normal(num_rows, ACTIONS), -1, 1), np.ones(num_rows, np.float32)
    return Batch(normal(num_rows, OBS), action, normal(num_rows), ones, normal(num_rows, OBS))


def make_agent(settings: Settings) -> tuple[Agent, dict[str, Array]]:
    """The agent and the hyperparameters of its state."""
    bound = np.ones(ACTIONS, np.float32)
    return build.build_agent(settings, -bound, bound, None)


def make_engine(settings: Settings, data: Batch, devices=None, options=None) -> Seeds:
    """The compiled program of a run with these settings."""
    every, (agent, _) = trials.trials(settings), make_agent(settings)
    example = jax.tree.map(lambda column: column[:1], data)
    own = {name: jnp.float32(each) for name, each in trials.hyperparameters(settings, every).items()}
    return Seeds(
        lambda key, hparams: agent.init(key, example, hparams),
        agent.update,
        data,
        seeds=[trial.seed for trial in every],
        batch_size=settings.batch_size,
        own=[own],
        at_once=settings.seeds_at_once,
        devices=devices,
        options=options,
    )


class Program:
    """A compiled program and its state; a call runs a chunk of updates and waits for it."""

    def __init__(self, settings: Settings, data: Batch, updates: int, options=None):
        self.engine, self.updates = make_engine(settings, data, options=options), updates
        self.num_trials, self.metrics, self.state = len(self.engine.seeds), None, self.engine.init()

    def __call__(self) -> None:
        self.state, self.metrics = self.engine.advance(self.state, self.updates)
        jax.block_until_ready((self.state, self.metrics))


def time_programs(programs: dict[str, Program], rounds: int, clock: Any = None) -> dict[str, dict[str, Any]]:
    """Updates per second, milliseconds and seconds of compilation of programs that take turns, as in `in_turns`."""
    found = {}
    for name, seconds in shared.in_turns(programs, rounds, clock=clock).items():
        program = programs[name]
        update = float(np.median(seconds)) / program.updates
        found[name] = {
            "updates_per_second": 1 / update,
            "seed_updates_per_second": program.num_trials / update,
            "milliseconds_per_seed_update": 1000 * update / program.num_trials,
            "compile_seconds": program.engine.compile_seconds,
        }
    return found


def matmul_peak(rounds: int) -> float:
    """FLOP/s of the best of some matrix products in float32, the yardstick of the same run."""
    best, large = 0.0, [] if jax.default_backend() == "cpu" else [(8192, 8192)]
    for rows, inner in ((512, 256), (2048, 256), (2048, 2048), *large):
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
