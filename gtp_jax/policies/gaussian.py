"""The unimodal baseline: a diagonal Gaussian fitted by maximum likelihood, the policy of BC, AWR (arXiv 1910.00177) and
IQL (arXiv 2110.06169).
"""

import math

import jax
import jax.numpy as jnp

from gtp_jax.flow.policy import clip_action
from gtp_jax.types import Array, Batch, HParams, Key, Metrics, Network, Params, Policy


def negative_log_likelihood(mean: Array, log_std: Array, x: Array, *, event_ndim: int = 1) -> Array:
    """-log N(x; mean, diag exp(2 log_std)), the loss of maximum likelihood, un-reduced.

    Args:
      mean: [*B, *event], the distribution's.
      log_std: [*B, *event], logarithm of its standard deviation.
      x: [*B, *event] data.
      event_ndim: number of event axes.

    Returns:
      [*B], in nats.

    Raises:
      ValueError: for shapes that are not alike.
    """
    if not mean.shape == log_std.shape == x.shape:
        raise ValueError(f"mean {mean.shape}, log_std {log_std.shape} and x {x.shape} must be shaped alike")
    each = 0.5 * ((x - mean) * jnp.exp(-log_std)) ** 2 + log_std + 0.5 * math.log(2 * math.pi)
    return jnp.sum(each.reshape(*x.shape[: x.ndim - event_ndim], -1), axis=-1)


def make(
    *,
    network: Network,
    action_low: Array,
    action_high: Array,
    log_std_min: float = -5.0,
    log_std_max: float = 2.0,
) -> Policy:
    """Builds the policy.

    Args:
      network: apply(params, obs [*B, O], x [*B, A], t [*B], s [*B]) -> [*B, A], the mean at x = 0 and t = s = 1.
      action_low: [A] lower bounds; samples are clipped to them.
      action_high: [A] upper bounds.
      log_std_min: lower bound of the logarithm of the standard deviation, which does not depend on obs.
      log_std_max: upper bound, likewise.
    """

    def mean_of(params: Params, obs: Array) -> Array:
        one = jnp.ones(obs.shape[:-1])
        return network.apply(params["mean"], obs, jnp.zeros((*obs.shape[:-1], action_low.shape[0])), one, one)

    def log_std_of(params: Params, mean: Array) -> Array:
        return jnp.broadcast_to(jnp.clip(params["log_std"], log_std_min, log_std_max), mean.shape)

    def init(key: Key, batch: Batch) -> Params:
        one = jnp.ones(batch.reward.shape)
        mean = network.init(key, batch.obs, batch.action, one, one)
        return {"mean": mean, "log_std": jnp.zeros(action_low.shape[0])}

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        del target_params, key, hparams, step
        mean = mean_of(params, batch.obs)
        per_example = negative_log_likelihood(mean, log_std_of(params, mean), batch.action)
        return per_example, {"policy/nll": jnp.mean(per_example)}

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: float = 1.0) -> Array:
        del num_steps
        mean = mean_of(params, obs)
        noise = jnp.exp(log_std_of(params, mean)) * jax.random.normal(key, mean.shape)
        return clip_action(mean + temperature * noise, action_low, action_high)

    return Policy(init=init, loss=loss, sample=sample)
