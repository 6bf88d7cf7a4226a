"""What an evaluation costs: environment steps per second beside the raw stepping of the same environments.

    python benchmarks/evaluation.py [--seeds=4] [--rounds=3]

U-Maze, 25 environments a seed, an untrained policy at K = 2, so that every episode lasts its 700 steps. The raw rate is
that of the same environments stepped with random actions, one after the other in this process and in as many processes
as there are cores. They take turns. Prints one JSON line and writes results/evaluation.json. The machine must be idle.
"""

import argparse
import copy
import json
import multiprocessing
import os
import time
from pathlib import Path

import jax
import numpy as np

from gtp_jax import datasets, files
from gtp_jax.agent import build
from gtp_jax.agent.acting import acting
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.runs import provenance

DATASET = "gtp/antmaze/umaze-5k-v0"
NUM_ENVS, STEPS = 25, 700


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


def evaluator(num_seeds: int):
    """A function that evaluates untrained policies and returns steps per second, warm."""
    dataset = datasets.load(DATASET)
    settings = copy.deepcopy(DEFAULTS)
    settings["guidance"]["name"] = "none"
    agent, hparams = build.make(settings, dataset.action_low, dataset.action_high)
    example = jax.tree.map(lambda column: column[:1], dataset.batch)
    params = jax.vmap(lambda key: agent.init(key, example, hparams).policy_ema)(
        jax.random.split(jax.random.key(0), num_seeds)
    )
    act = acting(agent.act, params, range(num_seeds), num_steps=2, temperature=1.0, noise_seed=0)
    evaluate = Evaluator(dataset.make_env, dataset.observe, range(num_seeds), num_envs=NUM_ENVS)
    evaluate(act, 1)

    def measure() -> float:
        started = time.perf_counter()
        episodes = evaluate(act, NUM_ENVS)
        return int(episodes.length.sum()) / (time.perf_counter() - started)

    return measure


def main() -> None:
    """Measures in turns and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    commit, ours = provenance.commit(), evaluator(arguments.seeds)
    rates: dict[str, list[float]] = {"evaluation": [], "raw, one process": [], "raw, all cores": []}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(raw, range(cores))
        for _ in range(arguments.rounds):
            rates["evaluation"].append(ours())
            rates["raw, one process"].append(raw())
            rates["raw, all cores"].append(sum(pool.map(raw, range(cores))))
    medians = {name: float(np.median(each)) for name, each in rates.items()}
    result = {
        "command": f"python benchmarks/evaluation.py --seeds={arguments.seeds} --rounds={arguments.rounds}",
        "steps_per_second": medians,
        "episodes_per_second": medians["evaluation"] / STEPS,
        "share_of_raw_on_all_cores": medians["evaluation"] / medians["raw, all cores"],
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    print(json.dumps(result))
    files.write_json(Path(__file__).parent / "results" / "evaluation.json", result)


if __name__ == "__main__":
    main()
