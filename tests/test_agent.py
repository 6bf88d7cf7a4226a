"""The fused update: pure, exact where that is possible, one key per draw, and composing only what fits together."""

import agents
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import BATCH, compiled, hparams, make_policy, run, stub_critic, stub_policy, twin
from oracles import assert_trees_equal, quick_jit

from gtp_jax.agent.guidance import GUIDANCE, moving_filter_weights, optimality_label
from gtp_jax.agent.networks import q_network, v_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import expectile, value
from gtp_jax.types import Guidance, Policy, ValueEstimate

LABELLED_Q = GUIDANCE["q"]()._replace(needs_advantage=True, label=optimality_label)  # both at once


def plain(state):
    return state._replace(key=jax.random.key_data(state.key))


def test_eta_zero_is_cloning_bit_for_bit():
    """The critic draws from keys of its own and weights are exactly 1, so the policy cannot tell that it is there."""
    guided, with_critic = run(agents.agent(), BATCH, 5, eta=0.0)
    alone, without = run(agents.agent("none"), BATCH, 5)
    for name in ("policy", "policy_ema", "policy_opt", "key", "step"):
        assert_trees_equal(getattr(plain(guided), name), getattr(plain(alone), name))
    losses = ([m["policy/loss"] for m in history] for history in (with_critic, without))
    np.testing.assert_array_equal(*losses)
    differs, _ = run(agents.agent(), BATCH, 5, eta=2.0)
    assert (np.asarray(jax.tree.leaves(differs.policy)[0]) != np.asarray(jax.tree.leaves(guided.policy)[0])).any()


def test_everything_learns_and_averages_follow_their_recursion():
    """Each update moves every parameter; ema' = (1 - rate) ema + rate params', the parameters AFTER the update."""
    before, _ = run(agents.agent(), BATCH, 2)
    after, metrics = agents.agent().update(before, BATCH)
    for name, rate in (("policy", 0.25), ("critic", 0.125)):
        old, new, old_ema, new_ema = (
            [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(getattr(state, part))]
            for part in (name, f"{name}_ema")
            for state in (before, after)
        )
        assert all((one != other).any() for one, other in zip(old, new, strict=True)), name
        for params, ema, got in zip(new, old_ema, new_ema, strict=True):
            np.testing.assert_allclose(got, (1 - rate) * ema + rate * params, rtol=1e-6, atol=1e-9)
    assert set(metrics) == {
        *("policy/loss", "policy/consistency", "policy/flow", "critic/loss", "critic/q"),
        *("guidance/weight", "guidance/effective_share", "guidance/advantage_std"),
    }
    assert all(np.isfinite(value) and value.shape == () for value in metrics.values())


def test_the_learning_rate_falls_along_a_half_cosine():
    """Adam's steps from equal gradients show the rate: 1, 3/4 and 1/4 of it after 0, 2 and 4 of 6 updates, then 0."""
    policy = stub_policy(sample=None, loss=lambda params, *_: (params * jnp.ones(16), {}))
    agent = compiled(make_agent(policy, None, GUIDANCE["none"](), num_steps=2, decay_updates=6))
    state, values = agent.init(jax.random.key(0), BATCH, hparams()), []
    for _ in range(9):
        values.append(float(state.policy))
        state, _ = agent.update(state, BATCH)
    steps = -np.diff(values) / 1e-3
    np.testing.assert_allclose(steps[[0, 2, 4]], [1, 0.75, 0.25], rtol=1e-3)
    np.testing.assert_array_equal(steps[6:], 0)


def test_a_state_starts_with_copies_counts_its_steps_and_keeps_its_key():
    """And the update is pure: the same state gives the same one, and a learning rate of 0 stands still."""
    state = first = agents.agent().init(jax.random.key(3), BATCH, hparams())
    assert_trees_equal((state.policy, state.critic), (state.policy_ema, state.critic_ema))
    assert state.step == 0 and state.step.dtype == jnp.int32
    for count in (1, 2):
        again = agents.agent().update(state, BATCH)
        state, metrics = agents.agent().update(state, BATCH)
        assert_trees_equal((plain(state), metrics), (plain(again[0]), again[1]))
        assert state.step == count
        np.testing.assert_array_equal(plain(state).key, plain(first).key)
    still, _ = run(agents.agent(), BATCH, 2, policy_lr=0.0, critic_lr=0.0)
    assert_trees_equal((still.policy, still.critic), (first.policy, first.critic))


