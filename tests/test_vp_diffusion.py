"""The variance-preserving chain: against direct application of Bayes' rule, and on data that are one point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import quick_jit, random_batch

from gtp_jax.agent.networks import flow_network
from gtp_jax.policies import vp_diffusion
from gtp_jax.policies.vp_diffusion import variance_preserving_chain
from gtp_jax.types import Network

WIDE = 1e3 * jnp.ones(2)  # bounds that clip nothing


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def make(noise, num_steps, low=-WIDE, high=WIDE):
    """The policy around a network without parameters, noise(x [*B, A], row number of the chain [*B])."""
    network = Network(
        init=lambda key, *inputs: (),
        apply=lambda params, obs, x, t, s: noise(x, jnp.round(t * num_steps).astype(int) - 1),
    )
    return vp_diffusion.make(network=network, action_low=low, action_high=high, num_steps=num_steps)


def to_point(chain, point):
    """The noise in x_i = sqrt(kept) point + sqrt(1 - kept) z, which is what an optimal network says of one point."""

    def noise(x, index):
        kept = jnp.expand_dims(chain.kept[index], -1)
        return (x - jnp.sqrt(kept) * jnp.broadcast_to(point, x.shape)) / jnp.sqrt(1 - kept)

    return noise


@pytest.mark.parametrize("num_steps", [1, 5, 50])
def test_the_chain_is_a_discretised_integral(num_steps, x64):
    """kept_i = exp(-INT_0^{i/T} beta(r) dr) for beta(r) linear from 0.1 to 10; it is the product of 1 - beta."""
    chain = variance_preserving_chain(num_steps)
    r = np.arange(1, num_steps + 1) / num_steps
    np.testing.assert_allclose(chain.kept, np.exp(-0.1 * r - 0.5 * 9.9 * r**2), rtol=1e-12)
    np.testing.assert_allclose(chain.kept, np.cumprod(1 - np.asarray(chain.beta)), rtol=1e-12)
    assert ((chain.beta > 0) & (chain.beta < 1)).all()


def test_noising_step_by_step_is_noising_at_once():
    """x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) z, repeated, has the mean and deviation of `Chain.noise`."""
    chain, rng = variance_preserving_chain(4), np.random.default_rng(0)
    start = np.array([0.7, -0.4])
    x = np.broadcast_to(start, (50_000, 2))
    for i in range(4):
        beta = float(chain.beta[i])
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
        once = chain.noise(jnp.broadcast_to(start, x.shape), jnp.asarray(rng.normal(size=x.shape)), jnp.full(50_000, i))
        np.testing.assert_allclose(x.mean(axis=0), np.mean(once, axis=0), atol=0.02)
        np.testing.assert_allclose(x.std(axis=0), np.std(once, axis=0), atol=0.02)


def bayes(chain, i, x_i, clean):
    """Mean and variance of x_{i-1} given x_i and x: the product of N(x_i; a x_{i-1}, b) and N(x_{i-1}; c x, d)."""
    kept, beta = np.append(1.0, chain.kept), float(chain.beta[i])
    a, b, c, d = np.sqrt(1 - beta), beta, np.sqrt(kept[i]), 1 - kept[i]
    precision = a**2 / b + 1 / d
    return (a * x_i / b + c * clean / d) / precision, 1 / precision


def path_of(num_steps, clean, batch, temperature):
    """The points that the sampler passes through, the first draw first, where the network always says `clean`."""
    chain, seen = variance_preserving_chain(num_steps), []
    predict = to_point(chain, clean)

    def noise(x, index):
        seen.append(np.asarray(x))
        return predict(x, index)

    last = make(noise, num_steps).sample((), jax.random.key(3), jnp.zeros((batch, 3)), num_steps, temperature)
    return chain, [*seen, np.asarray(last)]


@pytest.mark.parametrize("num_steps", [2, 5])
def test_a_steps_mean_is_that_of_the_posterior(num_steps, x64):
    """Without noise (temperature 0, from 0) every step goes to the posterior's mean; the last one to x itself."""
    clean = jnp.array([0.7, -0.3])
    chain, points = path_of(num_steps, clean, 1, 0.0)
    assert len(points) == num_steps + 1
    for i in reversed(range(1, num_steps)):
        here, there = points[num_steps - 1 - i], points[num_steps - i]
        np.testing.assert_allclose(there, bayes(chain, i, here, np.asarray(clean)[None])[0], rtol=1e-9)
    np.testing.assert_allclose(points[-1], clean[None], rtol=1e-9)


