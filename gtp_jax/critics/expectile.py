"""Expectile value learning: implicit Q-learning, Kostrikov, Nair, Levine, arXiv 2110.06169.

No action of the policy is ever evaluated: V is the upper expectile of Q over the data's actions (eq. 5), Q bootstraps
from V (eq. 6), and the advantage is A(obs, a) = min_j Q_j(obs, a) - V(obs).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.critics._losses import OwnCriticSettings, expectile, expectile_loss, td_loss
from gtp_jax.types import (
    Array,
    Batch,
    Critic,
    HParams,
    Key,
    Metrics,
    Network,
    Params,
    QApply,
    ValueApply,
    ValueEstimate,
)

VALUES_ACTIONS = True
SAMPLES_ACTIONS = False


@dataclasses.dataclass(frozen=True)
class Settings(OwnCriticSettings):
    """The settings of implicit Q-learning; the paper's expectile is 0.9 for AntMaze and 0.7 for locomotion."""

    expectile: float = expectile()


class ExpectileParams(NamedTuple):
    """Parameters of the two networks."""

    q: Params
    v: Params


def make(settings: Settings, *, q_network: Network[QApply], v_network: Network[ValueApply]) -> Critic:
    """Builds the critic."""

    def init(key: Key, batch: Batch) -> ExpectileParams:
        key_q, key_v = jax.random.split(key)
        return ExpectileParams(q_network.init(key_q, batch.obs, batch.action), v_network.init(key_v, batch.obs))

    def evaluate(
        params: ExpectileParams,
        target_params: ExpectileParams,
        batch: Batch,
        next_actions: Array,
        actions: Array,
        hparams: HParams,
    ) -> ValueEstimate:
        del next_actions, actions, hparams
        value, next_value = v_network.apply(params.v, jnp.stack([batch.obs, batch.next_obs]))
        q = jnp.min(q_network.apply(target_params.q, batch.obs, batch.action), axis=0)
        return ValueEstimate(next_value=next_value, advantage=q - value)

    def loss(
        params: ExpectileParams, target_params: ExpectileParams, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        target_q = jax.lax.stop_gradient(jnp.min(q_network.apply(target_params.q, batch.obs, batch.action), axis=0))
        value = v_network.apply(params.v, batch.obs)
        value_loss = expectile_loss(target_q - value, settings.expectile)
        q = q_network.apply(params.q, batch.obs, batch.action)
        q_loss = td_loss(q, jnp.asarray(batch.reward), hparams["discount"] * batch.discount, next_value)
        found = {"critic/loss": q_loss, "critic/value_loss": value_loss, "critic/q": q}
        return q_loss + value_loss, {name: jnp.mean(values) for name, values in found.items()}

    return Critic(
        init=init,
        evaluate=evaluate,
        loss=loss,
        q=lambda params, obs, action: q_network.apply(params.q, obs, action),
        next_samples=0,
        baseline_samples=0,
    )
