"""Weights from advantages, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtp_jax.agent.guidance import (
    GUIDANCE,
    advantage_weights,
    best_of,
    conditioned,
    effective_sample_share,
    exponential_weights,
    filter_weights,
    normalised_q_loss,
    softmax_of,
    told,
    unnormalised_weights,
)
from gtp_jax.types import Batch, Policy

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
    for name, low in (("advantage", 1), ("exponential", 0), ("unnormalised", 0)):
        weights, _ = GUIDANCE[name]().weigh(ADVANTAGE, {"eta": jnp.float32(1000)})
        np.testing.assert_array_equal(weights, [low, low, 100, 100])


def test_no_gradient_flows_through_a_weight():
    for weights in (advantage_weights, exponential_weights, unnormalised_weights, filter_weights):
        total = lambda advantage, eta, weights=weights: jnp.sum(weights(advantage, eta))
        by_advantage, by_eta = jax.grad(total, argnums=(0, 1))(ADVANTAGE, 1.0)
        assert (by_advantage == 0).all() and by_eta == 0


def test_effective_sample_share():
    """1 for equal weights, 1/B for a single one, (sum w)^2/(B sum w^2) between."""
    assert effective_sample_share(jnp.full(8, 3.0)) == 1
    assert effective_sample_share(jnp.array([0.0, 0, 5, 0])) == 0.25
    np.testing.assert_allclose(effective_sample_share(jnp.array([1.0, 3.0])), 16 / 20)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.5])
def test_the_other_weights_in_closed_form(eta):
    """Eq. 12 over the standard deviation; AWR's and IQL's exponential as it is; CRR's filter, whatever eta."""
    advantage = np.array([-3.0, -1.0, 1.0, 3.0])
    np.testing.assert_allclose(exponential_weights(ADVANTAGE, eta), np.exp(eta * advantage / np.sqrt(5)), rtol=1e-5)
    np.testing.assert_allclose(unnormalised_weights(ADVANTAGE, eta), np.exp(eta * advantage), rtol=1e-5)
    np.testing.assert_array_equal(filter_weights(ADVANTAGE, eta), [0, 0, 1, 1])
    np.testing.assert_array_equal(filter_weights(jnp.zeros(3), eta), np.zeros(3))  # "greater", not "at least"
    np.testing.assert_array_equal(unnormalised_weights(ADVANTAGE, 1000.0, 7.0), [0, 0, 7, 7])
    np.testing.assert_array_equal(exponential_weights(ADVANTAGE, 1000.0, 7.0), [0, 0, 7, 7])


def test_members():
    """What each asks for; weights and metrics of the weighted ones."""
    functions = {
        "advantage": advantage_weights,
        "exponential": exponential_weights,
        "unnormalised": unnormalised_weights,
        "filter": filter_weights,
    }
    assert set(GUIDANCE) == {"none", "q", "condition", *functions}
    for name in ("none", "q"):
        guidance = GUIDANCE[name]()
        assert not guidance.needs_advantage
        weights, metrics = guidance.weigh(ADVANTAGE, {"eta": jnp.float32(1)})
        np.testing.assert_array_equal(weights, np.ones(4))
        assert metrics == {}
    none, q_term = GUIDANCE["none"](), GUIDANCE["q"]()
    assert none.improve is None and not none.needs_critic
    assert q_term.improve is not None and q_term.needs_critic
    for name, function in functions.items():
        guidance = GUIDANCE[name]()
        assert guidance.needs_advantage and guidance.needs_critic and guidance.improve is None
        weights, metrics = guidance.weigh(ADVANTAGE, {"eta": jnp.float32(1)})
        np.testing.assert_array_equal(weights, function(ADVANTAGE, jnp.float32(1)))
        np.testing.assert_allclose(metrics["guidance/weight"], weights.mean(), rtol=1e-6)
        np.testing.assert_allclose(metrics["guidance/advantage_std"], np.sqrt(5), rtol=1e-6)
        np.testing.assert_allclose(metrics["guidance/effective_share"], effective_sample_share(weights))


Q = jnp.array([[1.0, -2.0, 5.0], [-10.0, 20.0, 30.0]])  # two critics, three actions; mean |Q| is 8/3 and 20


def test_the_q_term_is_one_critic_over_the_scale_of_the_other():
    """-Q_i / mean |Q_j|, i and j drawn at random: over keys either critic plays either role, about equally often."""
    losses = np.stack([normalised_q_loss(jax.random.key(seed), Q) for seed in range(64)])
    first, second = -np.asarray(Q[0]) / 20, -np.asarray(Q[1]) * 3 / 8
    is_first, is_second = (np.isclose(losses, row, rtol=1e-4).all(axis=1) for row in (first, second))
    assert (is_first ^ is_second).all()
    assert 16 <= is_first.sum() <= 48


def test_the_scale_of_the_critics_does_not_matter_and_zero_is_finite():
    one, other = (normalised_q_loss(jax.random.key(0), scale * Q) for scale in (1.0, 1e3))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert np.isfinite(normalised_q_loss(jax.random.key(0), jnp.zeros((2, 3)))).all()
    np.testing.assert_allclose(normalised_q_loss(jax.random.key(0), Q[1:]), -Q[1] / 20, rtol=1e-4)  # one critic alone


