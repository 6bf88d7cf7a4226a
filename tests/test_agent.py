"""The fused update: pure, exact where that is possible, one key per draw, and composing only what fits together."""

import agents
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import BATCH, compiled, hparams, make_policy, run, stub_critic, stub_policy, twin
from oracles import assert_trees_equal

from gtp_jax.agent.guidance import GUIDANCE, optimality_label
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


def test_what_does_not_fit_together_is_refused():
    for name in sorted(set(GUIDANCE) - {"none"}):
        with pytest.raises(ValueError, match="this guidance needs a critic, and there is none"):
            make_agent(make_policy(), None, GUIDANCE[name](), num_steps=2)
    with pytest.raises(ValueError, match="this critic would guide nothing"):
        make_agent(make_policy(), twin(), GUIDANCE["none"](), num_steps=2)
    with pytest.raises(ValueError, match="asks for the value of sampled actions, and this critic values states alone"):
        make_agent(make_policy(), stub_critic(), GUIDANCE["q"](), num_steps=2)
