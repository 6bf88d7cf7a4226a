"""The Gaussian policy: its likelihood against SciPy's, its maximum, its samples."""

import jax
import jax.numpy as jnp
import numpy as np
from agents import BATCH, compiled_policy
from oracles import quick_jit, random_batch
from scipy import stats

from gtp_jax.declare import NoSettings
from gtp_jax.policies import gaussian
from gtp_jax.policies.gaussian import negative_log_likelihood
from gtp_jax.types import Network


def make(action_dim, bound=1e6):
    """The policy around a network whose output is its parameters, the mean [A] of every observation."""
    network = Network(
        init=lambda key, *inputs: jnp.zeros(action_dim),
        apply=lambda params, obs, x, t, s: jnp.broadcast_to(params, x.shape),
    )
    bounds = bound * jnp.ones(action_dim)
    policy = gaussian.make(NoSettings(), network=network, action_low=-bounds, action_high=bounds)
    return policy._replace(sample=quick_jit(policy.sample, static_argnums=3))


def test_the_likelihood_is_scipys(x64):
    mean, log_std, x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    expected = -stats.norm.logpdf(x, mean, np.exp(log_std)).sum(axis=-1)
    got = negative_log_likelihood(*(jnp.asarray(value) for value in (mean, log_std, x)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_the_minimum_is_the_samples_mean_and_deviation(x64):
    """Through the policy's own loss: the gradient vanishes there, and does not beside it."""
    batch = random_batch(64)
    action = np.asarray(batch.action, float)
    batch = batch._replace(action=jnp.asarray(action))
    policy = make(2)
    gradient = quick_jit(jax.grad(lambda params: policy.loss(params, (), None, batch, {}, 0)[0].mean()))
    truth = {"mean": jnp.asarray(action.mean(axis=0)), "log_std": jnp.asarray(np.log(action.std(axis=0)))}
    assert all(np.abs(leaf).max() < 1e-12 for leaf in jax.tree.leaves(gradient(truth)))
    beside = jax.tree.map(lambda leaf: leaf + 0.01, truth)
    assert all((leaf > 1e-3).all() for leaf in jax.tree.leaves(gradient(beside)))


def test_samples_have_the_mean_and_deviation():
    policy, obs = make(2), jnp.zeros((40_000, 3))
    params = {"mean": jnp.array([0.3, -0.2]), "log_std": jnp.log(jnp.array([0.5, 0.1]))}
    actions = np.asarray(policy.sample(params, jax.random.key(0), obs, 1), np.float64)
    np.testing.assert_allclose(actions.mean(axis=0), [0.3, -0.2], atol=0.01)
    np.testing.assert_allclose(actions.std(axis=0), [0.5, 0.1], rtol=0.02)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.02
    assert stats.kstest((actions[:, 0] - 0.3) / 0.5, "norm").pvalue > 0.001
    half = np.asarray(policy.sample(params, jax.random.key(0), obs, 7, 0.5), np.float64)
    np.testing.assert_allclose(half.std(axis=0), [0.25, 0.05], rtol=0.02)


def test_the_mean_sees_the_observation_and_not_the_action():
    policy, params = compiled_policy("gaussian")
    mean = policy.sample(params, jax.random.key(0), 0.1 * BATCH.obs, 1, 0.0)
    assert len(np.unique(mean, axis=0)) == 16
    loss, _ = policy.loss(params, (), jax.random.key(0), BATCH._replace(obs=0.1 * BATCH.obs), {}, 0)
    expected = negative_log_likelihood(mean, jnp.zeros((16, 2)), BATCH.action)  # the first deviation is 1
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_deviation_is_bounded():
    policy = make(1)
    for log_std, bound in zip((-9.0, 9.0), gaussian.LOG_STD_BOUNDS, strict=True):
        params = {"mean": jnp.zeros(1), "log_std": jnp.array([log_std])}
        actions = policy.sample(params, jax.random.key(0), jnp.zeros((10_000, 1)), 1)
        np.testing.assert_allclose(np.std(actions), np.exp(bound), rtol=0.03)
