"""The score of a run: successes, normalised or plain returns, by environment, with statistics over seeds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gtp_jax.config import tasks
from gtp_jax.envs.registry import EvalEnv

_RESAMPLES = 10_000


class Scale(NamedTuple):
    """How the score of an episode is read off its return or success."""

    name: str  # as tables and plots show it
    low: float = 0.0  # the return with score 0
    high: float = 100.0  # the return with score 100
    by_success: bool = False  # 100 or 0 for success instead


def scale(env: EvalEnv) -> Scale:
    """The score of an environment: success where it has a goal, else D4RL's normalised return, else the return itself.

    The normalised return 100 * (R - low) / (high - low) is 0 for a random policy and 100 for an expert; the references
    belong to the environment (`config.tasks.REFERENCES`), whatever the name of the data.
    """
    if env.by_success:
        return Scale("success rate, %", by_success=True)
    known = tasks.reference(env.env_id) if env.as_published else None
    return Scale("return") if known is None else Scale("normalised return", *known)


def of_episodes(scale: Scale, returns: ArrayLike, success: ArrayLike) -> np.ndarray:
    """Each episode's score, float64 [*B], of its undiscounted return [*B] or whether it was a success, bool [*B]."""
    if scale.by_success:
        return 100.0 * np.asarray(success)
    returns = np.asarray(returns, np.float64)
    # The return itself stays as it is, without rounding.
    return returns if scale == Scale(scale.name) else 100.0 * (returns - scale.low) / (scale.high - scale.low)


def summarise(score: ArrayLike, success: ArrayLike | None = None) -> dict[str, Any]:
    """The numbers of a results table: mean, standard deviation, interquartile mean and a 95 % interval over seeds.

    The interval is for the mean that new seeds and new episodes would give: a percentile bootstrap of 10,000 resamples
    with a fixed random seed; seeds are drawn with replacement, then episodes within each drawn seed. A bootstrap of
    equal outcomes has no width, though 100 of 100 does not prove a rate of 1; for successes it is therefore widened to
    Wilson's score interval of all episodes pooled (Wilson 1927), about [96.3, 100] there. With few seeds any such
    interval is rough; that of one seed covers the episodes only.

    Args:
      score: of each episode, [S, E]. A NaN, of a diverged policy, makes all statistics NaN: the others would hide it.
      success: where a score is 100 or 0 for success, whether each episode was one, bool [S, E].

    Returns:
      A dict that JSON can hold: `per_seed` [S]; `mean`; `std`, the sample standard deviation (divisor S - 1), None for
      one seed; `iqm`, the mean without the lowest and the highest quarter of the seeds (the mean itself below four
      seeds); `ci95`, [low, high]. Raises ValueError for another shape, and for an infinite score.
    """
    from scipy import stats  # costs as much to import as all else here

    score = np.asarray(score, np.float64)
    if score.ndim != 2 or not score.size or np.isinf(score).any():
        raise ValueError(f"score must be finite numbers [S, E], got {score.shape}: {score!s:.100}")
    per_seed = score.mean(axis=1)
    if np.isnan(per_seed).any():
        unknown = float("nan")
        return {"per_seed": per_seed.tolist(), **dict.fromkeys(("mean", "std", "iqm"), unknown), "ci95": [unknown] * 2}
    low, high = _bootstrap(score)
    if success is not None:
        success = np.asarray(success, bool)
        pooled = stats.binomtest(int(success.sum()), success.size).proportion_ci(0.95, method="wilson")
        low, high = min(low, 100.0 * pooled.low), max(high, 100.0 * pooled.high)
    return {
        "per_seed": per_seed.tolist(),
        "mean": float(per_seed.mean()),
        "std": float(per_seed.std(ddof=1)) if per_seed.size > 1 else None,
        "iqm": float(stats.trim_mean(per_seed, 0.25)),
        "ci95": [low, high],
    }


def score_table(
    combinations: Sequence[tuple[dict[str, float], list[int]]], score: np.ndarray, success: np.ndarray | None
) -> dict[str, Any]:
    """The scores of trials that ran together: {"score": ...}, of a sweep {"sweep": [{"eta": 0.3, "score": ...}]}.

    `combinations` is what `trials.combinations` returns; `score` and `success` [S, E] are as `summarise` takes them.
    """
    rows = [
        {**values, "score": summarise(score[indices], None if success is None else success[indices])}
        for values, indices in combinations
    ]
    return {"score": rows[0]["score"]} if len(rows) == 1 else {"sweep": rows}


def _bootstrap(score: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `score` [S, E], seeds and then episodes drawn anew."""
    num_seeds, num_episodes = score.shape
    rng = np.random.default_rng(0)
    means = np.zeros(_RESAMPLES)
    for _ in range(num_seeds):  # one seed at a time bounds the memory
        seed = rng.integers(num_seeds, size=(_RESAMPLES, 1))
        episode = rng.integers(num_episodes, size=(_RESAMPLES, num_episodes))
        means += score[seed, episode].mean(axis=1)
    low, high = np.percentile(means / num_seeds, [2.5, 97.5])
    return float(low), float(high)
