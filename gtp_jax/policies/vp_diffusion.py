"""Variance-preserving diffusion with an ancestral sampler, the policy of Diffusion-QL: Wang, Hunt, Zhou, arXiv
2208.06193; Ho, Jain, Abbeel, arXiv 2006.11239.

The network predicts the noise at one of T discrete times, and the sampler takes exactly those T steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.declare import NoSettings
from gtp_jax.flow.map import average, check_example, squared_norm
from gtp_jax.flow.paths import expand
from gtp_jax.flow.policy import clip_action
from gtp_jax.types import Array, Batch, FlowApply, HParams, Key, Metrics, Network, Params, Policy

Settings = NoSettings
TIME_SCALE = "linear"
FIXED_STEPS = True  # samples take as many steps as training knew


class Chain(NamedTuple):
    """The noising chain x_i = sqrt(kept_i) x + sqrt(1 - kept_i) z; row i - 1 belongs to step i = 1 .. T."""

    kept: Array  # [T], the product of 1 - beta up to i
    beta: Array  # [T]

    def noise(self, x: Array, z: Array, index: Array) -> Array:
        """x_i for x, z [*B, *event] and row numbers [*B]."""
        kept = expand(self.kept[index], x)
        return jnp.sqrt(kept).astype(x.dtype) * x + jnp.sqrt(1.0 - kept).astype(x.dtype) * z


def variance_preserving_chain(num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> Chain:
    """beta_i = 1 - exp(-beta_min/T - (beta_max - beta_min)(2i - 1)/(2 T^2)) (arXiv 2208.06193, App. B)."""
    i = jnp.arange(1, num_steps + 1)
    beta = 1.0 - jnp.exp(-beta_min / num_steps - 0.5 * (beta_max - beta_min) * (2 * i - 1) / num_steps**2)
    return Chain(kept=jnp.cumprod(1.0 - beta), beta=beta)


def noise_prediction_loss(
    predict: Callable[[Array, Array], Array], chain: Chain, x: Array, z: Array, index: Array, *, event_ndim: int = 1
) -> Array:
    """|z - predict(x_i, i)|^2, the simplified loss of a diffusion model (arXiv 2006.11239, eq. 14).

    `predict`, which is trained, maps x_i [*B, *event] and row numbers of the chain [*B] to the noise in x_i; `index`
    [*B] are the row numbers, from 0. The other arguments, the result and errors are as in `flow.map.field_loss`.
    """
    check_example(x, event_ndim, z=z, index=index)
    predicted = average(lambda x, i, _: predict(x, i), chain.noise(x, z, index), index, index)
    return squared_norm(predicted - z, event_ndim)


def make(
    settings: NoSettings, *, network: Network[FlowApply], action_low: Array, action_high: Array, num_steps: int
) -> Policy:
    """Builds the policy of T = `num_steps` steps, in training and sampling.

    The network predicts the noise, at t = s = i/T; every prediction of x is clipped to the bounds, [A].
    """
    del settings
    chain = variance_preserving_chain(num_steps)
    before = jnp.append(1.0, chain.kept[:-1])

    def predict(params: Params, obs: Array, x: Array, index: Array) -> Array:
        t = (index + 1) / num_steps
        return network.apply(params, obs, x, t, t)

    def init(key: Key, batch: Batch) -> Params:
        time = jnp.zeros(batch.reward.shape)
        return network.init(key, batch.obs, batch.action, time, time)

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        del target_params, hparams, step
        key_index, key_noise = jax.random.split(key)
        index = jax.random.randint(key_index, batch.reward.shape, 0, num_steps)
        z = jax.random.normal(key_noise, batch.action.shape)
        obs, action = jnp.asarray(batch.obs), jnp.asarray(batch.action)
        per_example = noise_prediction_loss(lambda x, i: predict(params, obs, x, i), chain, action, z, index)
        return per_example, {"policy/flow": jnp.mean(per_example)}

    def sample(params: Params, key: Key, obs: Array, steps: int, temperature: Array | float = 1.0) -> Array:
        """`temperature` scales the first draw and the noise of every step."""
        if steps != num_steps:
            raise ValueError(
                f"this policy was built for {num_steps} steps and cannot sample in {steps}; "
                "set policy.num_steps and critic.num_steps alike"
            )
        keys = jax.random.split(key, num_steps)
        shape = (*obs.shape[:-1], action_low.shape[0])
        x = temperature * jax.random.normal(keys[0], shape)
        for i in reversed(range(num_steps)):
            z = predict(params, obs, x, jnp.full(shape[:-1], i))
            clean = (x - jnp.sqrt(1.0 - chain.kept[i]) * z) / jnp.sqrt(chain.kept[i])
            clean = clip_action(clean, action_low, action_high)
            # The Gaussian posterior q(x_{i-1} | x_i, x) (arXiv 2006.11239, eq. 7).
            share = chain.beta[i] / (1.0 - chain.kept[i])
            mean = jnp.sqrt(before[i]) * share * clean
            mean += jnp.sqrt(1.0 - chain.beta[i]) * (1.0 - before[i]) / (1.0 - chain.kept[i]) * x
            x = mean
            if i:
                std = jnp.sqrt(share * (1.0 - before[i]))
                x = mean + temperature * std * jax.random.normal(keys[i], shape)
        return clip_action(x, action_low, action_high)

    return Policy(init=init, loss=loss, sample=sample)
