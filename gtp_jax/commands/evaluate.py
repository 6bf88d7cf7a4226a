"""Evaluates a trained policy at other numbers of steps and temperatures, and writes DIR/evaluations.json.

Evaluations with other settings that the file holds stay there. With --video, DIR/video-K2.gif is the first episode of
the first seed at K = 2, and so on for each K, with the package imageio-ffmpeg (the extra `video`) an MP4 beside it.
"""

import contextlib
import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.commands import number, numbers, origin, user_path
from gtp_jax.declare import COUNT, ENVS, MANY, MAX_INT, NOT_NEGATIVE, UPDATES, Range
from gtp_jax.runs.terminal import Parser, Terminal


def milliseconds_per_sample(policy: Any, obs: Any, num_steps: int, repeats: int = 300) -> float | None:
    """The median time of one call of a loaded policy, compiled, on one raw observation; None where all diverged."""
    for trial in range(len(policy.trials)):
        with contextlib.suppress(ValueError):  # of a trial whose parameters are not finite
            policy.params_of(trial)
            break
    else:
        return None
    times = [time.perf_counter()]
    for _ in range(repeats):
        policy(obs, num_steps=num_steps, trial=trial)
        times.append(time.perf_counter())
    return 1000 * float(np.median(np.diff(times)))


# What makes two evaluations the same one.
_SAME = ("environment", "updates", "num_steps", "temperature", "candidates", "selection", "episodes", "noise_seed")


def add_result(path: Path, result: dict[str, Any] | None) -> None:
    """Writes an evaluation into a file of evaluations, in the place of one with the same settings; None only reads it.

    Raises ValueError where the file is no list of evaluations.
    """
    try:
        found = files.read_json(path) if path.exists() else []
        every = {tuple(row.get(name, 0) for name in _SAME): row for row in found}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no evaluations ({error}); move it, or choose another --output") from None
    if result is not None:
        every[tuple(result.get(name, 0) for name in _SAME)] = result
        files.write_json(path, list(every.values()))