@pytest.mark.parametrize("name", ["advantage", "q"])
def test_no_key_is_used_twice(name):
    """Not within an update, not between updates, whatever keys a loss splits off its own; nor are samples' noises."""
    seen = {"loss": [], "sample": [], "actions": []}

    def note(what, key):
        jax.debug.callback(lambda data: seen[what].append(tuple(data.tolist())), jax.random.key_data(key))

    def loss(params, target_params, key, batch, hparams, step):
        for each in (key, *jax.random.split(key, 4)):  # the first of them are those of a split in two or three
            note("loss", each)
        return params * batch.reward, {}

    def sample(params, key, obs, num_steps, temperature=1.0):
        note("sample", key)
        actions = params * jax.random.normal(key, (*obs.shape[:-1], 2))
        jax.debug.callback(lambda drawn: seen["actions"].append(np.asarray(drawn)), actions)
        return actions

    critic = stub_critic(lambda params, obs, action: params * action[None, :, 0], samples=2)
    agent = compiled(make_agent(stub_policy(sample, loss), critic, GUIDANCE[name](), num_steps=2))
    state, _ = run(agent, BATCH, 3)
    jax.effects_barrier()
    keys = [*set(seen["loss"]), *seen["sample"]]
    assert len(seen["sample"]) == (3 if name == "advantage" else 6)  # for the critic, and for the Q term
    assert len(set(keys)) == len(keys) and len(set(seen["loss"])) == 3 * 5
    assert tuple(plain(state).key.tolist()) not in keys
    shapes = {"advantage": {(4, 16, 2)}, "q": {(2, 16, 2), (16, 2)}}[name]  # at next_obs and obs in one chain
    assert {actions.shape for actions in seen["actions"]} == shapes
    for actions in seen["actions"]:
        assert len(np.unique(actions.reshape(-1, 2), axis=0)) == actions.size // 2


@pytest.mark.parametrize(
    ("critic", "asked"),
    [
        (twin(baseline_samples=3, backup_samples=2), [((5, 16, 3), 4, 1.0)]),  # one chain for both kinds of samples
        (expectile.make(expectile.Settings(), q_network=q_network(2, (8,)), v_network=v_network((8,))), []),
        (value.make(value.Settings(), v_network=v_network((8,))), []),
    ],
    ids=["twin_q", "expectile", "value"],
)
def test_the_critic_gets_the_samples_that_it_needs(critic, asked):
    seen, policy = [], make_policy()

    def sample(params, key, obs, num_steps, temperature=1.0):
        seen.append((obs.shape, num_steps, temperature))
        return policy.sample(params, key, obs, num_steps, temperature)

    agent = make_agent(policy._replace(sample=sample), critic, GUIDANCE["advantage"](), num_steps=4)
    state = jax.eval_shape(agent.init, jax.random.key(0), BATCH, hparams())
    after, _ = jax.eval_shape(agent.update, state, BATCH)
    assert seen == asked and jax.tree.structure(after) == jax.tree.structure(state)


def test_the_averages_serve_as_targets():
    """The critic sees actions of the averaged policy, its own averaged parameters, and no gradient of its values."""

    def evaluate(params, target_params, batch, next_actions, actions, hparams):
        return ValueEstimate(params * target_params * next_actions[0, :, 0], actions[0, :, 0])

    def loss(params, target_params, batch, next_value, hparams):
        return params * next_value, {"next_value": next_value.mean(), "critic_target": target_params}

    policy = stub_policy(
        sample=lambda params, key, obs, *_: jnp.full((*obs.shape[:-1], 2), params),
        loss=lambda params, target, key, batch, hparams, step: (params * batch.reward, {"target": target}),
    )
    weigh = lambda advantage, hparams: (advantage, {"advantage": advantage.mean()})
    guidance = Guidance(weigh=weigh, improve=None, needs_advantage=True)
    agent = compiled(make_agent(policy, stub_critic(None, 1, evaluate, loss), guidance, num_steps=1))
    state = agent.init(jax.random.key(0), BATCH, hparams(policy_lr=0.0, critic_lr=0.0))
    state = state._replace(policy=jnp.float32(2), policy_ema=jnp.float32(3), critic=jnp.float32(5))
    after, metrics = agent.update(state._replace(critic_ema=jnp.float32(7)), BATCH)
    expected = {"target": 3, "next_value": 5 * 7 * 3, "critic_target": 7, "advantage": 3}
    assert {name: float(metrics[name]) for name in expected} == expected
    # d/dp of p * next_value is next_value alone: Adam's first moment is a tenth of it, clipped to norm 10.
    assert after.critic_opt[1].mu == 1.0


