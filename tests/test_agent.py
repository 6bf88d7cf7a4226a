"""The fused update: pure, exact where that is possible, one key per draw, and composing only what fits together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import hparams, make_policy, run
from oracles import assert_trees_equal, random_batch

from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.networks import q_network, v_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import expectile, twin_q
from gtp_jax.types import Critic, Evaluation, Guidance, Policy


def compiled(agent):
    return agent._replace(init=jax.jit(agent.init), update=jax.jit(agent.update))


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(jnp.asarray, random_batch(16))


@pytest.fixture(scope="module")
def agent():
    """GTP with twin critics and advantage weights."""
    return compiled(
        make_agent(make_policy(), twin_q.make(q_network=q_network(2, (8,))), GUIDANCE["advantage"](), num_steps=2)
    )


@pytest.fixture(scope="module")
def cloning():
    """GTP without value."""
    return compiled(make_agent(make_policy(), None, GUIDANCE["none"](), num_steps=2))


def test_eta_zero_is_cloning_bit_for_bit(agent, cloning, batch):
    """The critic draws from keys of its own and weights are exactly 1, so the policy cannot tell that it is there."""
    guided, with_critic = run(agent, batch, 5, eta=0.0)
    alone, without = run(cloning, batch, 5)
    for name in ("policy", "policy_ema", "policy_opt", "key", "step"):
        one, other = getattr(guided, name), getattr(alone, name)
        if name == "key":
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert_trees_equal(one, other)
    assert [m["policy/loss"] for m in with_critic] == [m["policy/loss"] for m in without]
    differs, _ = run(agent, batch, 5, eta=2.0)
    assert (np.asarray(jax.tree.leaves(differs.policy)[0]) != np.asarray(jax.tree.leaves(guided.policy)[0])).any()


def test_everything_learns(agent, batch):
    """Each update moves every parameter of the policy and of both critics."""
    state = agent.init(jax.random.key(3), batch, hparams())
    after, metrics = agent.update(state, batch)
    for name in ("policy", "critic", "policy_ema", "critic_ema"):
        for old, new in zip(jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(after, name)), strict=True):
            assert (np.asarray(old) != np.asarray(new)).any(), name
    assert set(metrics) == {
        *("policy/loss", "policy/consistency", "policy/flow", "critic/loss", "critic/q"),
        *("guidance/weight", "guidance/effective_share", "guidance/advantage_std"),
    }
    assert all(np.isfinite(value) and value.shape == () for value in metrics.values())


def test_averages_follow_their_recursion(agent, batch):
    """ema' = (1 - rate) ema + rate params', the parameters AFTER the update; rates of a quarter and an eighth."""
    before, _ = run(agent, batch, 2)
    after, _ = agent.update(before, batch)
    for params, ema, rate in (("policy", "policy_ema", 0.25), ("critic", "critic_ema", 0.125)):
        expected = jax.tree.map(
            lambda old, new, rate=rate: (1 - rate) * np.asarray(old, np.float64) + rate * np.asarray(new, np.float64),
            getattr(before, ema),
            getattr(after, params),
        )
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9), getattr(after, ema), expected
        )


def test_the_first_step_of_adam(cloning, batch):
    """One step of Adam moves every parameter that has a gradient by the learning rate, whatever the gradient."""
    state = cloning.init(jax.random.key(3), batch, hparams())
    after, _ = cloning.update(state, batch)
    moved = jax.tree.map(lambda old, new: np.abs(np.asarray(new) - np.asarray(old)), state.policy, after.policy)
    largest = max(leaf.max() for leaf in jax.tree.leaves(moved))
    np.testing.assert_allclose(largest, 1e-3, rtol=1e-3)


def test_the_learning_rate_falls_along_a_half_cosine(batch):
    """Adam's steps from equal gradients show the rate: 1, 3/4 and 1/4 of it after 0, 2 and 4 of 6 updates, then 0."""
    policy = make_policy()._replace(
        init=lambda key, batch: jnp.zeros(()),
        loss=lambda params, target_params, key, batch, hparams, step: (params * jnp.ones_like(batch.reward), {}),
    )
    agent = compiled(make_agent(policy, None, GUIDANCE["none"](), num_steps=2, decay_updates=6))
    state, values = agent.init(jax.random.key(0), batch, hparams()), []
    for _ in range(9):
        values.append(float(state.policy))
        state, _ = agent.update(state, batch)
    steps = -np.diff(values) / 1e-3
    np.testing.assert_allclose(steps[[0, 2, 4]], [1, 0.75, 0.25], rtol=1e-3)
    np.testing.assert_array_equal(steps[6:], 0)


