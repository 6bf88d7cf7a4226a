"""A policy class of your own with a setting of its own: one jump from noise to the action, by regression.

A toy that shows the form (docs/adding-a-policy.md). As gtp_jax/policies/one_jump.py it would be found by its file name;
here it is registered from outside the package, and trains with every critic and guidance as the others do.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp

from gtp_jax import policies
from gtp_jax.declare import COEFFICIENT, setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.paths import LINEAR, interpolate
from gtp_jax.flow.times import uniform_times

TIME_SCALE = "linear"  # times lie in [0, 1]


@dataclasses.dataclass(frozen=True)
class Settings:
    noise_scale: float = setting(1.0, "Standard deviation of the noise that a jump starts from.", range=COEFFICIENT)


def one_jump_loss(velocity, x, z, *, event_ndim=1):
    """|Phi(z, 1, 0) - x|^2, un-reduced [*B]; its minimiser is the mean of the data."""
    one = jnp.ones(x.shape[: x.ndim - event_ndim])
    x_1 = interpolate(LINEAR, x, z, one)
    return flow_map.squared_norm(flow_map.jump(velocity, x_1, one, jnp.zeros_like(one)) - x, event_ndim)


def make(settings, *, network, action_low, action_high):
    def objective(given):
        z = settings.noise_scale * jax.random.normal(given.key, given.action.shape)
        loss = one_jump_loss(given.velocity, given.action, z)
        return loss, {"policy/one_jump": jnp.mean(loss)}

    return flow_policy.make(
        network=network,
        action_low=action_low,
        action_high=action_high,
        parameterise=lambda f: f,
        objective=objective,
        sampling_times=uniform_times,
    )


if __name__ == "__main__":
    from own_arrays import clone, record

    policies.register("one_jump", sys.modules[__name__])
    result = clone(record(), {"policy.name": "one_jump", "policy.noise_scale": 0.5, "policy.num_steps": 1})
    print(result.summary["algorithm"], "balances for", result.summary["score"]["mean"], "of 1,000 steps")
