"""The unimodal baseline: a diagonal Gaussian fitted by maximum likelihood, the policy of BC, AWR (arXiv 1910.00177) and
IQL (arXiv 2110.06169).
"""

import math

import jax
import jax.numpy as jnp

from gtp_jax.declare import NoSettings
from gtp_jax.flow.policy import clip_action
from gtp_jax.types import Array, Batch, FlowApply, HParams, Key, Metrics, Network, Params, Policy

Settings = NoSettings
LOG_STD_BOUNDS = (-5.0, 2.0)  # of the logarithm of the standard deviation, which does not depend on obs


def negative_log_likelihood(mean: Array, log_std: Array, x: Array, *, event_ndim: int = 1) -> Array:
    """-log N(x; mean, diag exp(2 log_std)), the loss of maximum likelihood, un-reduced.

    `mean`, `log_std` and the data x are [*B, *event], the result is [*B], in nats. Raises ValueError for shapes that
    are not alike.
    """
    if not mean.shape == log_std.shape == x.shape:
        raise ValueError(f"mean {mean.shape}, log_std {log_std.shape} and x {x.shape} must be shaped alike")
    each = 0.5 * ((x - mean) * jnp.exp(-log_std)) ** 2 + log_std + 0.5 * math.log(2 * math.pi)
    return jnp.sum(each.reshape(*x.shape[: x.ndim - event_ndim], -1), axis=-1)


def make(settings: NoSettings, *, network: Network[FlowApply], action_low: Array, action_high: Array) -> Policy:
    """Builds the policy. The network's output at x = 0 and t = s = 1 is the mean; see `flow.policy.make`."""
    del settings

    def mean_of(params: Params, obs: Array) -> Array:
        one = jnp.ones(obs.shape[:-1])
        return network.apply(params["mean"], obs, jnp.zeros((*obs.shape[:-1], action_low.shape[0])), one, one)

    def log_std_of(params: Params, mean: Array) -> Array:
        return jnp.broadcast_to(jnp.clip(params["log_std"], *LOG_STD_BOUNDS), mean.shape)

    def init(key: Key, batch: Batch) -> Params:
        one = jnp.ones(batch.reward.shape)
        mean = network.init(key, batch.obs, batch.action, one, one)
        return {"mean": mean, "log_std": jnp.zeros(action_low.shape[0])}

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        del target_params, key, hparams, step
        mean = mean_of(params, jnp.asarray(batch.obs))
        per_example = negative_log_likelihood(mean, log_std_of(params, mean), jnp.asarray(batch.action))
        return per_example, {"policy/nll": jnp.mean(per_example)}

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        del num_steps
        mean = mean_of(params, obs)
        noise = jnp.exp(log_std_of(params, mean)) * jax.random.normal(key, mean.shape)
        return clip_action(mean + temperature * noise, action_low, action_high)

    return Policy(init=init, loss=loss, sample=sample)
