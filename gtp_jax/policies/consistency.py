"""Consistency models as policies: Song, Dhariwal, Chen, Sutskever, arXiv 2303.01469; Ding, Jin, arXiv 2309.16984.

Only jumps to time 0 are learnt: Phi(x_t, t, 0) follows Phi(x_u, u, 0) at the neighbouring time u on the same noise.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import VARIANCE_EXPLODING, expand, interpolate
from gtp_jax.flow.policy import ConsistencySettings, LossInputs
from gtp_jax.flow.times import adjacent_times
from gtp_jax.types import Array, FlowApply, Key, Metrics, Network, Policy, Velocity


def consistency_loss(
    velocity: Velocity, target_velocity: Velocity, x: Array, z: Array, t: Array, u: Array, *, event_ndim: int = 1
) -> Array:
    """|Phi(x + t z, t, 0) - sg Phi_target(x + u z, u, 0)|^2 / (t - u) (arXiv 2303.01469, eq. 10).

    `target_velocity` is followed, without gradient; u [*B] are times below t, as near as the grid allows. The other
    arguments, the result and errors are as in `flow.map.field_loss`.
    """
    flow_map.check_example(x, event_ndim, z=z, t=t, u=u)
    zero = jnp.zeros_like(t)
    target = flow_map.jump(target_velocity, interpolate(VARIANCE_EXPLODING, x, z, u), u, zero)
    arrived = flow_map.jump(velocity, interpolate(VARIANCE_EXPLODING, x, z, t), t, zero)
    return flow_map.squared_norm(arrived - jax.lax.stop_gradient(target), event_ndim) / (t - u)


def renoising_sampler(
    velocity: Velocity, key: Key, x: Array, times: Array, temperature: Array | float = 1.0, *, event_ndim: int = 1
) -> Array:
    """Jumps to 0 and, but for the last time, noises again to the next time (arXiv 2303.01469, algorithm 1).

    `key` and `temperature` are of the new noise; `times` [K + 1] decrease to 0. The other arguments and the result are
    as in `flow.map.follow`.
    """
    batch_shape, times = x.shape[: x.ndim - event_ndim], jnp.asarray(times, x.dtype)
    for t, s, step_key in zip(times[:-1], times[1:], jax.random.split(key, len(times) - 1), strict=True):
        t, s = jnp.broadcast_to(t, batch_shape), jnp.broadcast_to(s, batch_shape)
        x = flow_map.jump(velocity, x, t, jnp.zeros_like(t))
        x = x + temperature * expand(s, x) * jax.random.normal(step_key, x.shape, x.dtype)
    return x


@dataclasses.dataclass(frozen=True)
class Settings(ConsistencySettings):
    """The settings of consistency models."""


def make(
    settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array, curriculum_updates: int
) -> Policy:
    """Builds the policy; see `policies.gtp.make`."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(given.key)
        intervals = settings.num_intervals(given.step, curriculum_updates)
        times = adjacent_times(key_times, given.action.shape[:1], settings.schedule, intervals)
        z = jax.random.normal(key_noise, given.action.shape)
        loss = consistency_loss(given.velocity, given.followed(settings.target), given.action, z, times.t, times.u)
        return loss, {"policy/consistency": jnp.mean(loss)}

    velocity, times = settings.velocity, settings.sampling_times
    return flow_policy.make(network, action_low, action_high, objective, velocity, times, sampler=renoising_sampler)
