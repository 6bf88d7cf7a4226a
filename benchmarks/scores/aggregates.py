"""Statistics over several tasks, as Agarwal et al. recommend (arXiv 2108.13264)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000


def aggregate(per_task: Sequence[ArrayLike]) -> dict[str, Any]:
    """The mean and interquartile mean of one method over tasks, with 95 % intervals.

    Args:
      per_task: each task's scores of its seeds, [S_i].

    Returns:
      `mean` and `iqm`, each task weighing the same, with `mean_ci95` and `iqm_ci95`, percentile intervals of 10,000
      stratified bootstraps: seeds are drawn anew within each task, tasks are not.
    """
    tasks = [np.asarray(scores, np.float64) for scores in per_task]
    if not tasks or any(scores.ndim != 1 or not scores.size or not np.isfinite(scores).all() for scores in tasks):
        raise ValueError(f"every task needs finite scores [S] of at least one seed, got {tasks!r:.200}")
    rng, weight = np.random.default_rng(0), np.concatenate([np.full(len(s), 1 / (len(s) * len(tasks))) for s in tasks])
    drawn = np.concatenate([s[rng.integers(len(s), size=(RESAMPLES, len(s)))] for s in tasks], axis=1)
    every, result = np.concatenate(tasks), {}
    for name, statistic in (("mean", np.matmul), ("iqm", _weighted_iqm)):
        result[name] = float(statistic(every[None], weight)[0])
        result[f"{name}_ci95"] = np.percentile(statistic(drawn, weight), [2.5, 97.5]).tolist()
    return result


def _weighted_iqm(scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the weight, of each row [R, N]."""
    order = np.argsort(scores, axis=1)
    above = np.cumsum(weight[order], axis=1)
    inside = np.clip(np.minimum(above, 0.75) - np.maximum(above - weight[order], 0.25), 0, None)
    return (np.take_along_axis(scores, order, axis=1) * inside).sum(axis=1) / inside.sum(axis=1)


def improvement(ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike]) -> float:
    """The probability of improvement: of a seed of ours scoring above one of theirs on a task drawn evenly.

    Ties count half (Mann and Whitney's U, averaged over tasks; arXiv 2108.13264, section 4.3). Both are scores of the
    seeds, [S_i], of the same tasks.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"both need scores of the same tasks, got {len(ours)} and {len(theirs)} tasks")
    pairs = zip(ours, theirs, strict=True)
    signs = [np.sign(np.asarray(a, np.float64)[:, None] - np.asarray(b, np.float64)) for a, b in pairs]
    return float(np.mean([(1 + sign).mean() / 2 for sign in signs]))
