"""Mean flow: Geng, Deng, Bai, Kolter, He, arXiv 2505.13447.

The average velocity obeys u = v - (t - s) du/dt along the path; one jvp gives the right-hand side, and no grid of times
is needed. At s = t it is flow matching.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gtp_jax.declare import Range, setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import LINEAR, conditional_velocity, expand, interpolate
from gtp_jax.flow.policy import LossInputs, OwnPolicySettings
from gtp_jax.types import Array, DType, FlowApply, Key, Metrics, Network, Policy, Velocity

TIME_SCALE = "linear"

FLOW_SHARE = 0.75  # of the examples with s = t (table 1a of the paper)
_EPSILON = 1e-3


def mean_flow_loss(velocity: Velocity, x: Array, z: Array, t: Array, s: Array, *, event_ndim: int = 1) -> Array:
    """|u(x_t, t, s) - sg (v - (t - s) du/dt)|^2 on the straight path, v = z - x (arXiv 2505.13447, eq. 9 to 11).

    du/dt = v du/dx + du/dt at fixed s is one jvp of `velocity` along (v, 1, 0), which must allow forward-mode
    differentiation. Times 0 <= s <= t <= 1 are [*B]; the other arguments, the result and errors are as in
    `flow.map.field_loss`.
    """
    flow_map.check_example(x, event_ndim, z=z, t=t, s=s)
    x_t = interpolate(LINEAR, x, z, t)
    v = conditional_velocity(LINEAR, x, z, t)
    along = v, jnp.ones_like(t), jnp.zeros_like(s)
    u, rate = jax.jvp(functools.partial(flow_map.average, velocity), (x_t, t, s), along)
    return flow_map.squared_norm(u - jax.lax.stop_gradient(v - expand(t - s, x) * rate), event_ndim)


def ordered_times(key: Key, shape: tuple[int, ...], *, dtype: DType = float) -> tuple[Array, Array]:
    """Draws t >= s [*shape], two logistic-normal times in order, and s = t for FLOW_SHARE of them (table 4)."""
    key_times, key_same = jax.random.split(key)
    times = jax.nn.sigmoid(jax.random.normal(key_times, (2, *shape), dtype) - 0.4)
    t = jnp.max(times, axis=0)
    return t, jnp.where(jax.random.bernoulli(key_same, FLOW_SHARE, shape), t, jnp.min(times, axis=0))


@dataclasses.dataclass(frozen=True)
class Settings(OwnPolicySettings):
    adaptive_power: float = setting(
        1.0, "Power p of the weight 1/(loss + c)^p on each example (sec. 4.3); 0 switches it off.", range=Range(0, 10)
    )


def make(settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array) -> Policy:
    """Builds the policy, whose network is the velocity itself; see `flow.policy.make` for the arguments."""

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_times, key_noise = jax.random.split(given.key)
        t, s = ordered_times(key_times, given.action.shape[:1])
        z = jax.random.normal(key_noise, given.action.shape)
        loss = mean_flow_loss(given.velocity, given.action, z, t, s)
        weight = jax.lax.stop_gradient((loss + _EPSILON) ** -settings.adaptive_power)
        return weight * loss, {"policy/mean_flow": jnp.mean(loss)}

    return flow_policy.make(network, action_low, action_high, objective)
