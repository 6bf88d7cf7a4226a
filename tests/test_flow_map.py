"""Paths, the flow map on them, and solvers: relations between forms, exact solutions, orders, the ends of time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    draw,
    gaussian_linear_velocity,
    gaussian_velocity,
    integrate,
    mixture_field,
    quick_jit,
)

from gtp_jax.agent.networks import flow_network
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import edm_velocity, euler_step, extrapolate, follow, heun_step, jump
from gtp_jax.flow.paths import LINEAR, VARIANCE_EXPLODING, conditional_velocity, expand, interpolate

MEAN, STD = 0.3, 0.4
MODES = 0.8 * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
NORMAL = np.random.default_rng(0).normal(size=(2, 5, 4, 3))  # x and z


@pytest.mark.parametrize("path", [VARIANCE_EXPLODING, LINEAR], ids=["variance-exploding", "linear"])
def test_a_path_starts_at_the_data_and_has_the_velocity_of_its_points(path, x64):
    """And every event axis sees its own example's time."""
    x, z = jnp.asarray(NORMAL)
    t = jnp.linspace(0.0, 0.9, 5)
    point, derivative = quick_jit(lambda t: jax.jvp(lambda t: interpolate(path, x, z, t), (t,), (jnp.ones(5),)))(t)
    np.testing.assert_array_equal(point[0], x[0])
    np.testing.assert_allclose(conditional_velocity(path, x, z, t), derivative, rtol=1e-12)
    alpha, sigma = (1 - t, t) if path is LINEAR else (jnp.ones(5), t)
    for i in range(5):
        np.testing.assert_allclose(point[i], alpha[i] * x[i] + sigma[i] * z[i], rtol=1e-12)


def test_expand():
    assert expand(jnp.ones(5), jnp.ones((5, 4, 3))).shape == (5, 1, 1)
    assert expand(jnp.ones(()), jnp.ones(3)).shape == (1,)
    with pytest.raises(ValueError, match=r"time of shape \(5, 3\).*x of shape \(5,\)"):
        expand(jnp.ones((5, 3)), jnp.ones(5))


def ve_map(x, t, s):
    return MEAN + (x - MEAN) * np.sqrt((STD**2 + s**2) / (STD**2 + t**2))


def linear_map(x, t, s):
    variance_t, variance_s = ((1 - r) ** 2 * STD**2 + r**2 for r in (t, s))
    return (1 - s) * MEAN + (x - (1 - t) * MEAN) * np.sqrt(variance_s / variance_t)


@pytest.mark.parametrize(
    ("velocity", "solution", "times"),
    [
        (gaussian_velocity(MEAN, STD), ve_map, (80.0, 1.7, 0.2, 0.0)),
        (gaussian_linear_velocity(MEAN, STD), linear_map, (1.0, 0.7, 0.2, 0.0)),
    ],
    ids=["variance-exploding", "linear"],
)
def test_jumps_are_the_solution_and_a_semigroup(velocity, solution, times, x64):
    """Eq. 6: many jumps along the grid end where one long jump does."""
    t, s, x = (grid.ravel() for grid in np.meshgrid(times[:-1], times, np.linspace(-2, 2, 7)))
    got = jump(velocity, jnp.asarray(x)[:, None], jnp.asarray(t), jnp.asarray(s))
    np.testing.assert_allclose(got[:, 0], solution(x, t, s), rtol=1e-12, atol=1e-13)
    x = jnp.linspace(-2, 2, 7)[:, None]
    whole = jump(velocity, x, jnp.full(7, times[0]), jnp.full(7, times[-1]))
    np.testing.assert_allclose(follow(velocity, x, jnp.array(times)), whole, rtol=1e-12)


