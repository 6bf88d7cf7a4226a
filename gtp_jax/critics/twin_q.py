"""Clipped double Q-learning on sampled actions, the critic of Diffusion-QL (arXiv 2208.06193) and of GTP (eq. 16).

The advantage compares the data's action with sampled ones: A(obs, a) = min_j Q_j(obs, a) - mean_i min_j Q_j(obs, a_i).
"""

import jax.numpy as jnp

from gtp_jax.types import Array, Batch, Critic, Evaluation, HParams, Key, Metrics, Network, Params
from gtp_jax.value_losses import td_loss


def make(*, network: Network, samples: int = 1) -> Critic:
    """Builds the critic.

    Args:
      network: apply(params, obs [*B, O], action [*B, A]) -> [E, *B].
      samples: policy samples in the baseline of the advantage.
    """
    if samples < 1:
        raise ValueError(f"critic.samples = {samples}: the advantage needs at least one sampled action")

    def init(key: Key, batch: Batch) -> Params:
        return network.init(key, batch.obs, batch.action)

    def evaluate(
        params: Params, target_params: Params, batch: Batch, next_actions: Array, actions: Array
    ) -> Evaluation:
        del params
        obs = jnp.concatenate([batch.next_obs[None], jnp.broadcast_to(batch.obs, (samples + 1, *batch.obs.shape))])
        action = jnp.concatenate([next_actions, batch.action[None], actions])
        value = jnp.min(network.apply(target_params, obs, action), axis=0)
        return Evaluation(next_value=value[0], advantage=value[1] - jnp.mean(value[2:], axis=0))

    def loss(
        params: Params, target_params: Params, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        del target_params
        q = network.apply(params, batch.obs, batch.action)
        per_example = td_loss(q, batch.reward, hparams["discount"] * batch.discount, next_value)
        return per_example, {"critic/loss": jnp.mean(per_example), "critic/q": jnp.mean(q)}

    return Critic(init=init, evaluate=evaluate, loss=loss, q=network.apply, next_samples=1, samples=samples)
