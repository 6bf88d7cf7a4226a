"""Shortcut models: Frans, Hafner, Levine, Abbeel, arXiv 2410.12557.

A jump of 2d is taught to equal two jumps of d, for dyadic d; the instantaneous field is taught by flow matching. The
paper gives a quarter of each batch to the former; here every example carries both terms.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import LINEAR, interpolate
from gtp_jax.flow.policy import LossInputs, OwnPolicySettings
from gtp_jax.types import Array, DType, FlowApply, Key, Metrics, Network, Policy, Velocity

TIME_SCALE = "linear"


def self_consistency_loss(
    velocity: Velocity, target_velocity: Velocity, x: Array, z: Array, t: Array, d: Array, *, event_ndim: int = 1
) -> Array:
    """|u(x_t, t, t - 2d) - sg (u1 + u2)/2|^2, u1 = u(x_t, t, t - d), u2 = u(x_t - d u1, t - d, t - 2d).

    Eq. 4 of arXiv 2410.12557. The two half jumps of `target_velocity` are followed, without gradient; t [*B] are times
    in [2d, 1] and d [*B] half the jumps. The other arguments, the result and errors are as in `flow.map.field_loss`.
    """
    flow_map.check_example(x, event_ndim, z=z, t=t, d=d)
    x_t = interpolate(LINEAR, x, z, t)
    first = flow_map.average(target_velocity, x_t, t, t - d)
    second = flow_map.average(target_velocity, flow_map.jump(lambda *_: first, x_t, t, t - d), t - d, t - 2 * d)
    target = jax.lax.stop_gradient(0.5 * (first + second))
    return flow_map.squared_norm(flow_map.average(velocity, x_t, t, t - 2 * d) - target, event_ndim)


def dyadic_times(
    key: Key, shape: tuple[int, ...], max_doublings: int = 7, *, dtype: DType = float
) -> tuple[Array, Array]:
    """Draws t and d [*shape]: d in {1/2, 1/4, ..., 2^-max_doublings}, t a multiple of 2d in [2d, 1] (sec. 3.2)."""
    key_d, key_t = jax.random.split(key)
    doublings = jax.random.randint(key_d, shape, 1, max_doublings + 1)
    d = (2.0**-doublings).astype(dtype)
    return 2 * d * jax.random.randint(key_t, shape, 1, 2 ** (doublings - 1) + 1), d


@dataclasses.dataclass(frozen=True)
class Settings(OwnPolicySettings):
    lambda_flow: float = flow_policy.lambda_flow()


def make(settings: Settings, *, network: Network[FlowApply], action_low: Array, action_high: Array) -> Policy:
    """Builds the policy, whose network is the velocity itself; see `flow.policy.make` for the arguments.

    The half jumps that are followed are those of the exponential average, as in the paper.
    """
    del settings

    def objective(given: LossInputs) -> tuple[Array, Metrics]:
        key_time, key_jump, key_noise = jax.random.split(given.key, 3)
        shape = given.action.shape[:1]
        z = jax.random.normal(key_noise, given.action.shape)
        flow = flow_map.field_loss(given.velocity, LINEAR, given.action, z, jax.random.uniform(key_time, shape))
        t, d = dyadic_times(key_jump, shape)
        consistency = self_consistency_loss(given.velocity, given.ema, given.action, z, t, d)
        metrics = {"policy/consistency": jnp.mean(consistency), "policy/flow": jnp.mean(flow)}
        return consistency + given.hparams["lambda_flow"] * flow, metrics

    return flow_policy.make(network, action_low, action_high, objective)
