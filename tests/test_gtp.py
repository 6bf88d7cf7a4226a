"""Generative trajectory policies: the two losses example by example, and the policy around them."""

import jax
import jax.numpy as jnp
import numpy as np
from agents import BATCH, compiled_policy
from oracles import gaussian_velocity, point_velocity, quick_jit

from gtp_jax.agent.networks import flow_network
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.times import Schedule, Times
from gtp_jax.policies import gtp
from gtp_jax.policies.gtp import trajectory_losses

MEAN, STD = 0.3, 0.5
losses = quick_jit(trajectory_losses, static_argnums=(0, 1), static_argnames="event_ndim")


def draw(shape=(64, 3), num_intervals=10):
    """Data, noise and times t > u >= tau on a grid, drawn by NumPy."""
    rng = np.random.default_rng(0)
    points = np.append(Schedule().at(np.arange(num_intervals) / num_intervals), 0.0)
    index = rng.integers(num_intervals, size=shape[0])
    last = rng.integers(index + 1, num_intervals + 1)
    times = Times(*(jnp.asarray(points[i]) for i in (index, index + 1, last)))
    return jnp.asarray(0.4 * rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape)), times


def test_equals_a_naive_implementation_example_by_example(x64):
    """One example, one call at a time, straight from eq. 17 and 18."""
    velocity, target = gaussian_velocity(MEAN, STD), gaussian_velocity(-0.1, 0.8)
    x, z, times = draw()
    terms = losses(velocity, target, x, z, times)

    @quick_jit
    def naive(x, z, t, u, tau):
        x_t, x_u = x + t * z, x + u * z
        arrived = x_t + (tau - t) * velocity(x_t, t, tau)
        followed = x_u + (tau - u) * target(x_u, u, tau)
        denoised = x_t - t * velocity(x_t, t, t)
        return ((arrived - followed) ** 2).sum() / (t - u), ((x - denoised) ** 2).sum()

    expected = np.array([naive(x[i], z[i], *(time[i] for time in times)) for i in range(16)])
    np.testing.assert_allclose(np.stack(terms, axis=1)[:16], expected, rtol=1e-10)


def test_both_terms_are_exactly_zero_on_one_point():
    """Where all data are one point the score approximation is the true field. Dyadic numbers keep float32 exact."""
    x, z = jnp.full((6, 2), 0.25), jnp.array([[1.0, -0.5], [2, 3], [0.5, 0.75], [-1, 4], [1, 1], [-2, 0]])
    times = Times(*jnp.array([[64.0, 8, 4, 2, 0.5, 0.25], [16.0, 4, 2, 0.5, 0.25, 0], [4.0, 4, 0, 0.5, 0, 0]]))
    terms = losses(point_velocity(0.25), point_velocity(0.25), x, z, times)
    np.testing.assert_array_equal(terms.consistency, np.zeros(6))
    np.testing.assert_array_equal(terms.flow, np.zeros(6))
    assert (losses(point_velocity(0.0), point_velocity(0.0), x, z, times).flow > 0).all()


def test_a_callable_that_knows_of_one_batch_axis_only():
    """What other codebases pass: no extra axes reach it, and its conditioning is closed over."""
    x, z, times = draw()
    obs, matrix = (np.random.default_rng(1).normal(size=size).astype(np.float32) for size in ((64, 5), (10, 3)))

    def velocity(x, t, s):
        assert x.shape == (64, 3) and t.shape == s.shape == (64,)
        return jnp.concatenate([obs, x, t[:, None], s[:, None]], axis=1) @ matrix

    flow = quick_jit(lambda: trajectory_losses(velocity, velocity, x, z, times).flow)()
    naive = flow_map.extrapolate(velocity, x + times.t[:, None] * z, times.t, times.t)
    np.testing.assert_allclose(flow, jnp.sum((x - naive) ** 2, -1), rtol=1e-4)


def test_the_policys_loss_is_eq_19():
    policy, params = compiled_policy()

    def loss(lambda_flow, lambda_consistency=1.0):
        hparams = {"lambda_flow": jnp.float32(lambda_flow), "lambda_consistency": jnp.float32(lambda_consistency)}
        return policy.loss(params, params, jax.random.key(1), BATCH, hparams, jnp.int32(0))

    (without, metrics), (with_flow, _), (flow_alone, _) = loss(0.0), loss(2.0), loss(1.0, 0.0)
    assert without.shape == BATCH.reward.shape
    np.testing.assert_allclose(without.mean(), metrics["policy/consistency"], rtol=1e-5)
    np.testing.assert_allclose((with_flow - without).mean() / 2, metrics["policy/flow"], rtol=1e-4)
    np.testing.assert_allclose(flow_alone.mean(), metrics["policy/flow"], rtol=1e-5)
    np.testing.assert_allclose(loss(0.0, 3.0)[0], 3 * without, rtol=1e-5)


def test_the_sampler_follows_the_exact_map_onto_the_data(monkeypatch):
    """With the closed-form map in the network's place, samples have the data's mean and deviation for every K."""
    monkeypatch.setattr(flow_map, "edm_velocity", lambda network, sigma_data: gaussian_velocity(0.1, 0.2))
    bounds = {"action_low": jnp.array([-9.0]), "action_high": jnp.array([9.0])}
    policy = gtp.make(gtp.Settings(), network=flow_network(1), **bounds, curriculum_updates=8)
    sample = quick_jit(policy.sample, static_argnums=3)
    for num_steps in (1, 2, 5):
        actions = np.asarray(sample({}, jax.random.key(0), np.zeros((20_000, 3)), num_steps))
        assert abs(actions.mean() - 0.1) < 0.006 and abs(actions.std() - 0.2) < 0.004
    # The noise that a sampler starts from has mean 0, not that of the data: what the exact map makes of that.
    expected = 0.1 * (1 - 0.2 / np.hypot(gtp.Settings().sigma_max, 0.2))
    np.testing.assert_allclose(sample({}, jax.random.key(0), np.zeros((20_000, 3)), 5, 0.0), expected, atol=1e-5)
