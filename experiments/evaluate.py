"""Evaluates a trained policy at other numbers of steps and temperatures.

    python experiments/evaluate.py --workdir=DIR [--num_steps=1,2,5] [--temperature=1,0.5] [--candidates=1,8]
        [--softmax=BETA] [--episodes=100]

Writes DIR/evaluations.json, one object per combination, and prints them as a table. The last checkpoint is evaluated.
"""

import argparse
import itertools
import math
import sys
import time
from pathlib import Path

import numpy as np
from absl import logging

from gtp_jax import datasets, lanes, load_policy, records, scores
from gtp_jax.evaluation import Evaluator
from gtp_jax.terminal import Terminal


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Evaluates a trained policy.")
    parser.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--num_steps", default="1,2,5", help="sampling steps K, separated by commas")
    parser.add_argument("--temperature", default="1", help="scales of the first draw, separated by commas")
    parser.add_argument("--candidates", default="1", help="best of N by the critic, N separated by commas")
    parser.add_argument(
        "--softmax", type=float, metavar="BETA", help="draw among the candidates by softmax(BETA Q) instead"
    )
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each seed and combination")
    parser.add_argument("--num_envs", type=int, default=25, help="environments of each seed")
    parser.add_argument("--seed", type=int, default=0, help="of the policies' noise")
    arguments = parser.parse_args(argv)
    if arguments.softmax is not None and not arguments.softmax >= 0:
        parser.error(f"--softmax={arguments.softmax:g} must be at least 0; a negative one would favour low values")
    return arguments


def milliseconds_per_sample(policy, obs: dict, num_steps: int, repeats: int = 300) -> float:
    """The median time of one call of the loaded policy on one raw observation, warm: what a user's loop pays."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        policy(obs, num_steps=num_steps)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def main(argv: list[str] | None = None) -> None:
    """Evaluates every combination of steps and temperature."""
    arguments, terminal = parse(argv), Terminal()
    logging.set_verbosity(logging.WARNING)
    policy = load_policy(arguments.workdir)
    dataset = datasets.load(policy.settings["dataset"], **policy.settings["data"])
    evaluator = Evaluator(dataset.make_env, policy.observe, policy.seeds, num_envs=arguments.num_envs)
    env = dataset.make_env()
    obs, _ = env.reset(seed=0)
    env.close()
    results, combinations = [], lanes.combinations(policy.lanes)
    num_steps_asked, candidates_asked = (
        [int(n) for n in text.split(",")] for text in (arguments.num_steps, arguments.candidates)
    )
    temperatures = [float(t) for t in arguments.temperature.split(",")]
    selection = "best" if arguments.softmax is None else f"softmax, {arguments.softmax:g} Q"
    for num_steps, temperature, candidates in itertools.product(num_steps_asked, temperatures, candidates_asked):
        act = policy.acting(
            num_steps=num_steps,
            temperature=temperature,
            noise_seed=arguments.seed,
            candidates=candidates,
            inverse_temperature=math.inf if arguments.softmax is None else arguments.softmax,
        )
        episodes = evaluator(act, arguments.episodes)
        score = scores.of_episodes(dataset.id, episodes.returns, episodes.success)
        found = scores.table(combinations, score, episodes.success if dataset.maze else None)
        results.append(
            {
                "dataset": dataset.id,
                "updates": policy.step,
                "seeds": list(dict.fromkeys(policy.seeds)),
                "num_steps": num_steps,
                "temperature": temperature,
                "candidates": candidates,
                "selection": None if candidates == 1 else selection,
                "episodes": arguments.episodes,
                **found,
                "milliseconds_per_sample": milliseconds_per_sample(policy, obs, num_steps),
                "command": " ".join(["python", *sys.argv]),
                "date": records.now(),
                "device": records.device(),
                "versions": records.versions(),
                "commit": records.commit(),
            }
        )
        for values, row in zip(combinations, found.get("sweep", [found]), strict=True):
            score = row["score"]
            shown = " ".join(f"{value:.0f}" for value in score["per_seed"])
            low, high = score["ci95"]
            how = [lanes.describe(values[0])] if values[0] else []
            how += [f"K = {num_steps}", f"temperature {temperature:g}", f"{selection} of {candidates}"]
            terminal.say(f"{', '.join(how)}: {score['mean']:5.1f} [{low:.1f}, {high:.1f}]  (seeds: {shown})")
        records.write_json(arguments.workdir / "evaluations.json", results)
    evaluator.close()


if __name__ == "__main__":
    main()
