"""Generative Trajectory Policies: Feng, Tang, Wang, Chen, arXiv 2510.11499.

One network learns the whole flow map of the variance-exploding ODE: trajectory consistency between neighbouring times
(eq. 17) with the score approximation x_u = x + u z in place of an ODE solver (eq. 11), and the instantaneous flow
(eq. 18), which is the denoiser.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax import flow_map
from gtp_jax.flow_map import Schedule, Times
from gtp_jax.paths import VARIANCE_EXPLODING, interpolate
from gtp_jax.types import Array, Batch, HParams, Key, Metrics, Network, Params, Policy, Velocity

TARGETS = ("online", "ema")


class TrajectoryLosses(NamedTuple):
    """The two terms of eq. 19, un-reduced, each [*B]."""

    consistency: Array
    flow: Array


def _squared_norm(x: Array, event_ndim: int) -> Array:
    return jnp.sum(x**2, axis=tuple(range(-event_ndim, 0)))


def trajectory_losses(
    velocity: Velocity,
    target_velocity: Velocity,
    x: Array,
    z: Array,
    times: Times,
    *,
    event_ndim: int = 1,
) -> TrajectoryLosses:
    """Trajectory consistency (eq. 17) and instantaneous flow (eq. 18) with the score approximation (eq. 11).

    consistency = |Phi(x + t z, t, tau) - sg Phi_target(x + u z, u, tau)|^2 / (t - u)
    flow        = |x - phi(x + t z, t, t)|^2

    The factor 1/(t - u) is ours: it keeps the first term alive as neighbouring times draw together.

    Args:
      velocity: the average velocity that is trained. It is called once, under `jax.vmap` over a leading axis of 2.
      target_velocity: the one that is followed; no gradient flows through it. Passing `velocity` again trains about
        ten times faster than passing a slow average of it.
      x: [*B, *event] data.
      z: [*B, *event] standard normal noise.
      times: t > u >= tau, each [*B].
      event_ndim: number of event axes, 1 for an action, 2 for a chunk of actions.

    Returns:
      TrajectoryLosses, each term [*B], neither weighted nor reduced.
    """
    t, u, tau = times
    x_t = interpolate(VARIANCE_EXPLODING, x, z, t)
    x_u = interpolate(VARIANCE_EXPLODING, x, z, u)
    target = jax.lax.stop_gradient(flow_map.jump(target_velocity, x_u, u, tau))

    both = jax.vmap(velocity, in_axes=(None, None, 0))(x_t, t, jnp.stack([tau, t]))
    arrived = flow_map.jump(lambda *_: both[0], x_t, t, tau)
    denoised = flow_map.extrapolate(lambda *_: both[1], x_t, t, t)
    return TrajectoryLosses(
        consistency=_squared_norm(arrived - target, event_ndim) / (t - u),
        flow=_squared_norm(x - denoised, event_ndim),
    )


def make(
    *,
    network: Network,
    action_low: Array,
    action_high: Array,
    curriculum_updates: int,
    schedule: Schedule | None = None,
    sigma_data: float = 0.5,
    target: str = "online",
) -> Policy:
    """Builds the policy.

    Args:
      network: apply(params, obs [*B, O], x [*B, A], t [*B], s [*B]) -> [*B, A].
      action_low, action_high: [A] bounds; only a final sample is clipped to them.
      curriculum_updates: updates over which the time grid grows from 10 to 1280 intervals.
      schedule: the times of training and sampling; by default 80 to 0.002 with rho = 7.
      sigma_data: standard deviation of the actions that the preconditioning assumes.
      target: whose map eq. 17 follows, the "online" parameters under stop-gradient or their "ema".

    Raises:
      ValueError: for an unknown target or an impossible schedule.
    """
    if target not in TARGETS:
        raise ValueError(f"policy.target = {target!r} is not one of {TARGETS}")
    schedule = flow_map.check_schedule(schedule or Schedule())

    def velocity_at(params: Params, obs: Array) -> Velocity:
        return flow_map.edm_velocity(lambda x, t, s: network.apply(params, obs, x, t, s), sigma_data)

    def init(key: Key, batch: Batch) -> Params:
        time = jnp.zeros(batch.reward.shape)
        return network.init(key, batch.obs, batch.action, time, time)

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(key)
        intervals = flow_map.curriculum(step, curriculum_updates)
        times = flow_map.adjacent_times(key_times, batch.reward.shape, schedule, intervals)
        z = jax.random.normal(key_noise, batch.action.shape)
        followed = params if target == "online" else target_params
        terms = trajectory_losses(
            velocity_at(params, batch.obs), velocity_at(followed, batch.obs), batch.action, z, times
        )
        metrics = {"policy/consistency": jnp.mean(terms.consistency), "policy/flow": jnp.mean(terms.flow)}
        return terms.consistency + hparams["lambda_flow"] * terms.flow, metrics

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: float = 1.0) -> Array:
        noise = jax.random.normal(key, (*obs.shape[:-1], action_low.shape[0]))
        times = schedule.sampling_times(num_steps)
        action = flow_map.follow(velocity_at(params, obs), temperature * times[0] * noise, times)
        return jnp.clip(action, *(jnp.broadcast_to(bound, action.shape) for bound in (action_low, action_high)))

    return Policy(init=init, loss=loss, sample=sample)
