"""Why value guidance helps or hurts: what a critic estimates compared with what happened, in NumPy.

S states, N actions at each, R returns of each action.
"""

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist


def calibration(value: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """How far values [N] are from returns [N]: mean error, root mean square error, the returns' spread, correlation.

    A critic whose error is as large as the spread is no better than the constant mean of the returns.
    """
    error = np.asarray(value, np.float64) - truth
    varies = np.ptp(value) > 0 and np.ptp(truth) > 0
    return {
        "bias": float(error.mean()),
        "error": float(np.sqrt((error**2).mean())),
        "spread": float(np.std(truth)),
        "correlation": float(np.corrcoef(value, truth)[0, 1]) if varies else None,
    }


def among_actions(returns: np.ndarray) -> dict[str, float]:
    """How much the choice of one action matters: analysis of variance of returns [S, N, R], R from 2.

    `action` is the standard deviation of the true advantages among the actions of a state, freed of the noise of their
    R returns (0 where the noise explains all of it); `noise` is that of one action's return; `state` that of the mean
    returns of states.
    """
    returns = np.asarray(returns, np.float64)
    repeats = returns.shape[2]
    if repeats < 2:
        raise ValueError(f"returns [S, N, R] of shape {returns.shape}: the noise of a return needs R from 2")
    noise = returns.var(axis=2, ddof=1).mean()
    between = returns.mean(axis=2).var(axis=1, ddof=1).mean()
    return {
        "action": float(np.sqrt(max(between - noise / repeats, 0.0))),
        "noise": float(np.sqrt(noise)),
        "state": float(returns.mean(axis=(1, 2)).std()),
    }


def ranking(value: np.ndarray, truth: np.ndarray) -> float | None:
    """Spearman's rank correlation of values [S, N] and mean returns [S, N] over a state's actions, mean over states.

    States where either is the same for all actions are left out; None where no other is left.
    """
    found = [stats.spearmanr(v, t)[0] for v, t in zip(value, truth, strict=True) if np.ptp(v) > 0 and np.ptp(t) > 0]
    return float(np.mean(found)) if found else None


def choice(value: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What taking the action of highest value is worth, by values [S, N] and mean returns [S, N].

    `mean`, `picked` and `best` are true returns of any action, of the picked and of the best one; `promised` is by how
    much the pick's value lies above the mean value of the state's actions, and `kept` how much of it came true.
    """
    here, pick = np.arange(len(value)), np.argmax(value, axis=1)
    return {
        "mean": float(truth.mean()),
        "picked": float(truth[here, pick].mean()),
        "best": float(truth.max(axis=1).mean()),
        "promised": float((value[here, pick] - value.mean(axis=1)).mean()),
        "kept": float((truth[here, pick] - truth.mean(axis=1)).mean()),
    }


def outside(data: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray], group: np.ndarray) -> np.ndarray:
    """Which of the asked (obs [M, O], action [M, A]) lie outside the data's support: bool [M].

    Outside is farther from the nearest of the data (obs [N, O], action [N, A]) than 95 % of the data are from the
    nearest one of another group [N] (episode). Observations count as standardised, and observations and actions alike,
    each divided by the square root of its width. Needs memory for N^2 numbers: pass some thousand rows.
    """

    def points(obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        parts = (np.asarray(obs, np.float64), np.asarray(action, np.float64))
        return np.concatenate([part / np.sqrt(part.shape[1]) for part in parts], axis=1)

    own = points(*data)
    between = np.where(group[:, None] == group, np.inf, cdist(own, own))
    return cdist(points(*asked), own).min(axis=1) > np.quantile(between.min(axis=1), 0.95)
