"""Generative Trajectory Policies: Feng, Tang, Wang, Chen, arXiv 2510.11499.

One network learns the whole flow map of the variance-exploding ODE: trajectory consistency between neighbouring times
(eq. 17) with the score approximation x_u = x + u z in place of an ODE solver (eq. 11), and the instantaneous flow
(eq. 18), which is the denoiser.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.declare import COEFFICIENT, Range, setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.map import Step, squared_norm
from gtp_jax.flow.paths import VARIANCE_EXPLODING, interpolate
from gtp_jax.flow.policy import ConsistencySettings, LossInputs
from gtp_jax.flow.times import GAPS, Times, adjacent_times, balanced_weight
from gtp_jax.types import Array, FlowApply, Metrics, Network, Policy, Velocity


class TrajectoryLosses(NamedTuple):
    """The two terms of eq. 19, un-reduced, each [*B]."""

    consistency: Array
    flow: Array


def trajectory_losses(
    velocity: Velocity,
    target_velocity: Velocity,
    x: Array,
    z: Array,
    times: Times,
    *,
    teacher: Velocity | None = None,
    step: Step = flow_map.euler_step,
    event_ndim: int = 1,
) -> TrajectoryLosses:
    """Trajectory consistency (arXiv 2510.11499, eq. 17) and instantaneous flow (eq. 18), score approximated (eq. 11).

        consistency = |Phi(x + t z, t, tau) - sg Phi_target(x + u z, u, tau)|^2 / (t - u)
        flow        = |x - phi(x + t z, t, t)|^2

    The factor 1/(t - u) is ours: it keeps the first term alive as neighbouring times draw together.

    Args:
      velocity: the average velocity that is trained. It is called once, under `jax.vmap` over a leading axis of 2.
      target_velocity: the one that is followed; no gradient flows through it. It may be `velocity` itself.
      x: [*B, *event] data.
      z: [*B, *event] standard normal noise.
      times: t > u >= tau, each [*B].
      teacher: where given, the point at u is a solver's `step` along its field instead of the score approximation.
      step: the solver's step.
      event_ndim: number of event axes, 1 for an action, 2 for a chunk of actions.

    Returns:
      The two terms, each [*B], neither weighted nor reduced. Errors as in `flow.map.field_loss`.
    """
    t, u, tau = times
    flow_map.check_example(x, event_ndim, z=z, t=t, u=u, tau=tau)
    x_t = interpolate(VARIANCE_EXPLODING, x, z, t)
    x_u = interpolate(VARIANCE_EXPLODING, x, z, u) if teacher is None else step(teacher, x_t, t, u)
    target = jax.lax.stop_gradient(flow_map.jump(target_velocity, x_u, u, tau))

    both = jax.vmap(velocity, in_axes=(None, None, 0))(x_t, t, jnp.stack([tau, t]))
    arrived = flow_map.jump(lambda *_: both[0], x_t, t, tau)
    denoised = flow_map.extrapolate(lambda *_: both[1], x_t, t, t)
    return TrajectoryLosses(
        consistency=squared_norm(arrived - target, event_ndim) / (t - u),
        flow=squared_norm(x - denoised, event_ndim),
    )


@dataclasses.dataclass(frozen=True)
class Settings(ConsistencySettings):
    """The settings of generative trajectory policies; docs/family.md compares most of them."""

    lambda_flow: float = flow_policy.lambda_flow()
    lambda_consistency: float = setting(
        1.0, "Coefficient of the consistency loss.", range=COEFFICIENT, hparam="lambda_consistency"
    )
    gap: str = setting("adjacent", "Gap between the times t and u of eq. 17 on the time grid.", choices=GAPS)
    zero_share: float = setting(
        0.3, "Share of the jumps of eq. 17 that end at 0; the others end at any grid point up to u.", range=Range(0, 1)
    )
    consistency_weighting: str = setting(
        "balanced",
        "Weight of eq. 17 at time t beside 1/(t - u): (t/sigma_data + sigma_data/t)/2, or 1.",
        choices=("balanced", "none"),
    )
    teacher: str = setting(
        "score",
        "What brings x_t to time u: the score approximation (eq. 11), or a solver along the averaged field.",
        choices=("score", *flow_map.SOLVERS),
    )


def make(
    settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array, curriculum_updates: int
) -> Policy:
    """Builds the policy, whose time grid grows over `curriculum_updates`; see `flow.policy.make` for the others."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(given.key)
        shape, num_intervals = given.action.shape[:1], settings.num_intervals(given.step, curriculum_updates)
        times = adjacent_times(
            key_times, shape, settings.schedule, num_intervals, gap=settings.gap, zero_share=settings.zero_share
        )
        z = jax.random.normal(key_noise, given.action.shape)
        followed, teacher = given.followed(settings.target), given.ema if settings.teacher != "score" else None
        step = flow_map.SOLVERS.get(settings.teacher, flow_map.euler_step)
        terms = trajectory_losses(given.velocity, followed, given.action, z, times, teacher=teacher, step=step)
        weight = balanced_weight(times.t, settings.sigma_data) if settings.consistency_weighting == "balanced" else 1.0
        consistency = weight * terms.consistency
        metrics = {"policy/consistency": jnp.mean(consistency), "policy/flow": jnp.mean(terms.flow)}
        hparams = given.hparams
        return hparams["lambda_consistency"] * consistency + hparams["lambda_flow"] * terms.flow, metrics

    velocity, times = settings.velocity, settings.sampling_times
    return flow_policy.make(network, action_low, action_high, objective, velocity, times)
