"""Variance-exploding diffusion, sampled by its probability-flow ODE: Song et al., arXiv 2011.13456; Karras et al.,
arXiv 2206.00364.

Only the denoiser is learnt, E[x | x_t] = phi(x_t, t, t).
"""

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.times import Schedule, check_schedule, log_normal_times
from gtp_jax.types import Array, Network, Policy

WEIGHTINGS = ("none", "edm")
TIMES = ("grid", "log-normal")
_GRID_INTERVALS = 1280


def make(
    *,
    network: Network,
    action_low: Array,
    action_high: Array,
    schedule: Schedule | None = None,
    sigma_data: float = 0.5,
    solver: str = "euler",
    times: str = "grid",
    weighting: str = "none",
) -> Policy:
    """Builds the policy.

    Args:
      network: apply(params, obs [*B, O], x [*B, A], t [*B], s [*B]) -> [*B, A].
      action_low: [A] lower bounds; only a final sample is clipped to them.
      action_high: [A] upper bounds.
      schedule: the sampler's times; by default 80 to 0.002 with rho = 7.
      sigma_data: standard deviation of the actions that the preconditioning assumes.
      solver: a name of `flow_map.SOLVERS`; "heun" evaluates the network twice a step.
      times: where the denoiser is trained, a name of TIMES.
      weighting: of its loss over t, a name of WEIGHTINGS; "edm" is (t^2 + sd^2)/(t sd)^2.
    """
    flow_map.check_choice("times", times, TIMES)
    flow_map.check_choice("weighting", weighting, WEIGHTINGS)
    schedule = check_schedule(schedule or Schedule())

    def objective(given: flow_policy.Training):
        key_times, key_noise = jax.random.split(given.key)
        shape = given.action.shape[:1]
        if times == "log-normal":
            t = log_normal_times(key_times, shape)
        else:
            t = schedule.at(jax.random.randint(key_times, shape, 0, _GRID_INTERVALS) / _GRID_INTERVALS)
        z = jax.random.normal(key_noise, given.action.shape)
        loss = flow_map.denoising_loss(given.velocity, given.action, z, t)
        weight = flow_map.edm_weight(t, sigma_data) if weighting == "edm" else 1.0
        return weight * loss, {"policy/flow": jnp.mean(loss)}

    return flow_policy.make(
        network=network,
        action_low=action_low,
        action_high=action_high,
        parameterise=lambda f: flow_map.edm_velocity(f, sigma_data),
        objective=objective,
        sampling_times=schedule.sampling_times,
        step=flow_map.solver(solver),
    )
