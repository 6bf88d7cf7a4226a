"""What a run's score is: D4RL's reference scores, and statistics over seeds that say how sure they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gtp_jax.config.tasks import REFERENCES

_RESAMPLES = 10_000


def family(dataset_id: str) -> str:
    """The family of a Minari dataset id such as "mujoco/hopper/medium-v0" ("hopper"), a key of `REFERENCES`.

    Raises:
      ValueError: the family has no reference scores.
    """
    *_, name, variant = ("", *dataset_id.split("/"))
    if name == "maze2d":
        name = f"maze2d-{variant.split('-')[0]}"
    if name not in REFERENCES:
        raise ValueError(
            f"dataset {dataset_id!r} has no D4RL reference scores: its family {name!r} is none of "
            f"{', '.join(REFERENCES)}. Report the return itself, or add the family to scores.REFERENCES."
        )
    return name


def normalised(family: str, returns: ArrayLike) -> np.ndarray:
    """D4RL's normalised score 100 * (R - min) / (max - min): 0 is a random policy, 100 an expert.

    Args:
      family: a key of `REFERENCES`. For "antmaze" a return is 1 for an episode that reaches the goal and 0 else.
      returns: undiscounted returns of episodes, [*B].

    Returns:
      float64 [*B].
    """
    if family not in REFERENCES:
        raise ValueError(f"family {family!r} has no D4RL reference scores; known are {', '.join(REFERENCES)}")
    low, high = REFERENCES[family]
    return 100.0 * (np.asarray(returns, np.float64) - low) / (high - low)


def of_episodes(dataset_id: str, returns: ArrayLike, successes: ArrayLike | None) -> np.ndarray:
    """Each episode's score, float64 [*B]: 100 or 0 for success in a maze, D4RL's normalised return elsewhere.

    Args:
      dataset_id: a Minari id, whose family gives the references of a return.
      returns: undiscounted returns, [*B].
      successes: whether the goal was reached within the time limit, bool [*B]; None where there is no goal.

    Raises:
      ValueError: without successes, for a family that has no reference scores.
    """
    return normalised(family(dataset_id), returns) if successes is None else 100.0 * np.asarray(successes)


def summarise(
    per_seed: Sequence[float], *, successes: ArrayLike | None = None, episodes: ArrayLike | None = None
) -> dict[str, Any]:
    """The numbers of a results table: mean, standard deviation, interquartile mean and a 95 % interval over seeds.

    The interval is for the mean that new seeds and new episodes would give. It is a percentile bootstrap of 10,000
    resamples with a fixed random seed, hence deterministic: seeds are drawn with replacement and, where the episodes'
    outcomes are given, episodes within each drawn seed. When all outcomes agree a bootstrap has no width, though 100
    of 100 does not prove a rate of 1; for successes the interval is therefore widened, where it is the narrower one,
    to Wilson's score interval of all episodes pooled (Wilson 1927), which is about [96.3, 100] there. Scores of
    identical returns do give an interval of no width.

    With few seeds any such interval is rough. One seed alone says nothing about other seeds: its interval covers the
    episodes only.

    Args:
      per_seed: each seed's score, [S], in the units of the report (for success rates: per cent). NaN is a seed without
        one, whose policy diverged; then the statistics are NaN, since those of the other seeds would hide it.
      successes: whether each evaluated episode succeeded, bool [S, E]; `per_seed` must be 100 times their means.
      episodes: instead of `successes`, each evaluated episode's score, [S, E]; `per_seed` must be their means.

    Returns:
      A dict that JSON can hold. `per_seed` [S]; `mean`; `std`, the sample standard deviation (divisor S - 1), None
      for one seed; `iqm`, the mean without the lowest and the highest quarter of the seeds (the mean itself below
      four seeds); `ci95`, [low, high], or [None, None] for one seed without episodes.
    """
    from scipy import stats  # costs as much to import as all else here

    per_seed = np.asarray(per_seed, np.float64)
    if per_seed.ndim != 1 or not per_seed.size or np.isinf(per_seed).any():
        raise ValueError(f"per_seed must be at least one finite score, [S]; got {per_seed.tolist()}")
    if successes is not None and episodes is not None:
        raise ValueError("give successes or episodes, not both: successes are episodes that score 0 or 100")

    if np.isnan(per_seed).any():
        unknown = float("nan")
        return {"per_seed": per_seed.tolist(), **dict.fromkeys(("mean", "std", "iqm"), unknown), "ci95": [unknown] * 2}
    low = high = None
    if successes is not None:
        successes = np.asarray(successes)
        if successes.dtype != bool:
            raise ValueError(f"successes must be bool [S, E], got {successes.dtype}; pass scores as episodes")
        low, high = _bootstrap(_checked(per_seed, 100.0 * successes))
        pooled = stats.binomtest(int(successes.sum()), successes.size).proportion_ci(0.95, method="wilson")
        low, high = min(low, 100.0 * pooled.low), max(high, 100.0 * pooled.high)
    elif episodes is not None:
        low, high = _bootstrap(_checked(per_seed, np.asarray(episodes, np.float64)))
    elif per_seed.size > 1:
        low, high = _bootstrap(per_seed[:, None])

    return {
        "per_seed": per_seed.tolist(),
        "mean": float(per_seed.mean()),
        "std": float(per_seed.std(ddof=1)) if per_seed.size > 1 else None,
        "iqm": float(stats.trim_mean(per_seed, 0.25)),
        "ci95": [low, high],
    }


def table(
    combinations: Sequence[tuple[dict[str, float], list[int]]], score: np.ndarray, success: np.ndarray | None
) -> dict[str, Any]:
    """The scores of trainings that ran together: {"score": ...}, of a sweep {"sweep": [{"eta": 0.3, "score": ...}]}.

    Args:
      combinations: of swept values, each with the places of its seeds: `lanes.combinations`.
      score: each episode's score, [L, E].
      success: where scores are successes, whether each episode was one, bool [L, E].
    """
    rows = [
        {
            **values,
            "score": summarise(score[places].mean(axis=1), episodes=score[places])
            if success is None
            else summarise(score[places].mean(axis=1), successes=success[places]),
        }
        for values, places in combinations
    ]
    return {"score": rows[0]["score"]} if len(rows) == 1 else {"sweep": rows}


def _checked(per_seed: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """`episodes` [S, E] if their means are `per_seed`."""
    if episodes.ndim != 2 or len(episodes) != len(per_seed) or not episodes.size:
        raise ValueError(
            f"the episodes' outcomes must be [S, E] with S = {len(per_seed)} seeds, got {list(episodes.shape)}"
        )
    means = episodes.mean(axis=1)
    # Scores that travelled as float32 keep 7 digits.
    if not np.allclose(means, per_seed, rtol=1e-5, atol=1e-3):
        raise ValueError(f"per_seed {per_seed.tolist()} are not the means of the episodes given, {means.tolist()}")
    return episodes


def _bootstrap(episodes: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `episodes` [S, E], seeds and then episodes drawn anew."""
    num_seeds, num_episodes = episodes.shape
    rng = np.random.default_rng(0)
    means = np.zeros(_RESAMPLES)
    for _ in range(num_seeds):  # one seed at a time bounds the memory
        seed = rng.integers(num_seeds, size=(_RESAMPLES, 1))
        episode = rng.integers(num_episodes, size=(_RESAMPLES, num_episodes))
        means += episodes[seed, episode].mean(axis=1)
    low, high = np.percentile(means / num_seeds, [2.5, 97.5])
    return float(low), float(high)


