"""Guidance: weights from advantages, the Q term, optimality labels and the choice among samples, in closed form."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from oracles import quick_jit, random_batch

from gtp_jax.agent.guidance import (
    GUIDANCE,
    advantage_weights,
    anchor_loss,
    append_label,
    best_of,
    effective_sample_share,
    exponential_weights,
    filter_weights,
    label_conditioned,
    moving_filter_weights,
    normalised_q_loss,
    optimality_label,
    softmax_of,
    unnormalised_weights,
)
from gtp_jax.types import Policy

ADVANTAGE = jnp.array([-3.0, -1.0, 1.0, 3.0])  # mean 0, standard deviation sqrt(5)


FUNCTIONS = {
    "advantage": advantage_weights,
    "exponential": exponential_weights,
    "unnormalised": unnormalised_weights,
    "filter": filter_weights,
}


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.5])
def test_weights_in_closed_form(eta):
    """Eq. 14 and 12 over the standard deviation; AWR's and IQL's exponential as it is; CRR's filter, whatever eta."""
    advantage = np.array([-3.0, -1.0, 1.0, 3.0])
    scaled = eta * advantage / np.sqrt(5)
    np.testing.assert_allclose(advantage_weights(ADVANTAGE, eta), np.exp(np.maximum(scaled, 0)), rtol=1e-5)
    np.testing.assert_allclose(exponential_weights(ADVANTAGE, eta), np.exp(scaled), rtol=1e-5)
    np.testing.assert_allclose(unnormalised_weights(ADVANTAGE, eta), np.exp(eta * advantage), rtol=1e-5)
    np.testing.assert_array_equal(filter_weights(ADVANTAGE, eta), [0, 0, 1, 1])
    np.testing.assert_array_equal(filter_weights(jnp.zeros(3), eta), np.zeros(3))  # "greater", not "at least"


def test_advantage_weights_of_special_cases():
    """eta = 0 is exactly cloning; only above-average actions gain; the scale of the advantage does not matter."""
    np.testing.assert_array_equal(advantage_weights(ADVANTAGE, jnp.float32(0)), np.ones(4))
    assert (advantage_weights(jnp.array([-5.0, -1.0, -2.0]), 3.0) == 1).all()
    np.testing.assert_array_equal(advantage_weights(jnp.zeros(4), 1.0), np.ones(4))
    assert np.isfinite(advantage_weights(jnp.full(4, 2.0), 1.0)).all()
    for scale in (1e-3, 1e4):
        scaled = advantage_weights(scale * ADVANTAGE, 1.0)
        np.testing.assert_allclose(scaled, advantage_weights(ADVANTAGE, 1.0), rtol=1e-3)


@pytest.mark.parametrize(("name", "low"), [("advantage", 1), ("exponential", 0), ("unnormalised", 0)])
def test_weights_are_clipped(name, low):
    np.testing.assert_array_equal(FUNCTIONS[name](ADVANTAGE, 1000.0, 7.0), [low, low, 7, 7])
    weights, _ = GUIDANCE[name]().weigh(ADVANTAGE, {"eta": jnp.float32(1000)})
    np.testing.assert_array_equal(weights, [low, low, 100, 100])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_gradient_flows_through_a_weight(name):
    total = lambda advantage, eta: jnp.sum(FUNCTIONS[name](advantage, eta))
    by_advantage, by_eta = quick_jit(jax.grad(total, argnums=(0, 1)))(ADVANTAGE, 1.0)
    assert (by_advantage == 0).all() and by_eta == 0


def test_effective_sample_share():
    """1 for equal weights, 1/B for a single one, (sum w)^2/(B sum w^2) between."""
    assert effective_sample_share(jnp.full(8, 3.0)) == 1
    assert effective_sample_share(jnp.array([0.0, 0, 5, 0])) == 0.25
    np.testing.assert_allclose(effective_sample_share(jnp.array([1.0, 3.0])), 16 / 20)


