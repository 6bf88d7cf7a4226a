"""Variance-exploding diffusion, sampled by its probability-flow ODE: Song et al., arXiv 2011.13456; Karras et al.,
arXiv 2206.00364.

Only the denoiser is learnt, E[x | x_t] = phi(x_t, t, t).
"""

import dataclasses

import jax
import jax.numpy as jnp

from gtp_jax.declare import setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.policy import LossInputs, VarianceExploding
from gtp_jax.flow.times import log_normal_times
from gtp_jax.types import Array, FlowApply, Metrics, Network, Policy

_GRID_INTERVALS = 1280


@dataclasses.dataclass(frozen=True)
class Settings(VarianceExploding):
    solver: str = flow_policy.solver()
    times: str = setting(
        "grid", "Where the denoiser is trained: the schedule's times, or EDM's.", choices=("grid", "log-normal")
    )
    weighting: str = setting(
        "none",
        "Weight of the loss at time t: 1, or with edm (t^2 + sigma_data^2)/(t sigma_data)^2.",
        choices=("none", "edm"),
    )


def make(settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array) -> Policy:
    """Builds the policy; see `flow.policy.make` for the arguments."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(given.key)
        shape = given.action.shape[:1]
        if settings.times == "log-normal":
            t = log_normal_times(key_times, shape)
        else:
            t = settings.schedule.at(jax.random.randint(key_times, shape, 0, _GRID_INTERVALS) / _GRID_INTERVALS)
        z = jax.random.normal(key_noise, given.action.shape)
        loss = flow_map.denoising_loss(given.velocity, given.action, z, t)
        weight = flow_map.edm_weight(t, settings.sigma_data) if settings.weighting == "edm" else 1.0
        return weight * loss, {"policy/flow": jnp.mean(loss)}

    step, times = flow_map.SOLVERS[settings.solver], settings.sampling_times
    return flow_policy.make(network, action_low, action_high, objective, settings.velocity, times, step=step)