def aggregate(per_task: Sequence[ArrayLike]) -> dict[str, Any]:
    """What one method's scores on several tasks come to (Agarwal et al., arXiv 2108.13264).

    Args:
      per_task: each task's scores of its seeds, [S_i].

    Returns:
      A dict that JSON can hold: `mean` and `iqm` over all seeds of all tasks, each task's seeds weighing the same as
      those of the others, with `mean_ci95` and `iqm_ci95`, percentile intervals of 10,000 stratified bootstraps: seeds
      are drawn anew within each task, tasks are not.
    """
    tasks = [np.asarray(scores, np.float64) for scores in per_task]
    if not tasks or any(scores.ndim != 1 or not scores.size or not np.isfinite(scores).all() for scores in tasks):
        raise ValueError(f"every task needs finite scores [S] of at least one seed, got {tasks!r:.200}")
    rng, weight = np.random.default_rng(0), np.concatenate([np.full(len(s), 1 / (len(s) * len(tasks))) for s in tasks])
    drawn = np.concatenate([s[rng.integers(len(s), size=(_RESAMPLES, len(s)))] for s in tasks], axis=1)
    every, result = np.concatenate(tasks), {}
    for name, of in (("mean", _weighted_mean), ("iqm", _weighted_iqm)):
        result[name] = float(of(every[None], weight)[0])
        result[f"{name}_ci95"] = np.percentile(of(drawn, weight), [2.5, 97.5]).tolist()
    return result


def _weighted_mean(scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return scores @ weight


def _weighted_iqm(scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the weight, of each row [R, N]."""
    order = np.argsort(scores, axis=1)
    above = np.cumsum(weight[order], axis=1)
    inside = np.clip(np.minimum(above, 0.75) - np.maximum(above - weight[order], 0.25), 0, None)
    return (np.take_along_axis(scores, order, axis=1) * inside).sum(axis=1) / inside.sum(axis=1)


def improvement(ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike]) -> float:
    """The probability of improvement: of a seed of ours scoring above one of theirs on a task drawn evenly.

    Ties count half (Mann and Whitney's U, averaged over tasks; arXiv 2108.13264, section 4.3).

    Args:
      ours: each task's scores of our seeds, [S_i].
      theirs: the same tasks' scores of theirs, [S'_i].
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"both need scores of the same tasks, got {len(ours)} and {len(theirs)} tasks")
    pairs = zip(ours, theirs, strict=True)
    signs = [np.sign(np.asarray(a, np.float64)[:, None] - np.asarray(b, np.float64)) for a, b in pairs]
    return float(np.mean([(1 + sign).mean() / 2 for sign in signs]))
