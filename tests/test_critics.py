"""Value losses and critics: closed forms, no leaking gradients, and known values that training must reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import BATCH, stub_policy
from oracles import Chain, quick_jit
from scipy import stats

from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.networks import q_network, v_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import expectile, twin_q, value
from gtp_jax.critics._losses import expectile_loss, td_loss

HPARAMS = {"discount": jnp.float32(0.9)}
Q, V = q_network(3, (8,)), v_network((8,))
q_of, v_of = quick_jit(Q.apply), quick_jit(V.apply)
EVERY_CRITIC = pytest.mark.parametrize("name", ["twin_q", "expectile", "value"])
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def make(name, q=Q, v=V, **settings):
    if name == "twin_q":
        return twin_q.make(twin_q.Settings(**settings), q_network=q)
    if name == "expectile":
        return expectile.make(expectile.Settings(**settings), q_network=q, v_network=v)
    return value.make(value.Settings(**settings), v_network=v)


@functools.cache
def parameters(name):
    """Two of each critic's: those that are trained, and those that they are compared with."""
    init = quick_jit(make(name).init)
    return init(jax.random.key(0), BATCH), init(jax.random.key(1), BATCH)


def evaluate(critic, name, next_actions=None, actions=None):
    none = np.zeros((0, 16, 2), np.float32)
    given = (none if one is None else one for one in (next_actions, actions))
    return quick_jit(critic.evaluate)(*parameters(name), BATCH, *given, HPARAMS)


def test_td_loss_in_closed_form():
    q = jnp.array([[1.0, 2.0], [3.0, -1.0]])  # two critics, two examples
    loss = td_loss(q, jnp.array([1.0, 1.0]), jnp.array([0.9, 0.0]), jnp.array([2.0, 100.0]))
    # Targets 1 + 0.9 * 2 = 2.8 and, terminal, 1.
    np.testing.assert_allclose(loss, [1.8**2 + 0.2**2, 1.0 + 4.0], rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_minimum_of_the_expectile_loss_is_the_expectile(level, x64):
    """Where the mean gradient over a sample changes sign, compared with SciPy's expectile of that sample."""
    sample = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=101))
    gradient = quick_jit(jax.grad(lambda value: expectile_loss(sample - value, level).mean()))
    truth = stats.expectile(np.asarray(sample), level)
    assert abs(gradient(truth)) < 1e-12
    assert gradient(truth - 1e-3) < 0 < gradient(truth + 1e-3)
    np.testing.assert_array_equal(expectile_loss(sample - 2, 0.5), 0.5 * (sample - 2) ** 2)


@pytest.mark.parametrize(("backup", "baseline"), [(1, 3), (4, 2), (1, 0)])
def test_twin_q_evaluates_as_one_would_by_hand(backup, baseline):
    """next_value = min_j max_i Qema_j(next_obs, a'_i), A = min_j Qema_j(obs, a) - mean_i min_j Qema_j(obs, a_i).

    The maximum is each network's own, before the minimum; without samples at obs the advantage is 0.
    """
    critic = make("twin_q", backup_samples=backup, baseline_samples=baseline or 1)
    assert (critic.next_samples, critic.baseline_samples) == (backup, baseline or 1)
    actions = 3 * np.random.default_rng(0).normal(size=(backup + baseline, 16, 2)).astype(np.float32)
    result = evaluate(critic, "twin_q", actions[:backup], actions[backup:])
    _, target = parameters("twin_q")
    values = np.stack([q_of(target, BATCH.next_obs, action) for action in actions[:backup]], axis=1)  # [E, n, B]
    close(result.next_value, values.max(axis=1).min(axis=0))
    if backup > 1:  # the other order would show
        assert np.abs(values.max(axis=1).min(axis=0) - values.min(axis=0).max(axis=0)).max() > 1e-3
    others = [q_of(target, BATCH.obs, action).min(0) for action in actions[backup:]]
    expected = q_of(target, BATCH.obs, BATCH.action).min(0) - np.mean(others, axis=0) if others else np.zeros(16)
    close(result.advantage, expected)


def test_expectile_evaluates_as_one_would_by_hand():
    critic, (params, target) = make("expectile", expectile=0.7), parameters("expectile")
    assert (critic.next_samples, critic.baseline_samples) == (0, 0)
    result = evaluate(critic, "expectile")
    close(result.next_value, v_of(params.v, BATCH.next_obs))
    advantage = q_of(target.q, BATCH.obs, BATCH.action).min(0) - v_of(params.v, BATCH.obs)
    close(result.advantage, advantage)
    loss, _ = quick_jit(critic.loss)(params, target, BATCH, result.next_value, HPARAMS)
    followed = BATCH.reward + 0.9 * BATCH.discount * result.next_value
    td = (followed[None] - q_of(params.q, BATCH.obs, BATCH.action)) ** 2
    close(loss, td.sum(0) + np.where(advantage < 0, 0.3, 0.7) * advantage**2)


