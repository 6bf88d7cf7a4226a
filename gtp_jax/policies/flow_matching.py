"""Flow matching on the straight path: Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003.

Only the instantaneous field is learnt, u(x_t, t, t) = E[z - x | x_t]; an ODE solver samples from it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import LINEAR
from gtp_jax.flow.policy import LossInputs, OwnPolicySettings
from gtp_jax.types import Array, FlowApply, Metrics, Network, Policy

TIME_SCALE = "linear"


@dataclasses.dataclass(frozen=True)
class Settings(OwnPolicySettings):
    solver: str = flow_policy.solver()


def make(settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array) -> Policy:
    """Builds the policy, whose network is the velocity itself; see `flow.policy.make` for the arguments."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_time, key_noise = jax.random.split(given.key)
        t = jax.random.uniform(key_time, given.action.shape[:1])
        z = jax.random.normal(key_noise, given.action.shape)
        loss = flow_map.field_loss(given.velocity, LINEAR, given.action, z, t)
        return loss, {"policy/flow": jnp.mean(loss)}

    return flow_policy.make(network, action_low, action_high, objective, step=flow_map.SOLVERS[settings.solver])
