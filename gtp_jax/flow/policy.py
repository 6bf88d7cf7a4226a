"""What every flow member of the family shares: a network read as a velocity, a sampler along times, clipped bounds."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import Step
from gtp_jax.types import Array, Batch, HParams, Key, Metrics, Network, Params, Policy, Velocity

TARGETS = ("online", "ema")


def clip_action(action: Array, low: Array, high: Array) -> Array:
    """Clips actions [*B, A] to bounds [A]."""
    return jnp.clip(action, *(jnp.broadcast_to(bound, action.shape) for bound in (low, high)))


class Training(NamedTuple):
    """What a member's objective is given."""

    velocity: Velocity  # of the parameters that are trained
    online: Velocity  # the same, but no gradient flows to the parameters
    ema: Velocity  # of their exponential average
    key: Key
    action: Array  # [B, A]
    step: Array  # updates done
    hparams: HParams

    def followed(self, target: str) -> Velocity:
        """The velocity that a name of TARGETS means."""
        return self.online if target == "online" else self.ema


def make(
    *,
    network: Network,
    action_low: Array,
    action_high: Array,
    parameterise: Callable[[Callable[[Array, Array, Array], Array]], Velocity],
    objective: Callable[[Training], tuple[Array, Metrics]],
    sampling_times: Callable[[int], Array],
    step: Step = flow_map.jump,
    sampler: Callable[[Velocity, Key, Array, Array, float], Array] | None = None,
) -> Policy:
    """Builds a policy from what a member chooses.

    Args:
      network: apply(params, obs [*B, O], x [*B, A], t [*B], s [*B]) -> [*B, A].
      action_low: [A] lower bounds; only a final sample is clipped to them.
      action_high: [A] upper bounds.
      parameterise: reads F(x, t, s) as an average velocity.
      objective: the member's un-reduced loss [B] and its metrics.
      sampling_times: K -> [K + 1] times of a K-step sampler, decreasing to 0. The first one is the standard deviation
        of the point that the sampler starts from.
      step: how the sampler goes from one time to the next.
      sampler: (velocity, key, x, times, temperature) -> action, in place of following `step`, for samplers that draw
        noise; the temperature scales all of it.
    """

    def velocity_at(params: Params, obs: Array) -> Velocity:
        return parameterise(lambda x, t, s: network.apply(params, obs, x, t, s))

    def init(key: Key, batch: Batch) -> Params:
        time = jnp.zeros(batch.reward.shape)
        return network.init(key, batch.obs, batch.action, time, time)

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        trained, online, ema = (
            velocity_at(p, batch.obs) for p in (params, jax.lax.stop_gradient(params), target_params)
        )
        return objective(Training(trained, online, ema, key, batch.action, step, hparams))

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: float = 1.0) -> Array:
        key_prior, key_sampler = jax.random.split(key) if sampler else (key, None)
        noise = jax.random.normal(key_prior, (*obs.shape[:-1], action_low.shape[0]))
        times, velocity = sampling_times(num_steps), velocity_at(params, obs)
        x = temperature * times[0] * noise
        if sampler:
            x = sampler(velocity, key_sampler, x, times, temperature)
        else:
            x = flow_map.follow(velocity, x, times, step=step)
        return clip_action(x, action_low, action_high)

    return Policy(init=init, loss=loss, sample=sample)
