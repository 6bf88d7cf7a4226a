"""Returns of recorded episodes, transitions over several steps, and future-state subgoals.

The transitions of one episode stand together, in order: `episode` [N] names the episode of each.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from gtp_jax.types import Batch


class Positions(NamedTuple):
    """Where the agent is at each of N transitions, float32, metres."""

    here: np.ndarray  # [N, 2]
    next: np.ndarray  # [N, 2], after the transition
    goal_offset: np.ndarray  # [N, 2], from `here` to the goal


def to_go(reward: np.ndarray, episode: np.ndarray, discount: float) -> np.ndarray:
    """The discounted rewards [N] from each transition to the end of its episode, float64.

    Args:
      reward: [N].
      episode: [N], the episode that a transition belongs to; those of one episode stand together, in order.
      discount: gamma.
    """
    total, following = np.empty(len(reward)), 0.0
    for i in range(len(reward) - 1, -1, -1):
        if i + 1 == len(reward) or episode[i + 1] != episode[i]:
            following = 0.0
        following = total[i] = reward[i] + discount * following
    return total


def ends(episode: np.ndarray) -> np.ndarray:
    """The place [N] of the last transition of each transition's episode."""
    last = np.append(np.flatnonzero(np.diff(episode)), len(episode) - 1)
    return last[np.searchsorted(last, np.arange(len(episode)))]


def n_step(batch: Batch, episode: np.ndarray, steps: int, discount: float) -> Batch:
    """Transitions over several steps, none across an episode's end.

    Row t holds sum_{k<m} gamma^k r_{t+k}, leads to what was observed m steps after it, and its `discount` is
    gamma^(m-1), or 0 where the episode terminated within them: together with the gamma that an update multiplies it by,
    reward + gamma * discount * V(next_obs) is the m-step return. m is `steps`, or what is left of the episode.

    Args:
      batch: one-step transitions [N, ...], NumPy.
      episode: [N], as for `to_go`.
      steps: n; 1 changes nothing, 0 reaches to the episode's end (Monte-Carlo returns, bootstrapped at time-outs only).
      discount: gamma.
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


def after(
    batch: Batch, episode: np.ndarray, rows: np.ndarray, discount: float, next_value: Callable[[Batch], np.ndarray]
) -> np.ndarray:
    """The return [M] from the step that follows each of `rows` [M] to the episode's end, for what V(next_obs) claims.

    Args:
      batch: one-step transitions [N, ...], NumPy.
      episode: [N], as for `to_go`.
      rows: places of transitions, none of them the last of its episode.
      discount: gamma.
      next_value: batch [M, ...] -> V(next_obs) [M], from which returns go on behind a time-out.
    """
    rest = n_step(batch, episode, 0, discount)
    rest = jax.tree.map(lambda column: column[rows + 1], rest)
    return rest.reward + discount * rest.discount * next_value(rest)


def future_subgoals(positions: Positions, discount: np.ndarray, episode: np.ndarray, steps: int) -> np.ndarray:
    """The displacement from each transition to where its agent was `steps` later: hindsight relabelling.

    A transition nearer than that to its episode's end gets the displacement to the last position, or, where the episode
    terminated, to the goal: an agent that reached it stopped up to 0.45 m before it, and one that aims there may miss.

    Args:
      positions: of N transitions.
      discount: [N], 0 where the episode terminated.
      episode: [N].
      steps: environment steps, from 1.

    Returns:
      Subgoals [N, 2], float32, metres.
    """
    last = np.minimum(np.arange(len(episode)) + steps - 1, ends(episode))
    displacement = positions.next[last] - positions.here
    return np.where(discount[last, None] == 0, positions.goal_offset, displacement).astype(np.float32)