def test_state_values_evaluate_as_one_would_by_hand():
    """next_value = Vema(next_obs); A = r + gamma discount Vema(next_obs) - Vema(obs), 0.9 being the one gamma."""
    critic, (params, target) = make("value", expectile=0.7), parameters("value")
    assert (critic.next_samples, critic.baseline_samples, critic.q) == (0, 0, None)
    result = evaluate(critic, "value")
    close(result.next_value, v_of(target, BATCH.next_obs))
    followed = BATCH.reward + 0.9 * BATCH.discount * result.next_value
    close(result.advantage, followed - v_of(target, BATCH.obs))
    loss, _ = quick_jit(critic.loss)(params, target, BATCH, result.next_value, HPARAMS)
    error = followed - v_of(params, BATCH.obs)
    close(loss, np.where(error < 0, 0.3, 0.7) * error**2)


@EVERY_CRITIC
def test_termination_stops_the_bootstrap_and_targets_get_no_gradient(name):
    """The next value matters exactly where discount is 1; a time-out is no termination."""
    critic = make(name)

    @quick_jit
    def loss_and_gradients(params, target, next_value):
        def total(params, target):
            per_example, _ = critic.loss(params, target, BATCH, next_value, HPARAMS)
            return per_example.sum(), per_example

        gradients, per_example = jax.grad(total, argnums=(0, 1), has_aux=True)(params, target)
        return per_example, gradients

    params, target = parameters(name)
    loss, (of_params, of_target) = loss_and_gradients(params, target, BATCH.reward)
    changed = np.asarray(loss) != np.asarray(loss_and_gradients(params, target, BATCH.reward + 5)[0])
    np.testing.assert_array_equal(changed, np.asarray(BATCH.discount) == 1)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(of_target))
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(of_params))


# What the data's actions, 0 and 1 equally often, are worth to the policy: that of action 1, or the expectile.
@pytest.mark.parametrize(
    ("name", "settings", "worth", "advantage"),
    [
        # Against the policy's 1: playing it costs 1 in room 0, playing 0 costs 1 in room 1.
        ("twin_q", {}, 1.0, [1, 0, -1, 0]),
        ("expectile", {"expectile": 0.9}, 0.9, [None, None, -0.9, 0.1]),
        # Room 1 pays 0 or 1 and is worth the level; room 0 pays -1 or 0 and is worth level - 1 + 0.9 level.
        ("value", {"expectile": 0.9}, None, [0.1, -0.9, -0.9, 0.1]),
        ("value", {"expectile": 0.5}, None, [0.5, -0.5, -0.5, 0.5]),
    ],
)
def test_critics_learn_a_known_chain(name, settings, worth, advantage):
    """Trained alone, through the agent's own update, on all transitions of the chain at once."""
    chain = Chain()
    critic = make(name, q_network(2, (32, 32)), v_network((32, 32)), **settings)
    batch = jax.tree.map(jnp.asarray, chain.batch())
    policy = stub_policy(lambda params, key, obs, *_: jnp.full((*obs.shape[:-1], 1), chain.target_action))
    agent = make_agent(policy, critic, GUIDANCE["advantage"](), num_steps=1)
    names = ("eta", "policy_lr", "policy_ema", "critic_lr", "critic_ema", "discount")
    hparams = dict(zip(names, jnp.array([1.0, 0.0, 0.1, 5e-3, 0.1, chain.gamma]), strict=True))

    @quick_jit
    def train(key):
        state = agent.init(key, batch, hparams)
        state, _ = jax.lax.scan(lambda state, _: agent.update(state, batch), state, length=1000)
        actions = jnp.full((1, 4, 1), chain.target_action)
        estimate = critic.evaluate(state.critic, state.critic_ema, batch, actions, actions, hparams)
        return critic.q and critic.q(state.critic, batch.obs, batch.action), estimate.advantage

    q, found = train(jax.random.key(0))
    if worth is not None:
        np.testing.assert_allclose(q, np.stack([chain.q(worth)] * 2), atol=0.05)
    for one, expected in zip(found, advantage, strict=True):
        assert expected is None or abs(one - expected) < 0.05, (found, advantage)


def test_impossible_settings_are_refused():
    for name in ("baseline_samples", "backup_samples"):
        with pytest.raises(ValueError, match=f"critic.{name} = 0 must be a whole number at least 1"):
            twin_q.Settings(**{name: 0})
    for level in (0.0, 1.0, -0.5):
        for module in (expectile, value):
            with pytest.raises(ValueError, match=f"critic.expectile = {level} must be a number at least 0, at most 1"):
                module.Settings(expectile=level)
    with pytest.raises(ValueError, match="critic.observation = 'positions' .*did you mean 'position'"):
        value.Settings(observation="positions")
