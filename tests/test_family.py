"""The truth is the minimum of every member's loss, on data whose flow map is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    gaussian_linear_velocity,
    gaussian_velocity,
    halving,
    posterior_points,
    quadrature_points,
    quick_jit,
)

from gtp_jax.flow.map import euler_step, field_loss, heun_step, jump
from gtp_jax.flow.paths import LINEAR, VARIANCE_EXPLODING
from gtp_jax.flow.times import Times
from gtp_jax.policies.ctm import soft_consistency_loss
from gtp_jax.policies.gtp import trajectory_losses
from gtp_jax.policies.mean_flow import mean_flow_loss
from gtp_jax.policies.shortcut import self_consistency_loss

MEAN, STD = 0.3, 0.5


def at_half(loss):
    """A loss of a jump from t to t/2."""
    return lambda velocity, truth, x, z, t: loss(velocity, truth, x, z, t, 0.5 * t)


def exact_step(velocity, x, t, s):
    return jump(velocity, x, t, s)


def ctm_loss(velocity, truth, x, z, t):
    return soft_consistency_loss(velocity, truth, truth, x, z, Times(t, 0.7 * t, 0.2 * t), step=exact_step)


# Each loss as (trained velocity, true one, x, z, t) -> [B].
MEMBERS = {
    "diffusion": (
        VARIANCE_EXPLODING,
        lambda velocity, truth, x, z, t: field_loss(velocity, VARIANCE_EXPLODING, x, z, t),
    ),
    "flow_matching": (LINEAR, lambda velocity, truth, x, z, t: field_loss(velocity, LINEAR, x, z, t)),
    "gtp, flow": (
        VARIANCE_EXPLODING,
        at_half(lambda velocity, truth, x, z, t, s: trajectory_losses(velocity, truth, x, z, Times(t, s, s)).flow),
    ),
    "ctm": (VARIANCE_EXPLODING, ctm_loss),
    "shortcut": (LINEAR, lambda velocity, truth, x, z, t: self_consistency_loss(velocity, truth, x, z, t, 0.3 * t)),
    "mean_flow": (LINEAR, at_half(lambda velocity, truth, x, z, t, s: mean_flow_loss(velocity, x, z, t, s))),
    "mean_flow, s = 0": (
        LINEAR,
        lambda velocity, truth, x, z, t: mean_flow_loss(velocity, x, z, t, jnp.zeros_like(t)),
    ),
}
EVERY_MEMBER = pytest.mark.parametrize("name", MEMBERS)
EVERY_TIME = pytest.mark.parametrize("t", [0.05, 0.6, 1.0])


def truth_on(path, mean=MEAN, std=STD):
    return (gaussian_velocity if path is VARIANCE_EXPLODING else gaussian_linear_velocity)(mean, std)


def perturbed(path, theta):
    """The truth at theta = 0: other data's mean and deviation, an offset, and a slope in x and in s."""

    def velocity(x, t, s):
        truth = truth_on(path, MEAN + theta[0], STD + theta[1])(x, t, s)
        return truth + theta[2] + theta[3] * x + theta[4] * jnp.expand_dims(s, -1)

    return velocity


@functools.partial(quick_jit, static_argnums=0)
def expected_gradient(name, theta, t):
    """d/dtheta E[loss] over x ~ N(MEAN, STD^2) and z ~ N(0, 1); only the trained velocity is differentiated."""
    path, loss = MEMBERS[name]
    x, z, weight = quadrature_points(MEAN, STD)

    def expected(theta):
        return weight @ loss(perturbed(path, theta), truth_on(path), x, z, jnp.full(len(x), t))

    return jax.grad(expected)(theta)


@EVERY_TIME
@EVERY_MEMBER
def test_the_expected_gradient_vanishes_at_the_truth(name, t, x64):
    assert np.abs(expected_gradient(name, jnp.zeros(5), t)).max() < 1e-10
    for i in range(4):
        # The noise of the linear path's t = 1 knows nothing of the data's deviation.
        if i != 1 or t < 1:
            assert np.abs(expected_gradient(name, jnp.zeros(5).at[i].set(0.1), t)).max() > 1e-6, i


