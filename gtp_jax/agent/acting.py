"""Policies of many trials as one function of a step and observations."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.agent.guidance import best_of, softmax_of
from gtp_jax.parallel.compiler import Device, acting_options
from gtp_jax.types import Array, Params, PolicySample, QApply


class BestOf(NamedTuple):
    """Best-of-N: of `candidates` sampled actions, the one that the critic values most acts, or one by its softmax."""

    candidates: int
    q: QApply
    params: Params  # the critic's, pytree of [S, ...]
    inverse_temperature: float = math.inf  # of the softmax over the candidates' values; infinite is the best one


def acting(
    sample: PolicySample,
    params: Params,
    seeds: Sequence[int],
    *,
    num_steps: int,
    temperature: float,
    noise_seed: int,
    best: BestOf | None = None,
    device: Device | None = None,
) -> Callable[[int, np.ndarray], Array]:
    """The policies of S seeds as the one function that an evaluation calls: (step, obs [S, n, O]) -> [S, n, A].

    A seed's noise depends on `noise_seed`, its own number and the step, not on which other seeds act beside it.
    `sample` and `params`, a pytree of [S, ...], are a policy's; `num_steps` is K, and `temperature` the scale of the
    first draw. With `best`, actions are the best of several by the critic. JAX's default device is the default.
    """

    def act(params, critic_params, seed, step, obs):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(noise_seed), seed), step)
        if best is None:
            return sample(params, key, obs, num_steps, temperature)
        many = jnp.broadcast_to(obs, (best.candidates, *obs.shape))
        key_actions, key_choice = (key, None) if math.isinf(best.inverse_temperature) else jax.random.split(key)
        actions = sample(params, key_actions, many, num_steps, temperature)
        q = best.q(critic_params, many, actions)
        if key_choice is None:
            return best_of(actions, q)
        return softmax_of(key_choice, actions, q, best.inverse_temperature)

    act_all = jax.jit(
        jax.vmap(act, in_axes=(0, 0, 0, None, 0)), compiler_options=acting_options(device or jax.devices()[0])
    )
    numbers = np.asarray(seeds, np.uint32)
    params, critic_params, numbers = jax.device_put((params, best.params if best else (), numbers), device)
    return lambda step, obs: act_all(params, critic_params, numbers, step, obs)
