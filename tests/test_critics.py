"""Value losses and critics: closed forms, no leaking gradients, and known values that training must reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Chain, constant_policy, random_batch
from scipy import stats

from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.networks import q_network, v_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import expectile, twin_q, value
from gtp_jax.critics._losses import expectile_loss, td_loss

HPARAMS = {"discount": jnp.float32(0.9)}


def test_td_loss_in_closed_form():
    q = jnp.array([[1.0, 2.0], [3.0, -1.0]])  # two critics, two examples
    loss = td_loss(q, jnp.array([1.0, 1.0]), jnp.array([0.9, 0.0]), jnp.array([2.0, 100.0]))
    # Targets 1 + 0.9 * 2 = 2.8 and, terminal, 1.
    np.testing.assert_allclose(loss, [1.8**2 + 0.2**2, 1.0 + 4.0], rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_minimum_of_the_expectile_loss_is_the_expectile(level):
    """Where the mean gradient over a sample changes sign, compared with SciPy's expectile of that sample."""
    with jax.enable_x64(True):
        sample = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=101))
        gradient = jax.jit(jax.grad(lambda value: expectile_loss(sample - value, level).mean()))
        truth = stats.expectile(np.asarray(sample), level)
        assert abs(gradient(truth)) < 1e-12
        assert gradient(truth - 1e-3) < 0 < gradient(truth + 1e-3)


def test_half_an_expectile_is_half_the_squared_error():
    difference = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(expectile_loss(difference, 0.5), 0.5 * difference**2)


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(jnp.asarray, random_batch(16))


def test_twin_q_evaluates_as_one_would_by_hand(batch):
    """next_value = min_j Qema_j(next_obs, a'), A = min_j Qema_j(obs, a) - mean_i min_j Qema_j(obs, a_i)."""
    network = q_network(2, (8, 8))
    q = jax.jit(network.apply)
    critic = twin_q.make(q_network=network, samples=3)
    assert (critic.next_samples, critic.samples) == (1, 3)
    params, target = (jax.jit(critic.init)(jax.random.key(seed), batch) for seed in (0, 1))
    actions = np.random.default_rng(0).normal(size=(4, 16, 2)).astype(np.float32)
    result = jax.jit(critic.evaluate)(params, target, batch, actions[:1], actions[1:], HPARAMS)
    np.testing.assert_allclose(result.next_value, q(target, batch.next_obs, actions[0]).min(0), rtol=1e-5, atol=1e-6)
    baseline = np.mean([q(target, batch.obs, action).min(0) for action in actions[1:]], axis=0)
    expected = q(target, batch.obs, batch.action).min(0) - baseline
    np.testing.assert_allclose(result.advantage, expected, rtol=1e-4, atol=1e-6)


def test_the_best_of_several_candidates_is_each_critics_own(batch):
    """max over the candidates member by member, then min over the ensemble: against one call at a time."""
    network = q_network(3, (8, 8))
    q = jax.jit(network.apply)
    critic = twin_q.make(q_network=network, samples=2, candidates=4)
    assert (critic.next_samples, critic.samples) == (4, 2)
    params, target = (jax.jit(critic.init)(jax.random.key(seed), batch) for seed in (0, 1))
    actions = 3 * np.random.default_rng(0).normal(size=(6, 16, 2)).astype(np.float32)
    result = jax.jit(critic.evaluate)(params, target, batch, actions[:4], actions[4:], HPARAMS)
    by_hand, other_order = np.empty(16), np.empty(16)
    for b in range(16):
        values = np.array([[q(target, batch.next_obs, actions[n])[e, b] for n in range(4)] for e in range(3)])
        by_hand[b], other_order[b] = values.max(axis=1).min(), values.min(axis=0).max()
    np.testing.assert_allclose(result.next_value, by_hand, rtol=1e-4, atol=1e-6)
    assert np.abs(by_hand - other_order).max() > 1e-3  # or the order would not show
    # The advantage is what it is with one candidate.
    alone = jax.jit(critic.evaluate)(params, target, batch, actions[:1], actions[4:], HPARAMS)
    np.testing.assert_allclose(result.advantage, alone.advantage, rtol=1e-4, atol=1e-6)


