"""Clipped double Q-learning on sampled actions, the critic of Diffusion-QL (arXiv 2208.06193) and of GTP (eq. 16).

The advantage compares the data's action with sampled ones: A(obs, a) = min_j Q_j(obs, a) - mean_i min_j Q_j(obs, a_i).
"""

import dataclasses

import jax.numpy as jnp

from gtp_jax.critics._losses import OwnCriticSettings, td_loss
from gtp_jax.declare import COUNT, setting
from gtp_jax.types import Array, Batch, Critic, HParams, Key, Metrics, Network, Params, QApply, ValueEstimate

VALUES_ACTIONS = True


@dataclasses.dataclass(frozen=True)
class Settings(OwnCriticSettings):
    backup_samples: int = setting(
        1,
        "Policy samples at the next observation, of which each network of the ensemble backs up its best; above 1 this "
        "is the max-Q-backup of Diffusion-QL, whose AntMaze runs have 10.",
        range=COUNT,
    )
    baseline_samples: int = setting(
        1, "Policy samples over which the baseline of the advantage is averaged.", range=COUNT
    )


def make(settings: Settings, *, q_network: Network[QApply]) -> Critic:
    """Builds the critic."""

    def init(key: Key, batch: Batch) -> Params:
        return q_network.init(key, batch.obs, batch.action)

    def evaluate(
        params: Params, target_params: Params, batch: Batch, next_actions: Array, actions: Array, hparams: HParams
    ) -> ValueEstimate:
        del params, hparams
        n, m = len(next_actions), len(actions)
        # All in one pass: the samples at next_obs and, where an advantage is asked for, the data's action and the
        # baseline's samples at obs.
        obs, action = [jnp.broadcast_to(batch.next_obs, (n, *batch.obs.shape))], [next_actions]
        if m:
            obs.append(jnp.broadcast_to(batch.obs, (m + 1, *batch.obs.shape)))
            action += [batch.action[None], actions]
        q = q_network.apply(target_params, jnp.concatenate(obs), jnp.concatenate(action))
        next_value = jnp.min(jnp.max(q[:, :n], axis=1), axis=0)
        if not m:
            return ValueEstimate(next_value=next_value, advantage=jnp.zeros_like(next_value))
        value = jnp.min(q[:, n:], axis=0)
        return ValueEstimate(next_value=next_value, advantage=value[0] - jnp.mean(value[1:], axis=0))

    def loss(
        params: Params, target_params: Params, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        del target_params
        q = q_network.apply(params, batch.obs, batch.action)
        per_example = td_loss(q, jnp.asarray(batch.reward), hparams["discount"] * batch.discount, next_value)
        return per_example, {"critic/loss": jnp.mean(per_example), "critic/q": jnp.mean(q)}

    return Critic(
        init=init,
        evaluate=evaluate,
        loss=loss,
        q=q_network.apply,
        next_samples=settings.backup_samples,
        baseline_samples=settings.baseline_samples,
    )