def test_the_forms_agree(x64):
    """Eq. 4: Phi = (1 - s/t) phi + (s/t) x_t; at s = t the map stays put and phi is the instantaneous flow (eq. 5)."""
    velocity = gaussian_velocity(MEAN, STD)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    t, s = jnp.array([80.0, 5.0, 2.0, 1.0, 0.5, 0.1]), jnp.array([3.0, 0.0, 2.0, 0.9, 0.01, 0.002])
    ratio = (s / t)[:, None]
    phi = extrapolate(velocity, x, t, s)
    np.testing.assert_allclose(jump(velocity, x, t, s), (1 - ratio) * phi + ratio * x, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(jump(velocity, x, t, t), x)
    denoiser = (STD**2 * x + t[:, None] ** 2 * MEAN) / (STD**2 + t[:, None] ** 2)  # E[x_0 | x_t], the posterior mean
    np.testing.assert_allclose(extrapolate(velocity, x, t, t), denoiser, rtol=1e-11, atol=1e-13)


def test_mixture_field_leads_to_the_gaussian_map_and_to_its_modes(x64):
    """One component is solved in closed form; with four narrow ones, a quarter of the noise ends at each."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2)))
    one = jnp.array([[0.3, -0.2]])
    end = integrate(mixture_field(one, 0.4), 5 * x, 5.0, 0.0)
    exact = jump(gaussian_velocity(one, 0.4), 5 * x, jnp.full(64, 5.0), jnp.zeros(64))
    np.testing.assert_allclose(end, exact, rtol=1e-6)
    end = np.asarray(integrate(mixture_field(jnp.asarray(MODES), 0.05), 20 * x, 20.0, 0.0, 4000))
    distance = np.abs(end[:, None] - MODES).max(-1)
    assert (distance.min(axis=1) < 0.2).all()
    assert (np.bincount(distance.argmin(axis=1), minlength=4) >= 8).all()


def solve(step, field, x, times):
    compiled = quick_jit(functools.partial(step, field))
    return follow(field, x, jnp.asarray(times), step=lambda _, *inputs: compiled(*inputs))


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2)], ids=["euler", "heun"])
@pytest.mark.parametrize(("case", "start", "end"), [("modes", 1.5, 0.5), ("modes", 1.5, 0.0), ("linear", 1.0, 0.0)])
def test_orders_of_the_solvers(step, order, case, start, end, x64):
    """On four Gaussians, and on one on the linear path from pure noise to the data, against the map in closed form.

    Down to 0 Heun's last step is Euler's; its error of h^2 leaves the order as it is.
    """
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)))
    if case == "linear":
        field = gaussian_linear_velocity(MEAN, STD)
        exact = jump(field, x, jnp.full(16, start), jnp.full(16, end))
    else:
        field = mixture_field(jnp.asarray(MODES), 0.4)
        exact = integrate(field, x, start, end)
    errors = [np.abs(solve(step, field, x, np.linspace(start, end, n + 1)) - exact).max() for n in (32, 64, 128)]
    measured = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(measured[-1] - order) < 0.2, measured


def test_solvers_look_at_the_instantaneous_field_only(x64):
    """u(x, t, s) away from s = t plays no part."""
    velocity = gaussian_velocity(MEAN, STD)
    spoilt = lambda x, t, s: velocity(x, t, s) + (t - s)[:, None]
    x, _, t = draw()
    for step in flow_map.SOLVERS.values():
        for s in (0.5 * t, 0 * t):
            np.testing.assert_array_equal(step(velocity, x, t, s), step(spoilt, x, t, s))


def test_edm_velocity_is_the_preconditioned_denoiser(x64):
    """u = (x - phi)/t with phi = c_skip x + c_out F(c_in x), the coefficients as EDM's table 1 has them."""
    sd = 0.5
    network = lambda x, t, s: jnp.sin(3 * x) + t[:, None] - s[:, None]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    t, s = jnp.geomspace(1e-4, 80, 6), jnp.geomspace(1e-5, 30, 6)
    variance = (t**2 + sd**2)[:, None]
    c_skip, c_out, c_in = sd**2 / variance, sd * t[:, None] / jnp.sqrt(variance), 1 / jnp.sqrt(variance)
    phi = c_skip * x + c_out * network(c_in * x, t, s)
    np.testing.assert_allclose(edm_velocity(network, sd)(x, t, s), (x - phi) / t[:, None], rtol=1e-10)
    np.testing.assert_allclose(extrapolate(edm_velocity(network, sd), x, t, s), phi, rtol=1e-10)


def test_edm_velocity_keeps_its_digits_at_small_times():
    """In float32 the quotient (x - phi)/t has lost all of them at t = 1e-6; the simplified form loses none."""
    sd, network = 0.5, lambda x, t, s: jnp.sin(3 * x)
    x, t = np.linspace(-1, 1, 64)[:, None], np.full(64, 1e-6)
    with jax.enable_x64(True):
        exact = np.asarray(edm_velocity(network, sd)(jnp.asarray(x), jnp.asarray(t), jnp.asarray(t)))
    x, t = jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)
    np.testing.assert_allclose(edm_velocity(network, sd)(x, t, t), exact, rtol=2e-6, atol=2e-6)
    phi = extrapolate(edm_velocity(network, sd), x, t, t)
    assert np.abs(np.asarray((x - phi) / t[:, None]) - exact).max() > 1e-2


def test_values_and_gradients_are_finite_at_the_ends():
    network = flow_network(2, (8, 8))
    ends = [(0.0, 0.0), (0.002, 0.0), (0.002, 0.002), (80.0, 80.0), (80.0, 0.0), (80.0, 79.0)]
    t, s = jnp.array(ends).T
    obs, x = jnp.ones((6, 3)), jnp.array(ends) + 0.3
    params = quick_jit(network.init)(jax.random.key(0), obs, x, t, s)

    def total(params, x, t, s):
        velocity = edm_velocity(lambda *args: network.apply(params, obs, *args), 0.5)
        return jnp.sum(jump(velocity, x, t, s) ** 2) + jnp.sum(extrapolate(velocity, x, t, s) ** 2)

    value, grads = quick_jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))(params, x, t, s)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, grads)))
