"""The Q term in the fused update, with its anchor, its filter and its unit."""

import agents
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import BATCH, compiled, hparams, make_policy, run, stub_critic, twin
from oracles import assert_trees_equal, quick_jit

from gtp_jax.agent.guidance import GUIDANCE, moving_filter_weights
from gtp_jax.agent.update import make_agent


@pytest.mark.parametrize("name", ["gaussian", "gtp"])
def test_the_q_term_moves_the_policy_towards_higher_values(name):
    """Data around -0.4, values highest at 0.5: cloning stays with the data, the Q term leads most of the way."""

    def q(params, obs, action):
        best = 2 - jnp.sum((action - 0.5) ** 2, axis=-1)
        return jnp.stack([best, 3 * best])

    agent = make_agent(make_policy(name), stub_critic(q), GUIDANCE["q"](), num_steps=2)
    batch = BATCH._replace(action=-0.4 + 0.1 * BATCH.action)

    @quick_jit
    def mean_action(eta):
        state = agent.init(jax.random.key(0), batch, hparams(policy_lr=1e-2) | {"eta": eta})
        state, _ = jax.lax.scan(lambda state, _: agent.update(state, batch), state, length=900)
        return jnp.mean(agent.act(state.policy, jax.random.key(1), batch.obs, 2))

    assert abs(mean_action(jnp.float32(0)) + 0.4) < 0.15
    assert abs(mean_action(jnp.float32(50)) - 0.5) < 0.2


def test_the_q_term_leaves_the_critic_alone_and_is_added_once():
    """The critic's step does not know of eta; the policy's loss is that of cloning and eta A q_loss more."""
    (plain, without), (guided, with_q) = (run(agents.agent("q"), BATCH, 1, eta=eta) for eta in (0.0, 5.0))
    assert_trees_equal(plain.critic, guided.critic)
    difference = with_q[0]["policy/loss"] - without[0]["policy/loss"]
    np.testing.assert_allclose(difference, 5.0 * 2 * with_q[0]["guidance/q_loss"], rtol=1e-3)
    changed = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), plain.policy, guided.policy)
    assert all(jax.tree.leaves(changed))
    assert "guidance/advantage_std" not in with_q[0]


def test_the_anchor_holds_the_jump_to_many_steps_from_the_same_noise():
    """The loss gains anchor |a_1 - a_4|^2, both sampled with one key, by the parameters and by their average."""
    policy, critic = make_policy(), twin()
    plain, anchored = (
        compiled(make_agent(policy, critic, GUIDANCE["q"](), num_steps=1, anchor=anchor)) for anchor in (0.0, 10.0)
    )
    state, _ = run(plain, BATCH, 3)
    (_, without), (_, metrics) = plain.update(state, BATCH), anchored.update(state, BATCH)
    key = jax.random.split(jax.random.split(jax.random.fold_in(state.key, state.step), 3)[2])[0]
    jump, path = (policy.sample(p, key, BATCH.obs, k) for p, k in ((state.policy, 1), (state.policy_ema, 4)))
    distance = jnp.mean(jnp.sum((jump - path) ** 2, axis=-1))
    assert distance > 1e-4
    np.testing.assert_allclose(metrics["guidance/anchor_loss"], distance, rtol=1e-4)
    np.testing.assert_allclose(metrics["policy/loss"] - without["policy/loss"], 10 * distance, rtol=1e-3)

    def distance_after(agent):
        trained, _ = run(agent, BATCH, 150)
        jump, path = (policy.sample(trained.policy_ema, key, BATCH.obs, k) for k in (1, 4))
        return jnp.mean(jnp.sum((jump - path) ** 2, axis=-1))

    assert distance_after(anchored) < 0.5 * distance_after(plain)


def test_the_moving_filter_weighs_the_clones_loss_and_nothing_else():
    """At eta = 0 the policy's loss is the clone's own, example by example, times the filter's weights."""
    policy, critic = make_policy(), twin()
    plain, filtered = (
        compiled(make_agent(policy, critic, GUIDANCE["q"](), num_steps=1, filter_temperature=temperature))
        for temperature in (0.0, 0.05)
    )
    state, _ = run(plain, BATCH, 3, eta=0.0)
    updated, found = filtered.update(state, BATCH)
    key_loss, _, key_improve = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    own = policy.sample(state.policy, jax.random.split(key_improve)[0], BATCH.obs, 1)
    q, q_own = (critic.q(updated.critic, BATCH.obs, action) for action in (BATCH.action, own))
    weights = moving_filter_weights(q, q_own, 0.05)
    assert weights.min() < 0.9 and weights.max() > 1.1
    each, _ = policy.loss(state.policy, state.policy_ema, key_loss, BATCH, state.hparams, state.step)
    np.testing.assert_allclose(found["policy/loss"], jnp.mean(weights * each), rtol=1e-4)
    np.testing.assert_allclose(found["guidance/filter"], jnp.mean(weights), rtol=1e-4)
    assert_trees_equal(updated.critic, plain.update(state, BATCH)[0].critic)


def test_a_relative_q_term_is_measured_in_units_of_the_policys_loss():
    """Its gradient is that of the Q term times the clone's mean loss, which itself is left alone."""
    policy, critic = make_policy(), twin()
    state, found = run(compiled(make_agent(policy, critic, GUIDANCE["q"](), num_steps=1)), BATCH, 1, eta=0.0)
    clone = found[0]["policy/loss"]
    once = [
        run(compiled(make_agent(policy, critic, GUIDANCE["q"](), num_steps=1, relative=relative)), BATCH, 1, eta=eta)
        for relative, eta in ((True, 3.0), (False, float(3.0 * clone)))
    ]
    (one, one_metrics), (other, other_metrics) = once
    np.testing.assert_allclose(one_metrics[0]["policy/loss"], other_metrics[0]["policy/loss"], rtol=1e-5)
    chex.assert_trees_all_close(one.policy, other.policy, rtol=1e-4, atol=1e-6)
    added = (one_metrics[0]["policy/loss"] - clone) / clone
    np.testing.assert_allclose(added, 3.0 * 2 * one_metrics[0]["guidance/q_loss"], rtol=1e-4)