def test_a_steps_noise_has_the_posteriors_variance_and_is_new(x64):
    clean, num_steps, batch = jnp.array([0.7, -0.3]), 4, 20_000
    chain, points = path_of(num_steps, clean, batch, 1.0)
    standardised = [points[0]]
    for i in reversed(range(1, num_steps)):
        mean, variance = bayes(chain, i, points[num_steps - 1 - i], np.asarray(clean)[None])
        standardised.append((points[num_steps - i] - mean) / np.sqrt(variance))
    assert len(standardised) == num_steps
    draws = np.stack(standardised).transpose(0, 2, 1).reshape(2 * num_steps, batch)
    np.testing.assert_allclose(draws.mean(axis=1), np.zeros(8), atol=0.03)
    np.testing.assert_allclose(np.cov(draws), np.eye(8), atol=0.04)
    np.testing.assert_allclose(points[-1], np.broadcast_to(clean, (batch, 2)), rtol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_on_one_point_the_sampler_returns_it(num_steps):
    point = jnp.array([0.25, -0.5])
    made = make(to_point(variance_preserving_chain(num_steps), point), num_steps)
    sample = quick_jit(made.sample, static_argnums=3)
    actions = sample((), jax.random.key(0), jnp.zeros((4, 6, 3)), num_steps)
    # One step divides what is left of |x| <= 4 after rounding, 1e-7 of it, by sqrt(kept) = 0.078.
    np.testing.assert_allclose(actions, np.broadcast_to(point, (4, 6, 2)), atol=6e-6)
    cold = [sample((), jax.random.key(seed), jnp.zeros((6, 3)), num_steps, 0.0) for seed in (0, 1)]
    np.testing.assert_array_equal(*cold)


def test_the_loss_is_zero_on_one_point_and_has_the_noises_size_without_knowledge():
    """A network that says 0 pays E|z|^2 = A."""
    point = jnp.array([0.25, -0.5])
    batch = random_batch(20_000)._replace(action=jnp.broadcast_to(point, (20_000, 2)))
    for noise, low, high in (
        (to_point(variance_preserving_chain(5), point), 0, 1e-8),
        (lambda x, index: jnp.zeros_like(x), 1.95, 2.05),
    ):
        loss, metrics = make(noise, 5).loss((), (), jax.random.key(0), batch, {}, 0)
        assert loss.shape == (20_000,)
        assert low <= loss.mean() <= high
        np.testing.assert_allclose(metrics["policy/flow"], loss.mean(), rtol=1e-6)


def test_training_draws_every_step_of_the_chain_equally_often():
    seen = []

    def noise(x, index):
        seen.append(np.asarray(index))
        return x

    batch = random_batch(10_000)
    make(noise, 5).loss((), (), jax.random.key(0), batch, {}, 0)
    np.testing.assert_allclose(np.bincount(seen[0], minlength=5) / 10_000, np.full(5, 0.2), atol=0.02)


def test_predictions_are_clipped_to_the_bounds():
    """A network that points far outside: every prediction and so the sample stays inside."""
    low, high = jnp.array([-1.0, -0.5]), jnp.array([1.0, 0.25])
    outside = to_point(variance_preserving_chain(5), jnp.array([9.0, -9.0]))
    actions = make(outside, 5, low, high).sample((), jax.random.key(0), jnp.zeros((7, 3)), 5)
    np.testing.assert_allclose(actions, np.broadcast_to([1.0, -0.5], (7, 2)), rtol=1e-6)


@pytest.mark.parametrize("asked", [1, 4, 6])
def test_another_number_of_steps_is_refused(asked):
    made = vp_diffusion.make(
        network=flow_network(2, (8,), time_scale="linear"), action_low=-WIDE, action_high=WIDE, num_steps=5
    )
    with pytest.raises(ValueError, match=f"built for 5 steps and cannot sample in {asked}.*policy.num_steps"):
        made.sample((), jax.random.key(0), jnp.zeros((2, 3)), asked)
