"""Weights from advantages, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtp_jax.guidance import GUIDANCE, advantage_weights, effective_sample_share, make_advantage, make_none

ADVANTAGE = jnp.array([-3.0, -1.0, 1.0, 3.0])  # mean 0, standard deviation sqrt(5)


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.0])
def test_weights_are_eq_14(eta):
    expected = np.exp(eta * np.array([0, 0, 1, 3]) / np.sqrt(5))
    np.testing.assert_allclose(advantage_weights(ADVANTAGE, eta), expected, rtol=1e-5)


def test_eta_zero_is_exactly_cloning():
    np.testing.assert_array_equal(advantage_weights(ADVANTAGE, jnp.float32(0)), np.ones(4))


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_scale_of_the_advantage_does_not_matter(scale):
    np.testing.assert_allclose(advantage_weights(scale * ADVANTAGE, 1.0), advantage_weights(ADVANTAGE, 1.0), rtol=1e-3)


def test_only_above_average_actions_gain():
    assert (advantage_weights(jnp.array([-5.0, -1.0, -2.0]), 3.0) == 1).all()


def test_equal_advantages_give_finite_weights():
    np.testing.assert_array_equal(advantage_weights(jnp.zeros(4), 1.0), np.ones(4))
    assert np.isfinite(advantage_weights(jnp.full(4, 2.0), 1.0)).all()


def test_weights_are_clipped():
    weights = advantage_weights(ADVANTAGE, 1000.0)
    np.testing.assert_array_equal(weights, [1, 1, 100, 100])
    np.testing.assert_array_equal(advantage_weights(ADVANTAGE, 1000.0, 7.0), [1, 1, 7, 7])
    np.testing.assert_array_equal(make_advantage(max_weight=7.0).weigh(ADVANTAGE, {"eta": 1000.0})[0], [1, 1, 7, 7])


def test_no_gradient_flows_through_a_weight():
    total = lambda advantage, eta: jnp.sum(advantage_weights(advantage, eta))  # noqa: E731
    by_advantage, by_eta = jax.grad(total, argnums=(0, 1))(ADVANTAGE, 1.0)
    assert (by_advantage == 0).all() and by_eta == 0


def test_effective_sample_share():
    """1 for equal weights, 1/B for a single one, (sum w)^2/(B sum w^2) between."""
    assert effective_sample_share(jnp.full(8, 3.0)) == 1
    assert effective_sample_share(jnp.array([0.0, 0, 5, 0])) == 0.25
    np.testing.assert_allclose(effective_sample_share(jnp.array([1.0, 3.0])), 16 / 20)


def test_members():
    assert set(GUIDANCE) == {"none", "advantage"}
    none, advantage = make_none(), make_advantage()
    assert none.needs == frozenset() and advantage.needs == {"advantage"}
    weights, metrics = none.weigh(ADVANTAGE, {})
    np.testing.assert_array_equal(weights, np.ones(4))
    assert metrics == {}
    weights, metrics = advantage.weigh(ADVANTAGE, {"eta": jnp.float32(1)})
    np.testing.assert_allclose(metrics["guidance/weight"], weights.mean())
    np.testing.assert_allclose(metrics["guidance/advantage_std"], np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(metrics["guidance/effective_share"], effective_sample_share(weights))