def test_without_samples_at_obs_there_is_no_advantage(batch):
    """A guidance that does not look at it pays for none: the bootstrap stays, the advantage is 0."""
    network = q_network(2, (8, 8))
    critic = twin_q.make(q_network=network)
    target = jax.jit(critic.init)(jax.random.key(1), batch)
    actions = np.random.default_rng(0).normal(size=(1, 16, 2)).astype(np.float32)
    result = jax.jit(critic.evaluate)(target, target, batch, actions, actions[:0], HPARAMS)
    expected = jax.jit(network.apply)(target, batch.next_obs, actions[0]).min(0)
    np.testing.assert_allclose(result.next_value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result.advantage, np.zeros(16))


def test_expectile_evaluates_as_one_would_by_hand(batch):
    q_net, v_net = q_network(2, (8, 8)), v_network((8, 8))
    critic = expectile.make(q_network=q_net, v_network=v_net, expectile=0.7)
    assert (critic.next_samples, critic.samples) == (0, 0)
    params, target = (jax.jit(critic.init)(jax.random.key(seed), batch) for seed in (0, 1))
    result = jax.jit(critic.evaluate)(params, target, batch, None, None, HPARAMS)
    q, v = jax.jit(q_net.apply), jax.jit(v_net.apply)
    np.testing.assert_allclose(result.next_value, v(params.v, batch.next_obs), rtol=1e-5, atol=1e-6)
    advantage = q(target.q, batch.obs, batch.action).min(0) - v(params.v, batch.obs)
    np.testing.assert_allclose(result.advantage, advantage, rtol=1e-4, atol=1e-6)

    loss, _ = jax.jit(critic.loss)(params, target, batch, result.next_value, HPARAMS)
    q_now = q(params.q, batch.obs, batch.action)
    td = ((batch.reward + 0.9 * batch.discount * result.next_value)[None] - q_now) ** 2
    weights = np.where(advantage < 0, 0.3, 0.7)
    np.testing.assert_allclose(loss, td.sum(0) + weights * advantage**2, rtol=1e-4, atol=1e-6)


def critics():
    q_net = q_network(2, (8,))
    return [
        twin_q.make(q_network=q_net),
        expectile.make(q_network=q_net, v_network=v_network((8,)), expectile=0.9),
        value.make(v_network=v_network((8,)), expectile=0.9),
    ]


@pytest.mark.parametrize("critic", critics(), ids=["twin_q", "expectile", "value"])
def test_no_gradient_flows_into_the_target(critic, batch):
    params, target = (jax.jit(critic.init)(jax.random.key(seed), batch) for seed in (0, 1))

    @jax.jit
    def gradients(params, target):
        def total(params, target):
            return critic.loss(params, target, batch, batch.reward, HPARAMS)[0].sum()

        return jax.grad(total, argnums=(0, 1))(params, target)

    of_params, of_target = jax.tree.map(np.asarray, gradients(params, target))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(of_target))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(of_params))


@pytest.mark.parametrize("critic", critics(), ids=["twin_q", "expectile", "value"])
def test_termination_stops_the_bootstrap(critic, batch):
    """The next value matters exactly where discount is 1; a time-out is no termination."""
    params = jax.jit(critic.init)(jax.random.key(0), batch)
    loss = jax.jit(lambda value: critic.loss(params, params, batch, value, HPARAMS)[0])
    changed = np.asarray(loss(batch.reward)) != np.asarray(loss(batch.reward + 5))
    np.testing.assert_array_equal(changed, np.asarray(batch.discount) == 1)


