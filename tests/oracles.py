"""Flow maps in closed form, and small worlds with known values: what the tests compare with."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.config.settings import Settings
from gtp_jax.flow.paths import Path, expand
from gtp_jax.types import Array, Batch, Velocity

# For tiny programs, whose compilation takes longer than their run.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


def gaussian_velocity(mean: Array | float, std: Array | float) -> Velocity:
    """The average velocity for data N(mean, std^2) on the variance-exploding path.

    Phi*(x_t, t, s) = m + (x_t - m) sqrt((S^2 + s^2)/(S^2 + t^2)); the quotient by s - t is carried out by hand, so that
    s = t is exact.
    """

    def velocity(x: Array, t: Array, s: Array) -> Array:
        t, s = expand(t, x), expand(s, x)
        now, then = jnp.sqrt(std**2 + t**2), jnp.sqrt(std**2 + s**2)
        return (x - mean) * (s + t) / (now * (now + then))

    return velocity


def gaussian_linear_velocity(mean: float, std: float) -> Velocity:
    """The same on the linear path, Phi* = (1 - s) m + (x_t - (1 - t) m) sqrt(v(s)/v(t)), v = (1 - t)^2 S^2 + t^2."""

    def velocity(x: Array, t: Array, s: Array) -> Array:
        t, s = expand(t, x), expand(s, x)
        now, then = (jnp.sqrt((1 - r) ** 2 * std**2 + r**2) for r in (t, s))
        slope = (s + t) - std**2 * (2 - s - t)
        return (x - (1 - t) * mean) * slope / (now * (now + then)) - mean

    return velocity


def point_velocity(point: Array | float) -> Velocity:
    """The average velocity for data that are one point: trajectories are straight lines into it."""

    def velocity(x: Array, t: Array, s: Array) -> Array:
        del s
        t = expand(t, x)
        return jnp.where(t > 0, (x - point) / jnp.where(t > 0, t, 1), 0)

    return velocity


def quadrature_points(mean: float, std: float, nodes: int = 24) -> tuple[Array, Array, Array]:
    """Data x ~ N(mean, std^2) and noise z ~ N(0, 1) as Gauss-Hermite nodes: x, z [N, 1] and weights [N], sum 1."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    a, b = (grid.reshape(-1, 1) for grid in np.meshgrid(points, points))
    weight = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
    return jnp.asarray(mean + std * a), jnp.asarray(b), jnp.asarray(weight)