def main(argv: list[str] | None = None) -> int:
    """Evaluates every combination of steps, temperature and candidates."""
    parser = Parser(prog="gtp-jax evaluate", description="Evaluates a trained policy.")
    add = parser.add_argument
    add("--workdir", type=user_path, required=True, help="directory of the run")
    add("--env", default="", help="id of an environment, if not that of the run's data")
    add("--num_steps", type=numbers(COUNT), default="1,2,5", help="sampling steps K, by commas (1,2,5)")
    add(
        "--temperature",
        type=numbers(NOT_NEGATIVE, float),
        help="noise scales, by commas (the run's own)",
    )
    add(
        "--candidates",
        type=numbers(COUNT),
        default="1",
        help="actions sampled for each observation, of which the critic's best is taken, by commas (1)",
    )
    add(
        "--softmax",
        type=number(NOT_NEGATIVE, float),
        default=math.inf,
        help="draw from the candidates by softmax(SOFTMAX Q)",
    )
    add("--episodes", type=number(MANY), default=100, help="episodes of each seed and combination (100)")
    add("--num_envs", type=number(ENVS), default=25, help="environments of each seed (25)")
    add("--step", type=number(UPDATES), help="another of the kept checkpoints than the last one")
    add("--seed", type=number(Range(0, MAX_INT)), default=0, help="seed of the policies' noise")
    add("--video", action="store_true", help="film the first episode at each K")
    add("--output", type=user_path, help="file for the results, if not DIR/evaluations.json; films go beside it")
    arguments, terminal = parser.parse_args(argv), Terminal()
    from gtp_jax import load_policy
    from gtp_jax.config import trials
    from gtp_jax.envs import video
    from gtp_jax.envs.evaluation import Evaluator
    from gtp_jax.envs.registry import of_user
    from gtp_jax.runs import scores
    from gtp_jax.runs.directory import differences
    from gtp_jax.training import divergence
    from gtp_jax.training.evaluate import check_fit, no_environment
    from gtp_jax.training.playing import FAILED, EvaluationFailed, play
    from gtp_jax.training.train import load_dataset

    beta, policy = arguments.softmax, load_policy(arguments.workdir, arguments.step)
    output = arguments.output or arguments.workdir / "evaluations.json"
    for record in policy.info.diverged:
        terminal.say(divergence.describe_record(record))
    try:
        files.check_output(output)
    except ValueError as error:
        raise ValueError(f"{error}: --output=FILE") from None
    add_result(output, None)
    if arguments.video:
        video.choose_backend()
    if arguments.env:
        env, other = of_user(arguments.env), {"environment": arguments.env}
        check_fit(policy, env)
    elif policy.settings.dataset.startswith("arrays/"):
        raise no_environment(policy, "--env=ID")
    else:
        dataset = load_dataset(policy.settings.replace({"eval.num_episodes": arguments.episodes}), terminal)
        env, other, then = dataset.env, {}, policy.info
        if env is None:
            raise no_environment(policy, "--env=ID")
        now = {"fingerprint": dataset.fingerprint, "environment": f"{env.env_id}, {scores.scale(env).name}"}
        there = {"fingerprint": then.fingerprint, "environment": then.environment or now["environment"]}
        if different := differences(there, now):
            terminal.say(f"warning: {dataset.id} has changed since the run: {'; '.join(different)}")
    scale = scores.scale(env)
    first = env.make_env()  # plays the first seed's first episode
    obs, _ = first.reset(seed=0)
    first = video.Recorded(first) if arguments.video else first
    envs = itertools.chain([first], iter(env.make_env, None))
    kind = {"num_envs": arguments.num_envs, "by_success": scale.by_success}
    evaluator = Evaluator(lambda: next(envs), policy.observe, policy.seeds, **kind)
    combinations, filmed = trials.combinations(policy.trials), {}
    selection = "best" if math.isinf(beta) else f"softmax, {beta:g} Q"
    with contextlib.closing(evaluator):
        for num_steps, temperature, candidates in itertools.product(
            arguments.num_steps, arguments.temperature or [policy.settings.policy.temperature], arguments.candidates
        ):
            asked = {"num_steps": num_steps, "temperature": temperature, "candidates": candidates}
            act = policy.acting(**asked, noise_seed=arguments.seed, inverse_temperature=beta)
            try:
                episodes = play(evaluator, act, arguments.episodes)
            except EvaluationFailed as error:
                terminal.say(f"error: {error}")
                return FAILED
            if arguments.video:
                filmed.setdefault(num_steps, first.episodes[0])
                first.episodes.clear()
            score = scores.of_episodes(scale, episodes.returns, episodes.success)
            table = scores.score_table(combinations, score, episodes.success if scale.by_success else None)
            milliseconds = milliseconds_per_sample(policy, obs, num_steps)
            facts = {
                "dataset": policy.settings.dataset,
                **other,
                "updates": policy.step,
                "seeds": list(dict.fromkeys(policy.seeds)),
                **asked,
            }
            facts |= {
                "selection": None if candidates == 1 else selection,
                "episodes": arguments.episodes,
                "noise_seed": arguments.seed,
                "score_of": scale.name,
                **table,
            }
            facts |= {"milliseconds_per_sample": milliseconds, **origin("evaluate", argv)}
            how = f"K = {num_steps}, temperature {temperature:g}"
            how += f", {selection} of {candidates}" if candidates > 1 else ""
            took = "-" if milliseconds is None else f"{milliseconds:.2f}"
            for (swept, _), row in zip(combinations, table.get("sweep", [table]), strict=True):
                name, score = trials.name_values(swept) + ", " * bool(swept), row["score"]
                low, high = score["ci95"]
                seeds = " ".join(f"{value:.0f}" for value in score["per_seed"])
                shown = f"{score['mean']:5.1f} [{low:.1f}, {high:.1f}]  (per seed: {seeds})"
                terminal.say(f"{name}{how}: {shown}  {took} ms per action")
            add_result(output, facts)
        for num_steps, episode in filmed.items():
            for path in video.film(first.env, episode, env.maze, output.with_name(f"video-K{num_steps}")):
                terminal.say(f"  {path}")
    return 0
