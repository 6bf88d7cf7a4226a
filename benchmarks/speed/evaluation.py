"""What an evaluation costs: environment steps per second beside the raw stepping of the same environments.

U-Maze, 25 environments a seed, an untrained policy at K = 2, so that every episode lasts its 700 steps. The raw rate is
that of the same environments stepped with random actions in as many processes as there are cores. They take turns. The
machine must be idle.
"""

import collections
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import shared
from gtp_jax import datasets
from gtp_jax.agent import build
from gtp_jax.agent.acting import acting
from gtp_jax.config.settings import Settings
from gtp_jax.envs.evaluation import Evaluator

DATASET, STEPS = "gtp/antmaze/umaze-5k-v0", 700


def raw(_: int = 0) -> float:
    """Steps per second of one process that steps environments with random actions."""
    dataset = datasets.load(DATASET)
    envs = [dataset.make_env() for _ in range(5)]
    rng = np.random.default_rng(0)
    for env in envs:
        env.reset(seed=0)
    actions = rng.uniform(-1, 1, (STEPS, len(envs), 8)).astype(np.float32)
    started = time.perf_counter()
    for step in actions:
        for env, action in zip(envs, step, strict=True):
            env.step(action)
    return STEPS * len(envs) / (time.perf_counter() - started)


def evaluator(num_seeds: int, num_envs: int) -> Callable[[], float]:
    """A function that evaluates untrained policies and returns steps per second, warm."""
    dataset, settings = datasets.load(DATASET), Settings.of({"guidance.name": "none"})
    agent, hparams = build.build_agent(settings, dataset.action_low, dataset.action_high, dataset.layout)
    example = jax.tree.map(lambda column: column[:1], dataset.batch)
    init = jax.vmap(lambda key: agent.init(key, example, hparams).policy_ema)
    params = init(jax.random.split(jax.random.key(0), num_seeds))
    act = acting(agent.act, params, range(num_seeds), num_steps=2, temperature=1.0, noise_seed=0)
    evaluate = Evaluator(dataset.make_env, dataset.observe, range(num_seeds), num_envs=num_envs)
    evaluate(act, 1)

    def rate() -> float:
        started = time.perf_counter()
        episodes = evaluate(act, num_envs)
        return int(episodes.length.sum()) / (time.perf_counter() - started)

    return rate


def measure(seeds: int, rounds: int, envs: int) -> dict[str, Any]:
    """Steps per second of evaluations and of raw stepping, in turns."""
    ours, rates = evaluator(seeds, envs), collections.defaultdict(list)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(raw, range(cores))
        for _ in range(rounds):
            rates["evaluation"].append(ours())
            rates["raw, all cores"].append(sum(pool.map(raw, range(cores))))
    medians = {name: float(np.median(each)) for name, each in rates.items()}
    share = medians["evaluation"] / medians["raw, all cores"]
    return {"steps_per_second": medians, "share_of_raw_on_all_cores": share}


main = partial(shared.measure, __file__, __doc__, measure, seeds=4, rounds=3, envs=25)
