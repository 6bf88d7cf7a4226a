"""Consistency trajectory models: Kim et al., arXiv 2310.02279.

Like GTP, any jump from t to s is learnt; but the neighbouring point at u comes from a solver's step along the model's
own averaged field, and both sides are compared after they have jumped on to time 0.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.map import Step
from gtp_jax.flow.paths import VARIANCE_EXPLODING, interpolate
from gtp_jax.flow.policy import ConsistencySettings, LossInputs
from gtp_jax.flow.times import Times, adjacent_times
from gtp_jax.types import Array, FlowApply, Metrics, Network, Policy, Velocity


def soft_consistency_loss(
    velocity: Velocity,
    target_velocity: Velocity,
    teacher_velocity: Velocity,
    x: Array,
    z: Array,
    times: Times,
    *,
    step: Step = flow_map.euler_step,
    event_ndim: int = 1,
) -> Array:
    """|P(Phi(x_t, t, tau)) - sg P(Phi(step(x_t, t, u), u, tau))|^2 / (t - u), P(x) = Phi(x, tau, 0).

    Eq. 5 and 6 of arXiv 2310.02279; the factor 1/(t - u) is as in GTP's. `target_velocity` is that of the jumps that
    are followed and of P: the gradient goes through P's argument, so its parameters must not be those that are
    differentiated, but stopped or averaged ones. The solver's `step` follows the instantaneous field of
    `teacher_velocity`. The other arguments, the result and errors are as in `policies.gtp.trajectory_losses`.
    """
    t, u, tau = times
    flow_map.check_example(x, event_ndim, z=z, t=t, u=u, tau=tau)
    x_t = interpolate(VARIANCE_EXPLODING, x, z, t)
    x_u = jax.lax.stop_gradient(step(teacher_velocity, x_t, t, u))
    followed = jax.lax.stop_gradient(flow_map.jump(target_velocity, x_u, u, tau))
    arrived = flow_map.jump(velocity, x_t, t, tau)
    arrived, followed = (flow_map.jump(target_velocity, x, tau, jnp.zeros_like(tau)) for x in (arrived, followed))
    return flow_map.squared_norm(arrived - jax.lax.stop_gradient(followed), event_ndim) / (t - u)


@dataclasses.dataclass(frozen=True)
class Settings(ConsistencySettings):
    lambda_flow: float = flow_policy.lambda_flow()
    solver: str = flow_policy.solver()


def make(
    settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array, curriculum_updates: int
) -> Policy:
    """Builds the policy; see `policies.gtp.make`."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(given.key)
        intervals = settings.num_intervals(given.step, curriculum_updates)
        times = adjacent_times(key_times, given.action.shape[:1], settings.schedule, intervals)
        z = jax.random.normal(key_noise, given.action.shape)
        followed, step = given.followed(settings.target), flow_map.SOLVERS[settings.solver]
        consistency = soft_consistency_loss(given.velocity, followed, given.ema, given.action, z, times, step=step)
        flow = flow_map.denoising_loss(given.velocity, given.action, z, times.t)
        metrics = {"policy/consistency": jnp.mean(consistency), "policy/flow": jnp.mean(flow)}
        return consistency + given.hparams["lambda_flow"] * flow, metrics

    times = settings.sampling_times
    return flow_policy.make(network, action_low, action_high, objective, settings.velocity, times)
