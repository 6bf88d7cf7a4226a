"""Policies of many trials as one function of a step and observations."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.agent.guidance import best_of, softmax_of
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.types import Array


class BestOf(NamedTuple):
    """Best-of-N: of `candidates` sampled actions, the one that the critic values most acts, or one by its softmax."""

    candidates: int
    q: Callable[..., Array]  # of a critic
    params: Any  # the critic's, pytree of [S, ...]
    inverse_temperature: float = math.inf  # of the softmax over the candidates' values; infinite is the best one


def acting(
    sample: Callable[..., Array],
    params: Any,
    seeds: Sequence[int],
    *,
    num_steps: int,
    temperature: float,
    noise_seed: int,
    best: BestOf | None = None,
    device: jax.Device | None = None,
) -> Callable[[int, np.ndarray], Array]:
    """The policies of all seeds as the one function that an evaluation calls: (step, obs [S, n, O]) -> [S, n, A].

    A seed's noise depends on `noise_seed`, its own number and the step, not on which other seeds act beside it.

    Args:
      sample: of a policy.
      params: pytree of [S, ...].
      seeds: the numbers of the S seeds.
      num_steps: sampling steps K.
      temperature: scale of the first draw.
      noise_seed: root of the noise.
      best: where given, actions are the best of several by the critic.
      device: where to compute; JAX's default by default.
    """

    def act(params, critic_params, seed, step, obs):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(noise_seed), seed), step)
        if best is None:
            return sample(params, key, obs, num_steps, temperature)
        many = jnp.broadcast_to(obs, (best.candidates, *obs.shape))
        if math.isinf(best.inverse_temperature):
            actions = sample(params, key, many, num_steps, temperature)
            return best_of(actions, best.q(critic_params, many, actions))
        key_actions, key_choice = jax.random.split(key)
        actions = sample(params, key_actions, many, num_steps, temperature)
        return softmax_of(key_choice, actions, best.q(critic_params, many, actions), best.inverse_temperature)

    options = acting_options(device or jax.devices()[0])
    act_all = jax.jit(jax.vmap(act, in_axes=(0, 0, 0, None, 0)), compiler_options=options)
    numbers = np.asarray(seeds, np.uint32)
    params, critic_params, numbers = jax.device_put((params, best.params if best else (), numbers), device)
    return lambda step, obs: act_all(params, critic_params, numbers, step, obs)