def test_the_gradient_of_the_q_term_passes_through_the_first_critics_actions_only():
    """The scale is a constant: of the two rows of dL/dQ one is 0, the other exactly -1/scale for its own example."""
    jacobian = jax.jacobian(normalised_q_loss, argnums=1)
    rows = set()
    for seed in range(16):
        gradient = np.asarray(jacobian(jax.random.key(seed), Q))  # [3, 2, 3]
        (first,) = np.flatnonzero(np.abs(gradient).sum(axis=(0, 2)))
        np.testing.assert_allclose(gradient[:, first], -np.eye(3) / (20, 8 / 3)[first], rtol=1e-4)
        rows.add(first)
    assert rows == {0, 1}


def test_the_q_terms_coefficient_is_eta():
    key = jax.random.key(3)
    loss, metrics = GUIDANCE["q"]().improve(key, Q, {"eta": jnp.float32(2.5)})
    np.testing.assert_allclose(loss, 2.5 * normalised_q_loss(key, Q), rtol=1e-6)
    np.testing.assert_allclose(metrics["guidance/q_loss"], normalised_q_loss(key, Q).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["guidance/q_sampled"], Q.mean(), rtol=1e-6)


def test_best_of_takes_the_candidate_whose_worst_critic_is_best():
    """Against one example, one candidate at a time; two leading axes."""
    rng = np.random.default_rng(0)
    actions, q = rng.normal(size=(5, 3, 4, 2)), rng.normal(size=(2, 5, 3, 4))
    best = np.asarray(best_of(jnp.asarray(actions), jnp.asarray(q)))
    assert best.shape == (3, 4, 2)
    for i in np.ndindex(3, 4):
        worst = [min(q[(e, n, *i)] for e in range(2)) for n in range(5)]
        np.testing.assert_array_equal(best[i], actions[(int(np.argmax(worst)), *i)].astype(np.float32))


def test_softmax_draws_in_proportion_to_the_exponential_of_the_worst_critic():
    """Frequencies over 40,000 keys against the closed form, within five standard errors."""
    q = jnp.array([[0.0, 1.0, 0.5], [0.3, 0.2, 9.0]])  # worst: 0, 0.2, 0.5
    actions, beta, n = jnp.arange(3.0)[:, None], 2.0, 40_000
    drawn = jax.vmap(lambda key: softmax_of(key, actions, q, beta))(jax.random.split(jax.random.key(0), n))
    assert drawn.shape == (n, 1)
    frequency = np.bincount(np.asarray(drawn[:, 0], int), minlength=3) / n
    weight = np.exp(beta * np.array([0.0, 0.2, 0.5]))
    np.testing.assert_allclose(frequency, weight / weight.sum(), atol=5 * 0.5 / np.sqrt(n))
    even = jax.vmap(lambda key: softmax_of(key, actions, q, 0.0))(jax.random.split(jax.random.key(1), n))
    np.testing.assert_allclose(np.bincount(np.asarray(even[:, 0], int)) / n, 1 / 3, atol=5 * 0.5 / np.sqrt(n))


def test_a_cold_softmax_is_the_best():
    rng = np.random.default_rng(0)
    actions, q = jnp.asarray(rng.normal(size=(5, 3, 4, 2))), jnp.asarray(rng.normal(size=(2, 5, 3, 4)))
    np.testing.assert_array_equal(softmax_of(jax.random.key(0), actions, q, 1e6), best_of(actions, q))


def test_best_of_one_is_that_one():
    actions = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 2)))
    np.testing.assert_array_equal(best_of(actions, jnp.zeros((2, 1, 3))), actions[0])


def test_a_conditioned_policy_is_told_the_advantages_sign_and_acts_as_a_better_one():
    """1 for A > 0 and -1 else, as the last number that it sees; `init` and `sample` say 1."""
    guidance = GUIDANCE["condition"]()
    assert guidance.needs_critic and guidance.improve is None
    np.testing.assert_array_equal(guidance.label(ADVANTAGE), jnp.where(ADVANTAGE > 0, 1.0, -1.0))
    np.testing.assert_array_equal(guidance.label(jnp.zeros(2)), [-1, -1])
    np.testing.assert_array_equal(guidance.weigh(ADVANTAGE, {})[0], jnp.ones(4))
    obs = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(told(obs, jnp.zeros((2, 3))), jnp.concatenate([obs, jnp.zeros((2, 3, 1))], -1))
    seen = Policy(
        init=lambda key, batch: batch.obs,
        loss="loss",
        sample=lambda params, key, obs, num_steps, temperature: (obs, num_steps, temperature),
    )
    policy = conditioned(seen)
    assert policy.loss == "loss"
    batch = Batch(obs=np.ones((4, 2), np.float32), action=None, reward=None, discount=None, next_obs=None)
    np.testing.assert_array_equal(policy.init(None, batch), np.ones((4, 3)))
    shown, *rest = policy.sample(None, None, obs, 3, 0.5)
    np.testing.assert_array_equal(shown, told(obs, 1.0))
    assert rest == [3, 0.5] and policy.sample(None, None, obs, 3)[2] == 1.0
