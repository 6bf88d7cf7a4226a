"""Evaluation from Python: a trained policy in any environment, scored as a run scores it."""

import contextlib
from collections.abc import Callable
from typing import Any

from gtp_jax.config import trials
from gtp_jax.datasets.loading import load
from gtp_jax.declare import COUNT, ENVS, MANY, MAX_INT, NOT_NEGATIVE, Range
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.envs.making import made
from gtp_jax.envs.registry import EvalEnv, of_user
from gtp_jax.names import by_path
from gtp_jax.runs import scores
from gtp_jax.serving.arguments import whole
from gtp_jax.serving.policy import LoadedPolicy
from gtp_jax.training import playing


def environment(policy: LoadedPolicy, env: str | Callable[[], Any] | EvalEnv | None = None) -> EvalEnv:
    """The environment of this id or function, by default that of the policy's data. Raises ValueError without one."""
    dataset = policy.settings.dataset
    found = of_user(env) if env is not None else None if dataset.startswith("arrays/") else load(dataset).env
    if found is None:
        raise no_environment(policy, "env=ID")
    return found


def no_environment(policy: LoadedPolicy, cure: str) -> ValueError:
    """What tells that a policy's data name no environment."""
    there = policy.info.environment
    known = f"this run was evaluated in {there.partition(', ')[0]}; " if there else ""
    return ValueError(f"{policy.settings.dataset} names no environment to evaluate in; {known}give one: {cure}")


def check_fit(policy: LoadedPolicy, found: EvalEnv) -> None:
    """Raises ValueError for an environment that does not show what a policy observes, or takes other actions."""
    wanted = {path: (size,) for path, size in by_path(policy.observe.sizes()).items()}
    with made("env", found.env_id, found.make_env) as example:
        seen = {path: getattr(space, "shape", None) for path, space in by_path(example.observation_space).items()}
        shown, taken = {path: seen.get(path) for path in wanted}, example.action_space.shape
    if (shown, taken) != (wanted, policy.action_low.shape):
        there, ours = (
            f"{', '.join(f'{path} {shape and list(shape)}'.strip() for path, shape in each.items())}"
            for each in (shown, wanted)
        )
        acts = f"acts {taken and list(taken)}", f"acts {list(policy.action_low.shape)}"
        raise ValueError(f"{found.env_id} shows {there} and {acts[0]}; the policy observes {ours} and {acts[1]}")


def evaluate(
    policy: LoadedPolicy,
    env: str | Callable[[], Any] | EvalEnv | None = None,
    *,
    num_episodes: int = 100,
    num_steps: int | None = None,
    temperature: float | None = None,
    candidates: int = 1,
    num_envs: int = 25,
    seed: int = 0,
) -> dict[str, Any]:
    """Plays episodes with every trial of a policy, and returns their scores.

    Args:
      policy: as `gtp_jax.train` and `gtp_jax.load_policy` return it.
      env: a registered id, a function () -> gymnasium.Env, or None for the environment of the policy's data, which are
        loaded for that.
      num_episodes: of each trial. Their environments' seeds depend on the trial's seed and the episode's number alone.
      num_steps: sampling steps K, by default the run's own.
      temperature: scale of the noise, by default the run's own.
      candidates: actions sampled for each observation, of which the critic's best is taken; 1 takes it as it is.
      num_envs: environments of each trial that are stepped side by side.
      seed: of the policies' noise.

    Returns:
      A dict of `score_of`, what a score is; `score`, the numbers of `runs.scores.summarise` (`mean`, `ci95`,
      `per_seed`, ...), or for a sweep `sweep`, a list of swept values with the score of each; and the arrays `returns`,
      `success` and `length`, [S, E] for S trials of E episodes.

    Raises:
      ValueError: for numbers out of range, what is no policy, and an environment that does not exist or has other
        observations or actions.
      EvaluationFailed: for whatever environment and policy raise while they play.
    """
    if not isinstance(policy, LoadedPolicy):
        why = "must be what gtp_jax.train(...).policy is, or gtp_jax.load_policy(DIRECTORY) returns"
        raise ValueError(f"policy {why}; got {policy!r:.80}")
    settings = policy.settings.policy
    num_steps = settings.num_steps if num_steps is None else num_steps
    temperature = settings.temperature if temperature is None else temperature
    counts = {"num_episodes": (num_episodes, MANY), "num_steps": (num_steps, COUNT), "candidates": (candidates, COUNT)}
    counts |= {"num_envs": (num_envs, ENVS), "seed": (seed, Range(0, MAX_INT))}
    for name, (value, allowed) in counts.items():
        if whole(value) not in allowed:
            raise ValueError(f"{name} = {value!r:.80} must be a whole number {allowed}")
    if temperature not in NOT_NEGATIVE:
        raise ValueError(f"temperature = {temperature!r:.80} must be {NOT_NEGATIVE}")
    found = environment(policy, env)
    check_fit(policy, found)
    scale = scores.scale(found)
    evaluator = Evaluator(found.make_env, policy.observe, policy.seeds, num_envs, by_success=scale.by_success)
    with contextlib.closing(evaluator):
        act = policy.acting(num_steps=num_steps, temperature=temperature, candidates=candidates, noise_seed=seed)
        episodes = playing.play(evaluator, act, num_episodes)
    score = scores.of_episodes(scale, episodes.returns, episodes.success)
    table = scores.score_table(
        trials.combinations(policy.trials), score, episodes.success if scale.by_success else None
    )
    outcomes = {name: getattr(episodes, name) for name in ("returns", "success", "length")}
    return {"score_of": scale.name, **table, **outcomes}
