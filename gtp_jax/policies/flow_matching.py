"""Flow matching on the straight path: Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003.

Only the instantaneous field is learnt, u(x_t, t, t) = E[z - x | x_t]; an ODE solver samples from it.
"""

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import LINEAR
from gtp_jax.flow.times import uniform_times
from gtp_jax.types import Array, Network, Policy

TIME_SCALE = "linear"


def make(*, network: Network, action_low: Array, action_high: Array, solver: str = "euler") -> Policy:
    """Builds the policy; its loss is `flow_map.field_loss` at uniform times.

    Args:
      network: apply(params, obs [*B, O], x [*B, A], t [*B], s [*B]) -> [*B, A], the velocity itself.
      action_low: [A] lower bounds; only a final sample is clipped to them.
      action_high: [A] upper bounds.
      solver: a name of `flow_map.SOLVERS`; "heun" evaluates the network twice a step.
    """

    def objective(given: flow_policy.Training):
        key_time, key_noise = jax.random.split(given.key)
        t = jax.random.uniform(key_time, given.action.shape[:1])
        z = jax.random.normal(key_noise, given.action.shape)
        loss = flow_map.field_loss(given.velocity, LINEAR, given.action, z, t)
        return loss, {"policy/flow": jnp.mean(loss)}

    return flow_policy.make(
        network=network,
        action_low=action_low,
        action_high=action_high,
        parameterise=lambda f: f,
        objective=objective,
        sampling_times=uniform_times,
        step=flow_map.solver(solver),
    )
