"""What critics share: declared settings, and un-reduced losses of value networks."""

import dataclasses
import functools

import jax.numpy as jnp

from gtp_jax.declare import Range, check_declared, setting
from gtp_jax.types import Array

expectile = functools.partial(
    setting,
    0.9,
    "Expectile of the value loss: 0.5 fits the mean, higher values the better outcomes.",
    range=Range(0, 1, excluded=(0, 1)),
)


@dataclasses.dataclass(frozen=True)
class OwnCriticSettings:
    """Base of a critic's own settings: one outside its declaration raises ValueError."""

    def __post_init__(self):
        check_declared(self, "critic.")


def td_loss(q: Array, reward: Array, discount: Array, next_value: Array) -> Array:
    """sum_j (r + discount next_value - q_j)^2, the loss of an ensemble of critics (arXiv 2510.11499, eq. 16).

    Maps the values q [E, *B] of the data's actions and reward, discount (gamma, or 0 where the episode terminated) and
    next_value, each [*B], to [*B]; the caller stops the gradient of next_value. Raises ValueError for other shapes.
    """
    for name, given in (("reward", reward), ("discount", discount), ("next_value", next_value)):
        if given.shape != q.shape[1:]:
            raise ValueError(f"{name} of shape {given.shape} must be {q.shape[1:]}: q of shape {q.shape} is [E, *B]")
    return jnp.sum((jnp.expand_dims(reward + discount * next_value, 0) - q) ** 2, axis=0)


def expectile_loss(difference: Array, expectile: float) -> Array:
    """|expectile - 1(difference < 0)| difference^2, element by element (arXiv 2110.06169, eq. 4).

    The difference is target - value, of any shape, and the expectile in (0, 1). The minimum over a constant is the
    expectile of the target; 0.5 gives half the squared error.
    """
    return jnp.where(difference < 0, 1.0 - expectile, expectile) * difference**2