def test_initial_averages_are_copies_and_the_step_counts(agent, batch):
    state = agent.init(jax.random.key(3), batch, hparams())
    assert_trees_equal(state.policy, state.policy_ema)
    assert_trees_equal(state.critic, state.critic_ema)
    assert state.step == 0 and state.step.dtype == jnp.int32
    for count in range(1, 4):
        key = jax.random.key_data(state.key)
        state, _ = agent.update(state, batch)
        assert state.step == count
        np.testing.assert_array_equal(jax.random.key_data(state.key), key)


def test_the_update_is_pure(agent, batch):
    state, _ = run(agent, batch, 1)
    plain = lambda out: (out[0]._replace(key=jax.random.key_data(out[0].key)), out[1])
    assert_trees_equal(plain(agent.update(state, batch)), plain(agent.update(state, batch)))


def test_acting_is_sampling_from_the_given_parameters(agent, batch):
    state, _ = run(agent, batch, 1)
    act = jax.jit(agent.act, static_argnums=3)
    actions = act(state.policy_ema, jax.random.key(0), batch.obs, 2, 1.0)
    assert actions.shape == (16, 2) and (np.abs(actions) <= 1).all()
    np.testing.assert_array_equal(actions, act(state.policy_ema, jax.random.key(0), batch.obs, 2, 1.0))


def recording_policy(seen):
    """The GTP policy, which also notes the keys that it is given, as data."""
    policy = make_policy()

    def loss(params, target_params, key, batch, hparams, step):
        jax.debug.callback(lambda data: seen["loss"].append(tuple(data.tolist())), jax.random.key_data(key))
        return policy.loss(params, target_params, key, batch, hparams, step)

    def sample(params, key, obs, num_steps, temperature=1.0):
        jax.debug.callback(lambda data: seen["sample"].append(tuple(data.tolist())), jax.random.key_data(key))
        actions = policy.sample(params, key, obs, num_steps, temperature)
        jax.debug.callback(lambda noise: seen["actions"].append(np.asarray(noise)), actions)
        return actions

    return Policy(policy.init, loss, sample)


def test_no_key_is_used_twice(batch, agent):
    """Not within an update, not between updates; samples at obs and next_obs have noise of their own, too."""
    seen = {"loss": [], "sample": [], "actions": []}
    critic = twin_q.make(q_network=q_network(2, (8,)), samples=2)
    recording = compiled(make_agent(recording_policy(seen), critic, GUIDANCE["advantage"](), num_steps=2))
    same = batch._replace(next_obs=batch.obs)
    state, _ = run(recording, same, 3, agent.init)
    jax.effects_barrier()
    keys = seen["loss"] + seen["sample"]
    assert len(seen["loss"]) == len(seen["sample"]) == 3
    assert len(set(keys)) == len(keys)
    assert tuple(jax.random.key_data(state.key).tolist()) not in keys
    for actions in seen["actions"]:
        assert actions.shape == (3, 16, 2)
        assert len(np.unique(actions.reshape(48, 2), axis=0)) == 48


def test_the_critic_bootstraps_from_the_averaged_policy_with_num_steps(batch):
    asked = []
    policy = make_policy()

    def sample(params, key, obs, num_steps, temperature=1.0):
        asked.append((obs.shape, num_steps, temperature))
        return policy.sample(params, key, obs, num_steps, temperature)

    critic = twin_q.make(q_network=q_network(2, (8,)), samples=3)
    agent = make_agent(policy._replace(sample=sample), critic, GUIDANCE["advantage"](), num_steps=4)
    jax.eval_shape(agent.update, jax.eval_shape(agent.init, jax.random.key(0), batch, hparams()), batch)
    assert asked == [((4, 16, 3), 4, 1.0)]  # one chain for one sample at next_obs and three at obs


def test_the_averages_serve_as_targets(batch):
    """The critic sees actions of the averaged policy, its own averaged parameters, and no gradient of its values."""
    policy = Policy(
        init=lambda key, batch: jnp.float32(1),
        loss=lambda params, target_params, key, batch, hparams, step: (
            params * batch.reward,
            {"target": target_params},
        ),
        sample=lambda params, key, obs, num_steps, temperature=1.0: jnp.full((*obs.shape[:-1], 2), params),
    )

    def evaluate(params, target_params, batch, next_actions, actions, hparams):
        return Evaluation(params * target_params * next_actions[0, :, 0], actions[0, :, 0])

    def loss(params, target_params, batch, next_value, hparams):
        return params * next_value, {"next_value": next_value.mean(), "critic_target": target_params}

    critic = Critic(lambda key, batch: jnp.float32(1), evaluate, loss, None, next_samples=1, samples=1)
    guidance = Guidance(
        weigh=lambda advantage, hparams: (advantage, {"advantage": advantage.mean()}),
        improve=None,
        needs_advantage=True,
    )
    agent = compiled(make_agent(policy, critic, guidance, num_steps=1))
    state = agent.init(jax.random.key(0), batch, hparams(policy_lr=0.0, critic_lr=0.0))
    state = state._replace(policy=jnp.float32(2), policy_ema=jnp.float32(3), critic=jnp.float32(5))
    after, metrics = agent.update(state._replace(critic_ema=jnp.float32(7)), batch)
    assert {name: float(metrics[name]) for name in ("target", "next_value", "critic_target", "advantage")} == {
        "target": 3,
        "next_value": 5 * 7 * 3,
        "critic_target": 7,
        "advantage": 3,
    }
    # d/dp of p * next_value is next_value alone: Adam's first moment is a tenth of it, clipped to norm 10.
    assert after.critic_opt[1].mu == 1.0