@functools.partial(quick_jit, static_argnums=0)
def mean_residual(name, t, wrong):
    """E[residual | x_t] up to a factor, at five x_t: half the gradient of E[loss | x_t] by a constant added at x_t."""
    path, loss = MEMBERS[name]
    x_t = jnp.array([-2.0, -0.4, 0.0, 0.5, 1.7])
    x, z, weight = posterior_points(path, x_t, t, MEAN, STD)  # [5 N, 1], [5 N, 1], [5, N]

    def expected(constant):
        def velocity(x, t, s):
            return truth_on(path, MEAN + wrong)(x, t, s) + jnp.repeat(constant, weight.shape[1])[:, None]

        losses = loss(velocity, truth_on(path), x, z, jnp.full(len(x), t))
        return jnp.sum(weight * losses.reshape(weight.shape))

    return 0.5 * jax.grad(expected)(jnp.zeros(5))


@EVERY_TIME
@EVERY_MEMBER
def test_the_conditional_mean_of_the_residual_vanishes_at_the_truth(name, t, x64):
    assert np.abs(mean_residual(name, t, 0.0)).max() < 1e-10
    assert np.abs(mean_residual(name, t, 0.1)).max() > 1e-5


@pytest.mark.parametrize("t", [0.05, 1.0])
def test_exact_targets_leave_no_residual_at_all(t, x64):
    """CTM with an exact teacher and the average of exact half jumps are the truth itself, not on average only."""
    x, z, _ = quadrature_points(MEAN, STD)
    for name in ("ctm", "shortcut"):
        path, loss = MEMBERS[name]
        assert loss(truth_on(path), truth_on(path), x, z, jnp.full(len(x), t)).max() < 1e-20
        assert loss(truth_on(path, std=STD + 0.1), truth_on(path), x, z, jnp.full(len(x), t)).max() > 1e-4


@quick_jit
def gradient_of_consistency(gap, theta, t, tau):
    """Of GTP's consistency loss; with tau = 0 it is that of consistency models (tests/test_family_limits.py)."""
    x, z, weight = quadrature_points(MEAN, STD)
    times = Times(*(jnp.full(len(x), time) for time in (t, t - gap, tau)))

    def loss(theta):
        trained = perturbed(VARIANCE_EXPLODING, theta)
        return weight @ trajectory_losses(trained, truth_on(VARIANCE_EXPLODING), x, z, times).consistency

    return jax.grad(loss)(theta)[:4]


@pytest.mark.parametrize(("t", "tau"), [(0.2, 0.0), (1.0, 0.0), (1.0, 0.3), (5.0, 0.0), (5.0, 1.0)])
def test_the_bias_of_the_consistency_loss_is_of_first_order_in_the_gap(t, tau, x64):
    """Its expected gradient at the truth; O((t - u)^2) for the pair, before the factor 1/(t - u)."""
    factors = halving(lambda gap: gradient_of_consistency(gap, jnp.zeros(5), t, tau), 0.05 * t * 0.5 ** np.arange(6))
    assert abs(factors[-1] - 2) < 0.03, factors
    wrong = jnp.zeros(5).at[1].set(0.1)
    bias, error = (gradient_of_consistency(0.05 * t * 0.5**5, theta, t, tau) for theta in (jnp.zeros(5), wrong))
    assert np.abs(bias).max() < 0.1 * np.abs(error).max()


@pytest.mark.parametrize(("step", "order"), [(euler_step, 3), (heun_step, 5)], ids=["euler", "heun"])
def test_the_bias_of_ctm_is_that_of_its_teachers_step(step, order, x64):
    """|Phi_step - Phi*|^2/(t - u): a local error of h^2 or h^3, squared and divided by h."""
    x, z, weight = quadrature_points(MEAN, STD)
    truth, t = truth_on(VARIANCE_EXPLODING), jnp.full(len(x), 1.0)

    def loss(gap):
        times = Times(t, t - gap, 0.1 * t)
        return weight @ soft_consistency_loss(truth, truth, truth, x, z, times, step=step)

    factors = halving(loss, 0.2 * 0.5 ** np.arange(6))
    assert abs(np.log2(factors[-1]) - order) < 0.1, factors
