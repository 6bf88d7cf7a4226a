"""Where members of the family must agree, they do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import draw, gaussian_velocity, halving, posterior_points, quick_jit

from gtp_jax.flow.map import edm_velocity, field_loss
from gtp_jax.flow.paths import LINEAR, VARIANCE_EXPLODING
from gtp_jax.flow.times import Times
from gtp_jax.policies.consistency import consistency_loss
from gtp_jax.policies.ctm import soft_consistency_loss
from gtp_jax.policies.gtp import trajectory_losses
from gtp_jax.policies.mean_flow import mean_flow_loss
from gtp_jax.policies.shortcut import self_consistency_loss

MEAN, STD = 0.3, 0.5


def network(theta):
    return lambda x, t, s: jnp.sin(theta[0] * x) + theta[1] * jnp.cos(x + jnp.log1p(t + 2 * s)[:, None])


def model(theta):
    """A velocity on the variance-exploding path that solves nothing: smooth, nonlinear, with two parameters."""
    return edm_velocity(network(theta), 0.5)


def plain(theta):
    """The same on the linear path."""
    return lambda x, t, s: jnp.sin(theta[0] * x) + theta[1] * jnp.cos(x + (t - 2 * s)[:, None])


THETA = np.array([1.3, 0.7])


def assert_same_loss(one, other, rtol=1e-11):
    """Losses [B] of theta: equal values, and equal derivatives by both parameters, example by example."""
    for f, g in ((one, other), (jax.jacobian(one), jax.jacobian(other))):
        a, b = (np.asarray(quick_jit(h)(THETA)) for h in (f, g))
        assert np.abs(b).max() > 1e-3
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def test_gtp_with_tau_zero_is_the_consistency_loss(x64):
    """The one written as a trajectory, the others as consistency models: ours, and as arXiv 2303.01469 writes it,
    |f(x_t, t) - sg f(x_u, u)|^2/(t - u) with f = c_skip x + c_out F.
    """
    x, z, t = draw()
    u, times = 0.9 * t, Times(t, 0.9 * t, jnp.zeros_like(t))

    def f(theta, t):
        variance, x_t = (t**2 + 0.25)[:, None], x + t[:, None] * z
        out = network(theta)(x_t / jnp.sqrt(variance), t, 0 * t)
        return 0.25 / variance * x_t + 0.5 * t[:, None] / jnp.sqrt(variance) * out

    for share in (1.0, 0.5):  # the target's own parameters, and others
        of_gtp = lambda theta, share=share: trajectory_losses(model(theta), model(share * theta), x, z, times)
        ours = lambda theta, share=share: consistency_loss(model(theta), model(share * theta), x, z, t, u)
        theirs = lambda theta, share=share: f(theta, t) - jax.lax.stop_gradient(f(share * theta, u))
        assert_same_loss(lambda theta, of_gtp=of_gtp: of_gtp(theta).consistency, ours)
        assert_same_loss(lambda theta, theirs=theirs: jnp.sum(theirs(theta) ** 2, -1) / (t - u), ours, rtol=1e-8)


def test_gtps_flow_term_is_the_denoisers_loss(x64):
    x, z, t = draw()
    assert_same_loss(
        lambda theta: trajectory_losses(model(theta), model(theta), x, z, Times(t, 0.9 * t, 0.5 * t)).flow,
        lambda theta: t**2 * field_loss(model(theta), VARIANCE_EXPLODING, x, z, t),
        rtol=1e-9,
    )


def test_mean_flow_at_s_equal_to_t_is_flow_matching(x64):
    x, z, t = draw()
    assert_same_loss(
        lambda theta: mean_flow_loss(plain(theta), x, z, t, t), lambda theta: field_loss(plain(theta), LINEAR, x, z, t)
    )


def test_shortcut_without_a_step_is_flow_matching_towards_its_target(x64):
    """At d = 0 both half jumps are the target's field; with the conditional field in its place it is flow matching."""
    x, z, t = draw()
    straight = lambda *_: z - x
    assert_same_loss(
        lambda theta: self_consistency_loss(plain(theta), straight, x, z, t, jnp.zeros_like(t)),
        lambda theta: field_loss(plain(theta), LINEAR, x, z, t),
    )
    values = quick_jit(lambda d: self_consistency_loss(plain(THETA), straight, x, z, t, jnp.full_like(t, d)))
    limit = field_loss(plain(THETA), LINEAR, x, z, t)
    assert abs(halving(lambda d: values(d) - limit, 0.02 * 0.5 ** np.arange(6))[-1] - 2) < 0.03
    own = self_consistency_loss(plain(THETA), plain(THETA), x, z, t, jnp.zeros_like(t))
    np.testing.assert_allclose(own, np.zeros(48), atol=1e-20)