def test_no_samples_are_drawn_for_a_critic_that_needs_none(batch):
    def sample(*_):
        raise AssertionError("a sample was drawn")

    critic = expectile.make(q_network=q_network(2, (8,)), v_network=v_network((8,)))
    agent = make_agent(make_policy()._replace(sample=sample), critic, GUIDANCE["advantage"](), num_steps=4)
    state = jax.eval_shape(agent.init, jax.random.key(0), batch, hparams())
    after, _ = jax.eval_shape(agent.update, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_weights_scale_the_policys_examples(batch, cloning):
    """An example of weight 0 has no influence on the policy."""
    half = jnp.arange(16) % 2
    guidance = GUIDANCE["none"]()._replace(weigh=lambda advantage, hparams: (half.astype(jnp.float32), {}))
    agent = compiled(make_agent(make_policy(), None, guidance, num_steps=2))
    changed = batch._replace(action=jnp.where(half[:, None] == 0, 0.123, batch.action))
    one, other = (run(agent, data, 2, cloning.init)[0] for data in (batch, changed))
    assert_trees_equal(one.policy, other.policy)


def test_the_loss_is_told_the_advantage_and_what_acts_is_told_the_best(batch):
    """Of each example, the sign of its advantage; samples for critic and environment are those of a better example."""

    def loss(params, target_params, key, batch, hparams, step):
        return params * batch.obs[:, -1], {"told": batch.obs[:, -1]}

    policy = Policy(
        init=lambda key, batch: jnp.zeros(()) + batch.obs[0, -1],
        loss=loss,
        sample=lambda params, key, obs, num_steps, temperature=1.0: jnp.repeat(obs[..., -1:], 2, axis=-1),
    )

    def evaluate(params, target_params, batch, next_actions, actions, hparams):
        return Evaluation(next_actions[0, :, 0], batch.reward)

    def critic_loss(params, target_params, batch, next_value, hparams):
        return params * next_value, {"next_value": next_value.min()}

    critic = Critic(lambda key, batch: jnp.float32(1), evaluate, critic_loss, None, next_samples=1, samples=1)
    agent = compiled(make_agent(policy, critic, GUIDANCE["condition"](), num_steps=1))
    state = agent.init(jax.random.key(0), batch, hparams())
    assert state.policy == 1
    _, metrics = agent.update(state, batch)
    np.testing.assert_array_equal(metrics["told"], jnp.where(batch.reward > 0, 1.0, -1.0))
    assert 0 < metrics["guidance/better"] < 1 and metrics["next_value"] == 1
    np.testing.assert_allclose(metrics["guidance/better"], (batch.reward > 0).mean())
    np.testing.assert_array_equal(agent.act(state.policy, jax.random.key(0), batch.obs, 1, 1.0), jnp.ones((16, 2)))


def test_a_seed_depends_on_its_own_hyperparameters_only(agent, batch):
    """The rate of learning is read from the state: 0 stands still, and the critic's own does not touch the policy."""
    still, _ = run(agent, batch, 2, policy_lr=0.0, critic_lr=0.0)
    fresh = agent.init(jax.random.key(3), batch, hparams())
    assert_trees_equal(still.policy, fresh.policy)
    assert_trees_equal(still.critic, fresh.critic)


def test_what_does_not_fit_together_is_refused():
    critic = twin_q.make(q_network=q_network(2, (8,)))
    for name in sorted(set(GUIDANCE) - {"none"}):
        with pytest.raises(ValueError, match="this guidance needs a critic, and there is none"):
            make_agent(make_policy(), None, GUIDANCE[name](), num_steps=2)
    with pytest.raises(ValueError, match="this critic would guide nothing"):
        make_agent(make_policy(), critic, GUIDANCE["none"](), num_steps=2)
