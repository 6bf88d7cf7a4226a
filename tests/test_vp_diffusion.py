"""The variance-preserving chain: against direct application of Bayes' rule, and on data that are one point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import quick_jit, random_batch

from gtp_jax.declare import NoSettings
from gtp_jax.policies import vp_diffusion
from gtp_jax.policies.vp_diffusion import variance_preserving_chain
from gtp_jax.types import Network

POINT = np.array([0.7, -0.3])


def make(noise, num_steps, low=(-1e3, -1e3), high=(1e3, 1e3)):
    """The policy around a network without parameters, noise(x [*B, A], row number of the chain [*B])."""
    network = Network(
        init=lambda key, *inputs: (),
        apply=lambda params, obs, x, t, s: noise(x, jnp.round(t * num_steps).astype(int) - 1),
    )
    bounds = {"action_low": jnp.array(low), "action_high": jnp.array(high)}
    return vp_diffusion.make(NoSettings(), network=network, **bounds, num_steps=num_steps)


def to_point(num_steps, point=POINT):
    """The noise in x_i = sqrt(kept) point + sqrt(1 - kept) z, which an optimal network predicts for one point."""
    chain = variance_preserving_chain(num_steps)

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


def bayes(num_steps, i, x_i):
    """Mean and variance of x_{i-1} given x_i and x: the product of N(x_i; a x_{i-1}, b) and N(x_{i-1}; c x, d)."""
    chain = variance_preserving_chain(num_steps)
    kept, beta = np.append(1.0, chain.kept), float(chain.beta[i])
    a, b, c, d = np.sqrt(1 - beta), beta, np.sqrt(kept[i]), 1 - kept[i]
    precision = a**2 / b + 1 / d
    return (a * x_i / b + c * POINT[None] / d) / precision, 1 / precision


def path_of(num_steps, batch, temperature):
    """The points that the sampler passes through, the first draw first, where the network always predicts POINT."""

    @quick_jit
    def path():
        seen, predict = [], to_point(num_steps)
        policy = make(lambda x, index: (seen.append(x), predict(x, index))[1], num_steps)
        last = policy.sample((), jax.random.key(3), jnp.zeros((batch, 3)), num_steps, temperature)
        return [*seen, last]

    points = [np.asarray(point) for point in path()]
    assert len(points) == num_steps + 1
    np.testing.assert_allclose(points[-1], np.broadcast_to(POINT, (batch, 2)), rtol=1e-9)  # the last step goes to x
    return points


@pytest.mark.parametrize("num_steps", [2, 5])
def test_a_steps_mean_is_that_of_the_posterior(num_steps, x64):
    """Without noise (temperature 0, from 0) every step goes to the posterior's mean."""
    points = path_of(num_steps, 1, 0.0)
    for i in reversed(range(1, num_steps)):
        here, there = points[num_steps - 1 - i], points[num_steps - i]
        np.testing.assert_allclose(there, bayes(num_steps, i, here)[0], rtol=1e-9)


def test_a_steps_noise_has_the_posteriors_variance_and_is_new(x64):
    num_steps, batch = 4, 20_000
    points = path_of(num_steps, batch, 1.0)
    standardised = [points[0]]
    for i in reversed(range(1, num_steps)):
        mean, variance = bayes(num_steps, i, points[num_steps - 1 - i])
        standardised.append((points[num_steps - i] - mean) / np.sqrt(variance))
    draws = np.stack(standardised).transpose(0, 2, 1).reshape(2 * num_steps, batch)
    np.testing.assert_allclose(draws.mean(axis=1), np.zeros(8), atol=0.03)
    np.testing.assert_allclose(np.cov(draws), np.eye(8), atol=0.04)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_on_one_point_the_sampler_returns_it(num_steps):
    sample = quick_jit(make(to_point(num_steps), num_steps).sample, static_argnums=3)
    actions = sample((), jax.random.key(0), jnp.zeros((4, 6, 3)), num_steps)
    # One step divides what is left of |x| <= 4 after rounding, 1e-7 of it, by sqrt(kept) = 0.078.
    np.testing.assert_allclose(actions, np.broadcast_to(POINT, (4, 6, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("noise", "low", "high"),
    [(to_point, 0, 1e-8), (lambda num_steps: lambda x, index: jnp.zeros_like(x), 1.95, 2.05)],
    ids=["of one point", "zero"],
)
def test_the_loss_is_zero_on_one_point_and_has_the_noises_size_without_knowledge(noise, low, high):
    """A network that predicts 0 pays E|z|^2 = A."""
    batch = random_batch(20_000)._replace(action=np.broadcast_to(np.float32(POINT), (20_000, 2)))
    loss, metrics = quick_jit(make(noise(5), 5).loss)((), (), jax.random.key(0), batch, {}, 0)
    assert loss.shape == (20_000,) and low <= loss.mean() <= high
    np.testing.assert_allclose(metrics["policy/flow"], loss.mean(), rtol=1e-6)


def test_training_draws_every_step_of_the_chain_equally_often():
    @quick_jit
    def rows():
        seen = []
        policy = make(lambda x, index: (seen.append(index), x)[1], 5)
        policy.loss((), (), jax.random.key(0), random_batch(10_000), {}, 0)
        return seen[0]

    np.testing.assert_allclose(np.bincount(rows(), minlength=5) / 10_000, np.full(5, 0.2), atol=0.02)


def test_predictions_are_clipped_to_the_bounds():
    """A network that points far outside: every prediction and so the sample stays inside."""
    policy = make(to_point(5, np.array([9.0, -9.0])), 5, (-1.0, -0.5), (1.0, 0.25))
    actions = quick_jit(policy.sample, static_argnums=3)((), jax.random.key(0), jnp.zeros((7, 3)), 5)
    np.testing.assert_allclose(actions, np.broadcast_to([1.0, -0.5], (7, 2)), rtol=1e-6)


@pytest.mark.parametrize("asked", [1, 4, 6])
def test_another_number_of_steps_is_refused(asked):
    with pytest.raises(ValueError, match=f"built for 5 steps and cannot sample in {asked}.*policy.num_steps"):
        make(to_point(5), 5).sample((), jax.random.key(0), jnp.zeros((2, 3)), asked)