def posterior_points(
    path: Path, x_t: Array, t: float, mean: float, std: float, nodes: int = 24
) -> tuple[Array, Array, Array]:
    """All (x, z) that lead through each x_t [G] at time t > 0, for data N(mean, std^2), as Gauss-Hermite nodes.

    x | x_t is Gaussian with precision 1/S^2 + alpha^2/sigma^2, and z = (x_t - alpha x)/sigma.

    Returns:
      x, z [G N, 1], and weights [G, N] that sum to 1 over N.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    alpha, sigma = path.alpha(jnp.asarray(t)), path.sigma(jnp.asarray(t))
    precision = 1 / std**2 + alpha**2 / sigma**2
    centre = (mean / std**2 + alpha * x_t / sigma**2) / precision
    x = centre[:, None] + points[None] / jnp.sqrt(precision)
    z = (x_t[:, None] - alpha * x) / sigma
    weight = np.broadcast_to(weights / weights.sum(), x.shape)
    return x.reshape(-1, 1), z.reshape(-1, 1), jnp.asarray(weight)


def mixture_field(means: Array, std: float) -> Velocity:
    """The instantaneous field for equal Gaussians at `means` [C, A], variance-exploding; s is not looked at.

    f(x, t) = (x - E[x_0 | x_t = x])/t = t/(S^2 + t^2) (x - sum_c r_c m_c), with the posterior weights r_c.
    """

    def field(x: Array, t: Array, s: Array) -> Array:
        del s
        variance = std**2 + expand(t, x) ** 2
        distance = jnp.sum((jnp.expand_dims(x, -2) - means.reshape((1,) * (x.ndim - 1) + means.shape)) ** 2, axis=-1)
        weights = jax.nn.softmax(-distance / (2 * variance), axis=-1)
        return expand(t, x) * (x - weights @ means) / variance

    return field


def integrate(field: Velocity, x: np.ndarray, t: float, s: float, steps: int = 400) -> np.ndarray:
    """The flow map of a field by the classical Runge-Kutta method of order 4: x [B, A] from time t to s."""
    h, batch = (s - t) / steps, x.shape[0]

    def f(x, r):
        return field(x, jnp.full(batch, r), jnp.full(batch, r))

    def step(x, i):
        r = t + i * h
        a = f(x, r)
        b = f(x + h / 2 * a, r + h / 2)
        c = f(x + h / 2 * b, r + h / 2)
        d = f(x + h * c, r + h)
        return x + h / 6 * (a + 2 * b + 2 * c + d), None

    return quick_jit(lambda x: jax.lax.scan(step, x, jnp.arange(steps))[0])(x)


class Chain(NamedTuple):
    """A two-step chain with a known value for every action.

    From room 0 every action leads to room 1, from room 1 to the end. Room 0 pays -a, room 1 pays a; actions are 0 or 1,
    equally often. What the terminal transitions record as next is room 1 again, so that a bootstrap there would show.
    """

    gamma: float = 0.9
    target_action: float = 1.0  # what the policy plays; one of the data's, where Q is learnt

    def batch(self) -> Batch:
        """Every transition once."""
        room = np.array([0, 0, 1, 1])
        action = np.array([0, 1, 0, 1], np.float32)
        return Batch(
            obs=np.eye(2, dtype=np.float32)[room],
            action=action[:, None],
            reward=np.where(room == 0, -action, action).astype(np.float32),
            discount=np.array([1, 1, 0, 0], np.float32),
            next_obs=np.eye(2, dtype=np.float32)[[1, 1, 1, 1]],
        )

    def q(self, value_of_room_1: float) -> np.ndarray:
        """Q of the transitions of `batch`, where room 1 is worth `value_of_room_1` to the target policy."""
        return np.array([0, -1, 0, 1]) + self.gamma * value_of_room_1 * np.array([1, 1, 0, 0])


def settings_with(**changes) -> Settings:
    """The default settings with tiny networks and changes, `critic__name="expectile"` for `critic.name`."""
    tiny = {"policy__hidden": (8,), "critic__hidden": (8,), "policy__num_steps": 2, "num_updates": 16}
    changes = {"curriculum_updates": 16} | tiny | changes
    return Settings.of({name.replace("__", "."): value for name, value in changes.items()})


def random_batch(rows: int, obs_dim: int = 3, action_dim: int = 2, seed: int = 0) -> Batch:
    """Transitions of noise, actions in [-1, 1], one in eight terminal."""
    rng = np.random.default_rng(seed)
    return Batch(
        obs=rng.normal(size=(rows, obs_dim)).astype(np.float32),
        action=rng.uniform(-1, 1, (rows, action_dim)).astype(np.float32),
        reward=rng.normal(size=rows).astype(np.float32),
        discount=(np.arange(rows) % 8 != 0).astype(np.float32),
        next_obs=rng.normal(size=(rows, obs_dim)).astype(np.float32),
    )


def assert_trees_equal(one, other) -> None:
    """Same structure, dtypes and bits; NaN equals NaN."""
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), one, other)


def halving(measure, gaps):
    """The factors by which a measure falls as the gap is halved: 2^order."""
    values = np.array([np.abs(measure(gap)).max() for gap in gaps])
    return values[:-1] / values[1:]


def draw(shape=(48, 2)):
    """Data and noise [*shape] and times [shape[0]] to compare two losses on."""
    rng = np.random.default_rng(0)
    x, z = jnp.asarray(0.4 * rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape))
    return x, z, jnp.asarray(rng.uniform(0.2, 1.0, shape[0]))


def seed_of(tree, place: int):
    """One seed's part of a tree of [S, ...]."""
    return jax.tree.map(lambda leaf: leaf[place], tree)
