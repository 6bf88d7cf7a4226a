"""Expectile value learning: implicit Q-learning, Kostrikov, Nair, Levine, arXiv 2110.06169.

No action of the policy is ever evaluated: V is the upper expectile of Q over the data's actions (eq. 5), Q bootstraps
from V (eq. 6), and the advantage is A(obs, a) = min_j Q_j(obs, a) - V(obs).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.critics._losses import expectile_loss, td_loss
from gtp_jax.types import Array, Batch, Critic, Evaluation, HParams, Key, Metrics, Network, Params


class ExpectileParams(NamedTuple):
    """Parameters of the two networks."""

    q: Params
    v: Params


def make(*, q_network: Network, v_network: Network, expectile: float = 0.9) -> Critic:
    """Builds the critic.

    Args:
      q_network: apply(params, obs [*B, O], action [*B, A]) -> [E, *B].
      v_network: apply(params, obs [*B, O]) -> [*B].
      expectile: in (0, 1); 0.9 for AntMaze and 0.7 for locomotion in the paper.
    """
    if not 0 < expectile < 1:
        raise ValueError(f"critic.expectile = {expectile} is not between 0 and 1")

    def init(key: Key, batch: Batch) -> ExpectileParams:
        key_q, key_v = jax.random.split(key)
        return ExpectileParams(q_network.init(key_q, batch.obs, batch.action), v_network.init(key_v, batch.obs))

    def evaluate(params, target_params, batch: Batch, next_actions, actions, hparams: HParams) -> Evaluation:
        del next_actions, actions, hparams
        value, next_value = v_network.apply(params.v, jnp.stack([batch.obs, batch.next_obs]))
        q = jnp.min(q_network.apply(target_params.q, batch.obs, batch.action), axis=0)
        return Evaluation(next_value=next_value, advantage=q - value)

    def loss(
        params: ExpectileParams, target_params: ExpectileParams, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        target_q = jax.lax.stop_gradient(jnp.min(q_network.apply(target_params.q, batch.obs, batch.action), axis=0))
        value = v_network.apply(params.v, batch.obs)
        value_loss = expectile_loss(target_q - value, expectile)
        q = q_network.apply(params.q, batch.obs, batch.action)
        q_loss = td_loss(q, batch.reward, hparams["discount"] * batch.discount, next_value)
        metrics = {
            "critic/loss": jnp.mean(q_loss),
            "critic/value_loss": jnp.mean(value_loss),
            "critic/q": jnp.mean(q),
        }
        return q_loss + value_loss, metrics

    def q(params: ExpectileParams, obs: Array, action: Array) -> Array:
        return q_network.apply(params.q, obs, action)

    return Critic(init=init, evaluate=evaluate, loss=loss, q=q, next_samples=0, samples=0)
