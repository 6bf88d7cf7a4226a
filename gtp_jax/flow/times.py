"""Times of a generative ODE: grids between noise and data, and how training draws from them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.types import Array, DType, Key


def uniform_times(num_steps: int) -> Array:
    """[K + 1] equally spaced times from 1 to 0, for the straight path."""
    return jnp.linspace(1.0, 0.0, _at_least_one(num_steps) + 1)


def _at_least_one(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps = {num_steps}: a sampler needs at least one step")
    return num_steps


class Schedule(NamedTuple):
    """Times between noise and data as Karras et al. (arXiv 2206.00364, eq. 5) place them."""

    sigma_min: float = 0.002
    sigma_max: float = 10.0
    rho: float = 7.0

    def at(self, fraction: Array) -> Array:
        """The time at a fraction of the way from sigma_max (0) to sigma_min (1)."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (high + fraction * (low - high)) ** self.rho

    def sampling_times(self, num_steps: int) -> Array:
        """[K + 1] times of a K-step sampler: at(i / K) for i < K, then 0.

        Ending on sigma_min instead would spend a whole step on the last 0.002.
        """
        return jnp.append(self.at(jnp.arange(_at_least_one(num_steps)) / num_steps), 0.0)


def angular_times(num_steps: int, sigma_max: float, scale: float) -> Array:
    """[K + 1] times from sigma_max to 0 at equal angles atan(t / scale).

    In units of its standard deviation, x_t = x + t z of data with deviation `scale` is cos(angle) x / scale +
    sin(angle) z, so that the jumps are equally long (docs/method.md).
    """
    return scale * jnp.tan(math.atan(sigma_max / scale) * uniform_times(num_steps))


def balanced_weight(t: Array, sigma_data: float) -> Array:
    """(t/sd + sd/t)/2, a weight of consistency losses at times t [*B] beside their factor 1/(t - u), [*B].

    For normal data of deviation sd, the point x + u z is off the trajectory through x + t z by (t - u)^2 sd^2 /
    (t^2 + sd^2) in the mean square. Both factors make that equal at all times that are drawn evenly in log t.
    """
    return (t / sigma_data + sigma_data / t) / 2


def log_normal_times(key: Key, shape: tuple[int, ...], dtype: DType = float) -> Array:
    """Times [*shape] with log t ~ N(-1.2, 1.2^2), where EDM trains its denoiser (arXiv 2206.00364, table 1)."""
    return jnp.exp(1.2 * jax.random.normal(key, shape, dtype) - 1.2)


def curriculum(step: Array | int, num_updates: int, first: int = 10, last: int = 1280) -> Array:
    """Number of grid intervals after `step` updates: first, doubled in equal stages over num_updates, never above last.

    App. C.2 of the paper; N of consistency models (arXiv 2303.01469, App. C) is one more.
    """
    stages = math.log2(last / first)
    length = max(1, num_updates // (math.ceil(stages) + 1))
    doublings = jnp.minimum(step // length, math.ceil(stages))
    return jnp.minimum(first * 2**doublings, last)


class Times(NamedTuple):
    """Times of one training example, t > u >= tau >= 0, each [*B]."""

    t: Array
    u: Array
    tau: Array


GAPS = ("adjacent", "any")


def adjacent_times(
    key: Key,
    shape: tuple[int, ...],
    schedule: Schedule,
    num_intervals: Array | int,
    *,
    gap: str = "adjacent",
    zero_share: float = 0.0,
    dtype: DType = float,
) -> Times:
    """Draws t and u as neighbours on a grid of `num_intervals` intervals and tau among the grid's points up to u.

    The smallest grid point, sigma_min, is read as 0 where it is a target. The gap t - u bounds the bias of the score
    approximation (docs/method.md), hence neighbours only; the other choices are there to be compared.

    Args:
      key: a key.
      shape: [*B] of the times.
      schedule: places the grid's points.
      num_intervals: of the grid, may be traced.
      gap: "adjacent", or "any" for u uniform over the grid's points below t.
      zero_share: probability with which tau is 0 whatever is drawn; at 1 all jumps end at 0, as in a consistency model.
      dtype: of the times.
    """
    key_t, key_tau, key_u = jax.random.split(key, 3)
    index = jax.random.randint(key_t, shape, 0, num_intervals)
    nearer = index + 1
    if gap == "any":
        nearer = jax.random.randint(key_u, shape, index + 1, num_intervals + 1)
    last = jax.random.randint(key_tau, shape, nearer, num_intervals + 1)
    if zero_share > 0:
        at_zero = jax.random.uniform(jax.random.fold_in(key_tau, 1), shape) < zero_share
        last = jnp.where(at_zero, num_intervals, last)

    def time(i):
        return schedule.at((i / num_intervals).astype(dtype))

    def target(i):
        return jnp.where(i == num_intervals, 0.0, time(i))

    return Times(time(index), target(nearer), target(last))
