"""Evaluates a trained policy at other numbers of steps and temperatures.

    python experiments/evaluate.py --workdir=DIR [--num_steps=1,2,5] [--temperature=1,0.5] [--candidates=1,8]
        [--softmax=BETA] [--episodes=100] [--video]

Writes DIR/evaluations.json, one object per combination, and prints them as a table. The last checkpoint is evaluated.
With --video, DIR/video-K2.gif is the first episode of the first seed at K = 2, and so on for each K; with the package
imageio-ffmpeg (the extra `video`) there is an MP4 beside it.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def numbers(kind: Callable[[str], float], least: float) -> Callable[[str], list]:
    """Reads numbers that are separated by commas, finite and none of them below `least`."""

    def read(text: str) -> list:
        try:
            values = [kind(word) for word in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of {kind.__name__}s like 1,2,5") from None
        if not all(least <= value < math.inf for value in values):
            raise argparse.ArgumentTypeError(f"{text!r}: each must be at least {least:g} and finite")
        return list(dict.fromkeys(values))

    return read


def count(text: str) -> int:
    """Reads a number of things, from 1 up."""
    (value,) = numbers(int, 1)(text)
    return value


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Evaluates a trained policy.")
    parser.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--num_steps", type=numbers(int, 1), default="1,2,5", help="sampling steps K, by commas")
    parser.add_argument(
        "--temperature", type=numbers(float, 0), default="1", help="scales of the first draw, by commas"
    )
    parser.add_argument("--candidates", type=numbers(int, 1), default="1", help="best of N by the critic, by commas")
    parser.add_argument(
        "--softmax", type=float, metavar="BETA", help="draw among the candidates by softmax(BETA Q) instead"
    )
    parser.add_argument("--episodes", type=count, default=100, help="episodes of each seed and combination")
    parser.add_argument("--num_envs", type=count, default=25, help="environments of each seed")
    parser.add_argument("--step", type=int, help="another of the kept checkpoints than the last one")
    parser.add_argument("--seed", type=int, default=0, help="of the policies' noise")
    parser.add_argument("--video", action="store_true", help="film the first episode at each K")
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
    arguments = parse(argv)
    from absl import logging

    from gtp_jax import datasets, divergence, lanes, load_policy, records, scores, video
    from gtp_jax.evaluation import Evaluator
    from gtp_jax.terminal import Terminal

    terminal = Terminal()
    logging.set_verbosity(logging.WARNING)
    policy = load_policy(arguments.workdir, arguments.step)
    for record in policy.diverged:
        terminal.say(divergence.describe(record))
    if arguments.video:
        video.choose_backend()
    dataset = datasets.load(policy.settings["dataset"], **policy.settings["data"])
    first = dataset.make_env()  # plays the first seed's first episode
    obs, _ = first.reset(seed=0)
    first = video.Recorded(first) if arguments.video else first
    unused = [first]
    evaluator = Evaluator(
        lambda: unused.pop() if unused else dataset.make_env(),
        policy.observe,
        policy.seeds,
        num_envs=arguments.num_envs,
    )
    results, combinations, filmed = [], lanes.combinations(policy.lanes), {}
    selection = "best" if arguments.softmax is None else f"softmax, {arguments.softmax:g} Q"
    for num_steps, temperature, candidates in itertools.product(
        arguments.num_steps, arguments.temperature, arguments.candidates
    ):
        act = policy.acting(
            num_steps=num_steps,
            temperature=temperature,
            noise_seed=arguments.seed,
            candidates=candidates,
            inverse_temperature=math.inf if arguments.softmax is None else arguments.softmax,
        )
        episodes = evaluator(act, arguments.episodes)
        if arguments.video:
            filmed.setdefault(num_steps, first.episodes[0])
            first.episodes.clear()
        score = scores.of_episodes(dataset.id, episodes.returns, episodes.success)
        found = scores.table(combinations, score, episodes.success if dataset.maze else None)
        milliseconds = milliseconds_per_sample(policy, obs, num_steps)
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
                "milliseconds_per_sample": milliseconds,
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
            terminal.say(
                f"{', '.join(how)}: {score['mean']:5.1f} [{low:.1f}, {high:.1f}]  (seeds: {shown})  "
                f"{milliseconds:.2f} ms per action"
            )
        records.write_json(arguments.workdir / "evaluations.json", results)
    for num_steps, episode in filmed.items():
        for path in video.film(first.env, episode, dataset.maze, arguments.workdir / f"video-K{num_steps}"):
            terminal.say(f"  {path}")
    evaluator.close()


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
