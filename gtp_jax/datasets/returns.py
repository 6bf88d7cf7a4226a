"""Returns of recorded episodes, transitions over several steps, and future-state subgoals.

The N transitions of a dataset stand in order, those of one episode together: `episode` [N] names the episode of each.
"""

from typing import NamedTuple

import numpy as np

from gtp_jax.types import Batch


class Positions(NamedTuple):
    """Where the agent is at each of N transitions, float32, metres."""

    here: np.ndarray  # [N, 2]
    next: np.ndarray  # [N, 2], after the transition
    goal_offset: np.ndarray  # [N, 2], from `here` to the goal


def to_go(reward: np.ndarray, episode: np.ndarray, discount: float) -> np.ndarray:
    """The rewards [N], discounted by gamma = `discount`, from each transition to the end of its episode, float64."""
    total, end, following = np.empty(len(reward)), ends(episode), 0.0
    for i in reversed(range(len(reward))):
        following = total[i] = reward[i] + discount * (following if i < end[i] else 0.0)
    return total


def ends(episode: np.ndarray) -> np.ndarray:
    """The index [N] of the last transition of each transition's episode."""
    last = np.append(np.flatnonzero(np.diff(episode)), len(episode) - 1)
    return last[np.searchsorted(last, np.arange(len(episode)))]


def n_step(batch: Batch, episode: np.ndarray, steps: int, discount: float) -> Batch:
    """Transitions over several steps, made of one-step transitions [N, ...]; none reaches across an episode's end.

    Row t holds sum_{k<m} gamma^k r_{t+k}, leads to what was observed m steps after it, and its `discount` is
    gamma^(m-1), or 0 where the episode terminated within them: together with the gamma that an update multiplies it by,
    reward + gamma * discount * V(next_obs) is the m-step return. m is `steps`, or what is left of the episode; `steps`
    = 0 reaches to its end (Monte-Carlo returns, bootstrapped at time-outs only).
    """
    if steps == 1:
        return batch
    here, end = np.arange(len(episode)), ends(episode)
    last = np.minimum(here + steps - 1, end) if steps else end
    gamma_m = discount ** (last - here + 1.0)
    rest = to_go(np.asarray(batch.reward, np.float64), episode, discount)
    beyond = np.where(last < end, rest[np.minimum(last + 1, len(rest) - 1)], 0.0)
    return batch._replace(
        reward=(rest - gamma_m * beyond).astype(np.float32),
        discount=(discount ** (last - here) * batch.discount[last]).astype(np.float32),
        next_obs=batch.next_obs[last],
    )


def future_subgoals(positions: Positions, discount: np.ndarray, episode: np.ndarray, steps: int) -> np.ndarray:
    """The displacement [N, 2] from each transition to where its agent was `steps` later: hindsight relabelling; metres.

    A transition nearer than that to its episode's end gets the displacement to the last position, or, where the episode
    terminated (`discount` [N] is 0), to the goal: an agent that reached it stopped up to 0.45 m before it, and one that
    aims there may miss.
    """
    last = np.minimum(np.arange(len(episode)) + steps - 1, ends(episode))
    displacement = positions.next[last] - positions.here
    return np.where(discount[last, None] == 0, positions.goal_offset, displacement).astype(np.float32)