def train(critic, chain, num_updates):
    """Trains a critic alone, through the agent's own update, on all transitions of the chain at once."""
    batch = jax.tree.map(jnp.asarray, chain.batch())
    agent = make_agent(constant_policy(chain.target_action), critic, GUIDANCE["advantage"](), num_steps=1)
    names = ("eta", "policy_lr", "policy_ema", "critic_lr", "critic_ema", "discount")
    hparams = dict(zip(names, jnp.array([1.0, 0.0, 0.1, 5e-3, 0.1, chain.gamma]), strict=True))

    @jax.jit
    def run(key):
        state = agent.init(key, batch, hparams)
        state, _ = jax.lax.scan(lambda state, _: agent.update(state, batch), state, length=num_updates)
        actions = jnp.full((1, 4, 1), chain.target_action)
        advantage = critic.evaluate(state.critic, state.critic_ema, batch, actions, actions, hparams).advantage
        return critic.q and critic.q(state.critic, batch.obs, batch.action), advantage

    return run(jax.random.key(0))


def test_twin_q_learns_a_known_chain():
    """Q of room 1 is a; room 0 pays -a and goes on to 0.9 Q(1, a' = 1) = 0.9."""
    chain = Chain()
    q, advantage = train(twin_q.make(q_network=q_network(2, (32, 32))), chain, 800)
    np.testing.assert_allclose(q, np.stack([chain.q(1.0)] * 2), atol=0.05)
    # Against the policy's 1: playing it costs 1 in room 0, playing 0 costs 1 in room 1.
    np.testing.assert_allclose(advantage, [1, 0, -1, 0], atol=0.05)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_expectile_learns_a_known_chain(level):
    """Of 0 and 1 equally often, the expectile is the level itself; so room 0's Q is -a + 0.9 level."""
    chain = Chain()
    critic = expectile.make(q_network=q_network(2, (32, 32)), v_network=v_network((32, 32)), expectile=level)
    q, advantage = train(critic, chain, 1200)
    np.testing.assert_allclose(q, np.stack([chain.q(level)] * 2), atol=0.05)
    np.testing.assert_allclose(advantage[2:], [-level, 1 - level], atol=0.05)


def test_state_values_evaluate_as_one_would_by_hand(batch):
    """next_value = Vema(next_obs); A = r + gamma discount Vema(next_obs) - Vema(obs), 0.9 being the one gamma."""
    network = v_network((8, 8))
    critic = value.make(v_network=network, expectile=0.7)
    assert (critic.next_samples, critic.samples, critic.q) == (0, 0, None)
    params, target = (jax.jit(critic.init)(jax.random.key(seed), batch) for seed in (0, 1))
    result = jax.jit(critic.evaluate)(params, target, batch, None, None, HPARAMS)
    v = jax.jit(network.apply)
    np.testing.assert_allclose(result.next_value, v(target, batch.next_obs), rtol=1e-5, atol=1e-6)
    followed = batch.reward + 0.9 * batch.discount * result.next_value
    np.testing.assert_allclose(result.advantage, followed - v(target, batch.obs), rtol=1e-4, atol=1e-6)
    loss, _ = jax.jit(critic.loss)(params, target, batch, result.next_value, HPARAMS)
    error = followed - v(params, batch.obs)
    np.testing.assert_allclose(loss, np.where(error < 0, 0.3, 0.7) * error**2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_state_values_learn_a_known_chain(level):
    """Room 1 pays 0 or 1 and is worth the level; room 0 pays -1 or 0 and is worth level - 1 + 0.9 level."""
    _, advantage = train(value.make(v_network=v_network((32, 32)), expectile=level), Chain(), 1200)
    np.testing.assert_allclose(advantage, [1 - level, -level, -level, 1 - level], atol=0.05)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="critic.samples = 0"):
        twin_q.make(q_network=q_network(), samples=0)
    with pytest.raises(ValueError, match="critic.candidates = 0"):
        twin_q.make(q_network=q_network(), candidates=0)
    for level in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match=f"critic.expectile = {level}"):
            expectile.make(q_network=q_network(), v_network=v_network(), expectile=level)
        with pytest.raises(ValueError, match=f"critic.expectile = {level}"):
            value.make(v_network=v_network(), expectile=level)
