"""What a critic estimates compared with what happened, in NumPy, for S states, N actions at each, R returns of each."""

from collections.abc import Callable

import jax
import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from gtp_jax.datasets.returns import n_step
from gtp_jax.types import Batch


def returns_after(
    batch: Batch, episode: np.ndarray, rows: np.ndarray, discount: float, next_value: Callable[[Batch], np.ndarray]
) -> np.ndarray:
    """The return [M] from the step after each of `rows` [M] to the episode's end: what V(next_obs) estimates.

    `rows` are indices of one-step transitions [N, ...], none of them the last of its episode; `next_value` maps a batch
    [M, ...] to V(next_obs) [M], with which a return continues behind a time-out.
    """
    rest = jax.tree.map(lambda column: column[rows + 1], n_step(batch, episode, 0, discount))
    return rest.reward + discount * rest.discount * next_value(rest)


def calibration(value: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """How far values [N] are from returns [N]: mean error, root mean square error, the returns' spread, correlation.

    A critic whose error is as large as the spread is no better than the constant mean of the returns.
    """
    error = np.asarray(value, np.float64) - truth
    found = {"bias": float(error.mean()), "error": float(np.sqrt((error**2).mean())), "spread": float(np.std(truth))}
    return found | {"correlation": _correlation(value, truth)}


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else None


def among_actions(returns: np.ndarray) -> dict[str, float]:
    """How much the choice of one action matters: analysis of variance of returns [S, N, R], R from 2.

    `action` is the standard deviation of the true advantages among the actions of a state, freed of the noise of their
    R returns (0 where the noise explains all of it); `noise` is that of one action's return; `state` that of the mean
    returns of states.
    """
    returns, repeats = np.asarray(returns, np.float64), returns.shape[2]
    if repeats < 2:
        raise ValueError(f"returns [S, N, R] of shape {returns.shape}: the noise of a return needs R from 2")
    noise = returns.var(axis=2, ddof=1).mean()
    between = returns.mean(axis=2).var(axis=1, ddof=1).mean()
    action = np.sqrt(max(between - noise / repeats, 0.0))
    return {"action": float(action), "noise": float(np.sqrt(noise)), "state": float(returns.mean(axis=(1, 2)).std())}


def ranking(value: np.ndarray, truth: np.ndarray) -> float | None:
    """Spearman's rank correlation of values [S, N] and mean returns [S, N] over a state's actions, mean over states.

    States where either is the same for all actions are left out; None where no other is left.
    """
    every = [_correlation(rankdata(v), rankdata(t)) for v, t in zip(value, truth, strict=True)]
    found = [each for each in every if each is not None]
    return float(np.mean(found)) if found else None


def choice(value: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What taking the action of highest value is worth, by values [S, N] and mean returns [S, N].

    `mean`, `picked` and `best` are the true returns of any action, of the picked and of the best one; `promised` is how
    far the pick's value lies above the mean value of the state's actions, and `kept` how much of that came true.
    """
    here, pick = np.arange(len(value)), np.argmax(value, axis=1)
    found = {"mean": truth, "picked": truth[here, pick], "best": truth.max(axis=1)}
    found |= {"promised": value[here, pick] - value.mean(axis=1), "kept": truth[here, pick] - truth.mean(axis=1)}
    return {name: float(each.mean()) for name, each in found.items()}


def outside(data: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray], group: np.ndarray) -> float:
    """The share of `asked` (obs [M, O], action [M, A]) that lies outside the support of `data` (obs [N, O], ...).

    Outside is farther from the nearest row of the data than 95 % of the data are from the nearest row of another group
    [N] (episode). Observations are standardised; both parts are divided by the square root of their width, so that they
    count alike. Needs memory for N^2 numbers: pass some thousand rows.
    """

    def points(parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.concatenate([np.asarray(part, np.float64) / np.sqrt(part.shape[1]) for part in parts], axis=1)

    own = points(data)
    between = np.where(group[:, None] == group, np.inf, cdist(own, own))
    return float((cdist(points(asked), own).min(axis=1) > np.quantile(between.min(axis=1), 0.95)).mean())
