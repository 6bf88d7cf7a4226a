"""Where recorded ants went: the ways that a policy of subgoals learns from."""

import numpy as np

from gtp_jax.datasets.returns import ends
from gtp_jax.datasets.transforms import OFFSET, Observer
from gtp_jax.types import Batch


def ahead(batch: Batch, episode: np.ndarray, observe: Observer, steps: int) -> np.ndarray:
    """The way [N, 2] from each transition's ant to where it was `steps` later, float32, metres.

    Nearer than that to its episode's end it is the way to where it was last; or to its goal, if it reached it: the ant
    of an episode that succeeded stopped up to 0.45 m before it, and who aims there may miss.

    Args:
      batch: one-step transitions [N, ...], NumPy, whose observations tell the places of ant and goal apart.
      episode: [N], the episode that a transition belongs to; those of one episode stand together, in order.
      observe: what made the observations.
      steps: from 1.
    """
    obs, next_obs = (observe.unscale(each) for each in (batch.obs, batch.next_obs))
    here = np.arange(len(episode))
    last = np.minimum(here + steps - 1, ends(episode))
    way = next_obs[last, :2] - obs[:, :2]
    return np.where(batch.discount[last, None] == 0, obs[:, OFFSET], way).astype(np.float32)
