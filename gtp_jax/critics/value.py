"""State values alone: the advantage is what the data's own next steps changed, so no network has to tell actions apart.

A(obs, a) = r + gamma V(next_obs) - V(obs), and V is an expectile of the same right-hand side over the data (0.5: its
mean, the behaviour's value; higher: nearer to the best of what followed). With n-step transitions (`critic.n_step`)
both span n steps. Exact where the dynamics are deterministic, as in AntMaze; else levels above 0.5 also prefer luck.
"""

import jax.numpy as jnp

from gtp_jax.critics._losses import expectile_loss
from gtp_jax.types import Array, Batch, Critic, Evaluation, HParams, Key, Metrics, Network, Params


def make(*, v_network: Network, expectile: float = 0.5) -> Critic:
    """Builds the critic.

    Args:
      v_network: apply(params, obs [*B, O]) -> [*B].
      expectile: in (0, 1).
    """
    if not 0 < expectile < 1:
        raise ValueError(f"critic.expectile = {expectile} is not between 0 and 1")

    def init(key: Key, batch: Batch) -> Params:
        return v_network.init(key, batch.obs)

    def evaluate(
        params: Params, target_params: Params, batch: Batch, next_actions, actions, hparams: HParams
    ) -> Evaluation:
        del params, next_actions, actions
        value, next_value = v_network.apply(target_params, jnp.stack([batch.obs, batch.next_obs]))
        return Evaluation(next_value, batch.reward + hparams["discount"] * batch.discount * next_value - value)

    def loss(
        params: Params, target_params: Params, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        del target_params
        value = v_network.apply(params, batch.obs)
        target = batch.reward + hparams["discount"] * batch.discount * next_value
        per_example = expectile_loss(target - value, expectile)
        return per_example, {"critic/loss": jnp.mean(per_example), "critic/value": jnp.mean(value)}

    return Critic(init=init, evaluate=evaluate, loss=loss, q=None, next_samples=0, samples=0)