def test_gtps_and_ctms_consistency_become_their_instantaneous_losses(x64):
    """With u = tau nothing is followed but the point at u: loss/(t - u) tends to |u(x_t, t, t) - z|^2, GTP's own flow
    loss over t^2; CTM's to |u(x_t, t, t) - f|^2, f its teacher's field, through a P that stays put.
    """
    x, z, t = draw()
    still = lambda x, t, s: jnp.zeros_like(x)
    teacher = gaussian_velocity(MEAN, STD)

    def of_gtp(gap):
        return trajectory_losses(model(THETA), still, x, z, Times(t, t - gap, t - gap)).consistency / gap

    def of_ctm(gap):
        return soft_consistency_loss(model(THETA), still, teacher, x, z, Times(t, t - gap, t - gap)) / gap

    x_t = x + t[:, None] * z
    field = jnp.sum((model(THETA)(x_t, t, t) - teacher(x_t, t, t)) ** 2, axis=-1)
    for loss, limit in ((of_gtp, field_loss(model(THETA), VARIANCE_EXPLODING, x, z, t)), (of_ctm, field)):
        factors = halving(lambda gap, loss=loss, limit=limit: loss(gap) - limit, 0.02 * 0.5 ** np.arange(7))
        assert abs(factors[-1] - 2) < 0.05, factors


def ve_mean_flow_loss(velocity, x, z, t, s):
    """Mean flow's |u - sg(v - (t - s) du/dt)|^2 on the variance-exploding path, where v = z."""
    point = x + t[:, None] * z
    u, rate = jax.jvp(velocity, (point, t, s), (z, jnp.ones_like(t), jnp.zeros_like(s)))
    return jnp.sum((u - jax.lax.stop_gradient(z - (t - s)[:, None] * rate)) ** 2, axis=-1)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_gtp_meets_mean_flow_at_first_order_in_the_gap(share, x64):
    """Per pair and with itself as its target, GTP's gradient is (t - s) times mean flow's as u -> t (without the
    factor 1/(t - u) in front of GTP's loss: (t - s)(t - u) times).
    """
    x, z, t = draw()
    s = share * t

    @quick_jit
    def of_gtp(gap):
        def loss(theta):
            return trajectory_losses(model(theta), model(theta), x, z, Times(t, t - gap, s)).consistency

        return jax.jacobian(loss)(THETA) / (t - s)[:, None]

    of_mean_flow = quick_jit(jax.jacobian(lambda theta: ve_mean_flow_loss(model(theta), x, z, t, s)))(THETA)
    factors = halving(lambda gap: of_gtp(gap) - of_mean_flow, 0.01 * 0.5 ** np.arange(7))
    assert abs(factors[-1] - 2) < 0.05, factors
    difference = np.abs(of_gtp(1e-5) - of_mean_flow).max()
    assert difference < 1e-3 * np.abs(of_mean_flow).max()


def test_mean_flow_on_this_path_has_its_minimum_at_the_truth_too(x64):
    """What the comparison above compares with is right: its conditional mean vanishes at the true map."""
    x, z, weight = posterior_points(VARIANCE_EXPLODING, jnp.array([-1.0, 0.2, 2.0]), 1.0, MEAN, STD)
    t = jnp.ones(len(x))

    def loss(constant):
        velocity = lambda x, t, s: gaussian_velocity(MEAN, STD)(x, t, s) + constant
        return ve_mean_flow_loss(velocity, x, z, t, 0.3 * t)

    gradient = weight * quick_jit(jax.jacobian(loss))(0.0).reshape(weight.shape)
    np.testing.assert_allclose(gradient.sum(axis=1), np.zeros(3), atol=1e-10)