def test_weights_scale_the_policys_examples():
    """An example of weight 0 has no influence on the policy."""
    half = jnp.arange(16) % 2
    guidance = GUIDANCE["none"]()._replace(weigh=lambda advantage, hparams: (half.astype(jnp.float32), {}))
    agent = compiled(make_agent(make_policy(), None, guidance, num_steps=2))._replace(init=agents.agent("none").init)
    changed = BATCH._replace(action=jnp.where(half[:, None] == 0, 0.123, BATCH.action))
    one, other = (run(agent, data, 2)[0] for data in (BATCH, changed))
    assert_trees_equal(one.policy, other.policy)


@pytest.mark.parametrize("guidance", [GUIDANCE["conditioning"](), LABELLED_Q], ids=["conditioning", "and the Q term"])
def test_the_loss_gets_the_advantages_labels_and_samples_get_label_one(guidance):
    """Samples for the critic, for the Q term and for the environment are all those of label 1."""

    def evaluate(params, target_params, batch, next_actions, actions, hparams):
        return ValueEstimate(next_actions[0, :, 0], batch.reward)

    def critic_loss(params, target_params, batch, next_value, hparams):
        return params * next_value, {"next_value": next_value.min()}

    policy = Policy(
        init=lambda key, batch: jnp.zeros(()) + batch.obs[0, -1],
        loss=lambda params, target, key, batch, hparams, step: (params * batch.obs[:, -1], {"label": batch.obs[:, -1]}),
        sample=lambda params, key, obs, *_: jnp.repeat(obs[..., -1:], 2, axis=-1) + 0 * obs[..., 3:],
    )
    critic = stub_critic(lambda params, obs, action: action[None, :, 0] + 0 * obs[None, :, 2], 1, evaluate, critic_loss)
    agent = compiled(make_agent(policy, critic, guidance, num_steps=1))
    state = agent.init(jax.random.key(0), BATCH, hparams())
    assert state.policy == 1
    _, metrics = agent.update(state, BATCH)
    np.testing.assert_array_equal(metrics["label"], jnp.where(BATCH.reward > 0, 1.0, -1.0))
    np.testing.assert_allclose(metrics["guidance/optimal_share"], (BATCH.reward > 0).mean())
    assert 0 < metrics["guidance/optimal_share"] < 1 and metrics["next_value"] == 1
    assert metrics.get("guidance/q_sampled", 1) == 1
    np.testing.assert_array_equal(agent.act(state.policy, jax.random.key(0), BATCH.obs, 1), jnp.ones((16, 2)))


def test_a_network_with_a_label_and_a_q_term_fits_both():
    """Its network observes one number more, in training and in the Q term's samples alike."""
    agent = make_agent(make_policy(), twin(), LABELLED_Q, num_steps=2)
    state = jax.eval_shape(agent.init, jax.random.key(0), BATCH, hparams())
    assert state.policy["params"]["Dense_0"]["kernel"].shape == (3 + 1 + 2 + 32, 8)
    after, metrics = jax.eval_shape(agent.update, state, BATCH)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"guidance/optimal_share", "guidance/q_loss"} <= set(metrics)


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
        state, _ = jax.lax.scan(lambda state, _: agent.update(state, batch), state, length=300)
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


def test_what_does_not_fit_together_is_refused():
    for name in sorted(set(GUIDANCE) - {"none"}):
        with pytest.raises(ValueError, match="this guidance needs a critic, and there is none"):
            make_agent(make_policy(), None, GUIDANCE[name](), num_steps=2)
    with pytest.raises(ValueError, match="this critic would guide nothing"):
        make_agent(make_policy(), twin(), GUIDANCE["none"](), num_steps=2)
    with pytest.raises(ValueError, match="asks for the value of sampled actions, and this critic values states alone"):
        make_agent(make_policy(), stub_critic(), GUIDANCE["q"](), num_steps=2)
