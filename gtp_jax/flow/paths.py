"""Paths from data to noise, x_t = alpha(t) x + sigma(t) z: data at t = 0, noise at large t, everywhere here."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from gtp_jax.types import Array


class Path(NamedTuple):
    """The coefficients of x_t = alpha(t) x + sigma(t) z, z ~ N(0, I), and their derivatives in t."""

    alpha: Callable[[Array], Array]
    sigma: Callable[[Array], Array]
    alpha_dot: Callable[[Array], Array]
    sigma_dot: Callable[[Array], Array]


VARIANCE_EXPLODING = Path(jnp.ones_like, lambda t: t, jnp.zeros_like, jnp.ones_like)
LINEAR = Path(lambda t: 1.0 - t, lambda t: t, lambda t: -jnp.ones_like(t), jnp.ones_like)


def expand(t: Array, x: Array) -> Array:
    """Gives t [*B] as many trailing axes of length 1 as x [*B, *event] has event axes.

    Raises:
      ValueError: where t has more axes than x.
    """
    if t.ndim > x.ndim:
        raise ValueError(f"time of shape {t.shape} has more axes than x of shape {x.shape}; pass one time per example")
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


def interpolate(path: Path, x: Array, z: Array, t: Array) -> Array:
    """The noised point x_t = alpha(t) x + sigma(t) z for x, z [*B, *event] and t [*B]."""
    t = expand(t, x)
    return path.alpha(t) * x + path.sigma(t) * z


def conditional_velocity(path: Path, x: Array, z: Array, t: Array) -> Array:
    """dx_t/dt = alpha'(t) x + sigma'(t) z, the field anchored to the data point x. Shapes as in `interpolate`."""
    t = expand(t, x)
    return path.alpha_dot(t) * x + path.sigma_dot(t) * z
