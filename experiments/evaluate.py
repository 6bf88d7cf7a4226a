"""Evaluates a trained policy at other numbers of steps and temperatures.

    python experiments/evaluate.py --workdir=DIR [--num_steps=1,2,5] [--temperature=1,0.5] [--candidates=1,8]
        [--softmax=BETA] [--episodes=100] [--video]

Writes DIR/evaluations.json, one object per combination, and prints them as a table. The last checkpoint is evaluated.
With --video, DIR/video-K2.gif is the first episode of the first seed at K = 2, and so on for each K; with the package
imageio-ffmpeg (the extra `video`) there is an MP4 beside it.
"""

import argparse
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gtp_jax import files
from gtp_jax.config.ranges import RANGES, Range
from gtp_jax.runs import provenance
from gtp_jax.runs.terminal import Parser, Terminal, refuse


def number(allowed: Range, kind: type = int) -> Callable[[str], int | float]:
    """What reads one number of a range from the command line."""

    def read(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or value not in allowed:
            raise argparse.ArgumentTypeError(
                f"{text[:80]!r} must be a {'whole ' if kind is int else ''}number {allowed}"
            )
        return value

    return read


def numbers(allowed: Range, kind: type = int) -> Callable[[str], list[int | float]]:
    """What reads several numbers of a range, separated by commas, each once."""
    return lambda text: list(dict.fromkeys(number(allowed, kind)(word) for word in text.split(",")))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; a mistake ends the program with one line and exit code 2."""
    parser = Parser(description="Evaluates a trained policy.")

    def add(name: str, setting: str, default: str | None, many: bool, kind: type, text: str) -> None:
        parser.add_argument(name, type=(numbers if many else number)(RANGES[setting], kind), default=default, help=text)

    parser.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    add("--num_steps", "policy.num_steps", "1,2,5", True, int, "sampling steps K, by commas")
    add("--temperature", "policy.temperature", "1", True, float, "scales of the first draw, by commas")
    add("--candidates", "critic.candidates", "1", True, int, "best of N by the critic, by commas")
    parser.add_argument(
        "--softmax",
        type=number(RANGES["guidance.eta"], float),
        metavar="BETA",
        help="draw among the candidates by softmax(BETA Q) instead",
    )
    add("--episodes", "eval.num_episodes", "100", False, int, "episodes of each seed and combination")
    add("--num_envs", "eval.num_envs", "25", False, int, "environments of each seed")
    add("--step", "num_updates", None, False, int, "another of the kept checkpoints than the last one")
    add("--seed", "eval.seed", "0", False, int, "of the policies' noise")
    parser.add_argument("--video", action="store_true", help="film the first episode at each K")
    return parser.parse_args(argv)


def first_sound(policy) -> int | None:
    """The first of its lanes whose parameters are finite; None where all diverged."""
    for lane in range(len(policy.lanes)):
        with contextlib.suppress(ValueError):
            policy.params_of(lane)
            return lane
    return None


def milliseconds_per_sample(policy, obs: dict, num_steps: int, repeats: int = 300) -> float | None:
    """The median time of one call of the loaded policy on one raw observation, warm: what a user's loop pays.

    None where there is no policy that acts.
    """
    times, lane = [], first_sound(policy)
    if lane is None:
        return None
    for _ in range(repeats):
        started = time.perf_counter()
        policy(obs, num_steps=num_steps, seed_index=lane)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def main(argv: list[str] | None = None) -> None:
    """Evaluates every combination of steps and temperature."""
    arguments = parse(argv)
    from absl import logging

    from gtp_jax import datasets, load_policy
    from gtp_jax.config import trials
    from gtp_jax.envs import video
    from gtp_jax.envs.evaluation import Evaluator
    from gtp_jax.runs import scores
    from gtp_jax.training import divergence

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
    results, combinations, filmed = [], trials.combinations(policy.lanes), {}
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
        success = episodes.success if dataset.maze else None
        found = scores.table(combinations, scores.of_episodes(dataset.id, episodes.returns, success), success)
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
                "date": provenance.now(),
                "device": provenance.device(),
                "versions": provenance.versions(),
                "commit": provenance.commit(),
            }
        )
        for values, row in zip(combinations, found.get("sweep", [found]), strict=True):
            score = row["score"]
            shown = " ".join(f"{value:.0f}" for value in score["per_seed"])
            low, high = score["ci95"]
            how = [trials.describe(values[0])] if values[0] else []
            how += [f"K = {num_steps}", f"temperature {temperature:g}", f"{selection} of {candidates}"]
            terminal.say(
                f"{', '.join(how)}: {score['mean']:5.1f} [{low:.1f}, {high:.1f}]  (seeds: {shown})  "
                f"{'-' if milliseconds is None else f'{milliseconds:.2f}'} ms per action"
            )
        files.write_json(arguments.workdir / "evaluations.json", results)
    for num_steps, episode in filmed.items():
        for path in video.film(first.env, episode, dataset.maze, arguments.workdir / f"video-K{num_steps}"):
            terminal.say(f"  {path}")
    evaluator.close()


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        refuse(error)