@pytest.mark.parametrize("name", GUIDANCE)
def test_what_each_guidance_asks_for(name):
    """Of a critic, and of the policy; weights and metrics of the weighted ones, weights of 1 of the others."""
    guidance = GUIDANCE[name]()
    assert guidance.needs_advantage == (name in (*FUNCTIONS, "conditioning"))
    assert guidance.needs_critic == (name != "none")
    assert (guidance.improve is None, guidance.label is None) == (name != "q", name != "conditioning")
    weights, metrics = guidance.weigh(ADVANTAGE, {"eta": jnp.float32(1)})
    if name not in FUNCTIONS:
        np.testing.assert_array_equal(weights, np.ones(4))
        assert metrics == {}
        return
    np.testing.assert_array_equal(weights, FUNCTIONS[name](ADVANTAGE, jnp.float32(1)))
    np.testing.assert_allclose(metrics["guidance/weight"], weights.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["guidance/advantage_std"], np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(metrics["guidance/effective_share"], effective_sample_share(weights))


Q = jnp.array([[1.0, -2.0, 5.0], [-10.0, 20.0, 30.0]])  # two critics, three actions; mean |Q| is 8/3 and 20


def test_the_q_term_is_one_critic_over_the_scale_of_the_other():
    """-Q_i / mean |Q_j|, i and j drawn at random: over keys either critic plays either role, about equally often."""
    losses = jax.vmap(lambda key: normalised_q_loss(key, Q))(jax.random.split(jax.random.key(0), 64))
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
    jacobian = quick_jit(jax.jacobian(normalised_q_loss, argnums=1))
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


def test_the_anchor_is_a_squared_distance_whose_gradient_reaches_the_action_alone():
    action, held_to = jax.random.normal(jax.random.key(0), (2, 5, 3))
    np.testing.assert_allclose(anchor_loss(action, held_to), ((action - held_to) ** 2).sum(-1), rtol=1e-6)
    by_action, by_anchor = jax.grad(lambda a, b: anchor_loss(a, b).sum(), argnums=(0, 1))(action, held_to)
    np.testing.assert_allclose(by_action, 2 * (action - held_to), rtol=1e-6)
    jax.test_util.check_grads(lambda a: anchor_loss(a, held_to), (action,), order=1, modes=["rev"], rtol=1e-2)
    assert (by_anchor == 0).all()
    with pytest.raises(ValueError, match=r"shape \(5, 3\) is held to one of shape \(5, 1\); they must agree"):
        anchor_loss(action, held_to[:, :1])


def test_the_moving_filter_is_a_sigmoid_of_the_difference_in_units_of_the_policys_values():
    """Equal values weigh 1, a hot filter is cloning, a cold one keeps what is better; the values get no gradient."""
    q, own = jnp.array([[-3.0, -8.0, -5.0], [-5.0, -8.0, -7.0]]), jnp.array([[-5.0, -5.0, -7.0], [-5.0, -6.0, -5.0]])
    difference, scale = np.array([1.0, -2.5, 0.0]), 0.3 * (5.0 + 5.5 + 6.0) / 3
    expected = 2 / (1 + np.exp(-difference / scale))
    np.testing.assert_allclose(moving_filter_weights(q, own, 0.3), expected, rtol=1e-5)
    np.testing.assert_allclose(moving_filter_weights(q, own, 1e6), np.ones(3), rtol=1e-5)
    np.testing.assert_allclose(moving_filter_weights(q, own, 1e-6), [2.0, 0.0, 1.0], atol=1e-6)
    for gradient in jax.grad(lambda *values: moving_filter_weights(*values, 0.3).sum(), argnums=(0, 1))(q, own):
        assert (gradient == 0).all()
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 1\) must both be \[E, B\]"):
        moving_filter_weights(q, own[:, :1], 0.3)


@pytest.mark.parametrize("eta", [0.1, 2.0])
def test_the_optimum_of_the_linear_quadratic_bandit(eta):
    """Q = q0 - |a - g|^2, held to b: the gradient vanishes at a = (c g + b)/(c + 1), c = eta/|Q(a)|, and only there."""
    goal, optimum, other = (jax.random.normal(jax.random.key(i), (1, 2)) for i in range(3))
    value = lambda a: -20.0 - jnp.sum((a - goal) ** 2, axis=-1)
    share = eta / jnp.abs(value(optimum))[:, None]
    behaviour = (share + 1) * optimum - share * goal

    def objective(a):
        q = jnp.stack([value(a), value(a)])
        return (eta * normalised_q_loss(jax.random.key(0), q) + anchor_loss(a, behaviour)).sum()

    np.testing.assert_allclose(jax.grad(objective)(optimum), np.zeros((1, 2)), atol=1e-5)
    assert jnp.vdot(jax.grad(objective)(other), other - optimum) > 0.1


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


def test_a_cold_softmax_and_the_best_of_one():
    rng = np.random.default_rng(0)
    actions, q = jnp.asarray(rng.normal(size=(5, 3, 4, 2))), jnp.asarray(rng.normal(size=(2, 5, 3, 4)))
    np.testing.assert_array_equal(softmax_of(jax.random.key(0), actions, q, 1e6), best_of(actions, q))
    np.testing.assert_array_equal(best_of(actions[:1], q[:, :1]), actions[0])


def test_the_optimality_label_is_the_advantages_sign_and_the_last_observation_number():
    np.testing.assert_array_equal(optimality_label(ADVANTAGE), [-1, -1, 1, 1])
    np.testing.assert_array_equal(optimality_label(jnp.zeros(2)), [-1, -1])
    assert (jax.grad(lambda advantage: optimality_label(advantage).sum())(ADVANTAGE) == 0).all()
    obs, label = jnp.arange(12.0).reshape(2, 3, 2), jnp.array([[1.0, -1, 1], [-1, -1, 1]])
    np.testing.assert_array_equal(append_label(obs, label), jnp.concatenate([obs, label[..., None]], -1))
    np.testing.assert_array_equal(append_label(np.asarray(obs), 1.0)[..., -1], jnp.ones((2, 3)))


def test_a_label_conditioned_policy_trains_with_the_batchs_labels_and_acts_with_label_one():
    policy = label_conditioned(
        Policy(
            init=lambda key, batch: batch.obs,
            loss=lambda params, target, key, batch, hparams, step: (batch.obs[:, 0], {"obs": batch.obs, "step": step}),
            sample=lambda params, key, obs, num_steps, temperature: (obs, num_steps, temperature),
        )
    )
    batch, key = random_batch(4), jax.random.key(0)
    np.testing.assert_array_equal(policy.init(key, batch), append_label(batch.obs, 1.0))
    labelled = batch._replace(label=np.array([1, -1, -1, 1], np.float32))
    _, seen = policy.loss((), (), key, labelled, {}, 7)
    np.testing.assert_array_equal(seen["obs"], append_label(batch.obs, labelled.label))
    assert seen["step"] == 7
    for given, expected in (((3, 0.5), [3, 0.5]), ((3,), [3, 1.0])):
        obs, *rest = policy.sample((), key, batch.obs, *given)
        np.testing.assert_array_equal(obs, append_label(batch.obs, 1.0))
        assert rest == expected
    with pytest.raises(ValueError, match="trained on batches with a label, and there is none"):
        policy.loss((), (), key, batch, {}, 7)
