"""The Q term through the sampler: it leads upwards, is added once, and draws noise of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import hparams, make_policy, run
from oracles import assert_trees_equal, quick_jit, random_batch

from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.networks import flow_network, q_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import twin_q
from gtp_jax.policies import gaussian
from gtp_jax.types import Critic, Evaluation, Policy


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(jnp.asarray, random_batch(16))


def known_q(best=0.5):
    """A bandit's critic that has nothing to learn: Q = 2 - |a - best|^2, twice; the second is three times as large."""

    def q(params, obs, action):
        value = 2 - jnp.sum((action - best) ** 2, axis=-1)
        return jnp.stack([value, 3 * value])

    def evaluate(params, target_params, batch, next_actions, actions, hparams):
        return Evaluation(jnp.zeros_like(batch.reward), jnp.zeros_like(batch.reward))

    def loss(params, target_params, batch, next_value, hparams):
        return params * next_value, {}

    return Critic(lambda key, batch: jnp.zeros(()), evaluate, loss, q, next_samples=0, samples=0)


@pytest.mark.parametrize("name", ["gaussian", "gtp"])
def test_it_moves_the_policy_towards_higher_values(batch, name):
    """Data around -0.4, values highest at 0.5: cloning stays with the data, the Q term leads most of the way."""
    bounds = {"action_low": -jnp.ones(2), "action_high": jnp.ones(2)}
    policy = gaussian.make(network=flow_network(2, (8,)), **bounds) if name == "gaussian" else make_policy()
    agent = make_agent(policy, known_q(), GUIDANCE["q"](), num_steps=2)
    batch = batch._replace(action=-0.4 + 0.1 * batch.action)

    @quick_jit
    def mean_action(eta):
        values = hparams(policy_lr=1e-2) | {"eta": eta}
        state = agent.init(jax.random.key(0), batch, values)
        state, _ = jax.lax.scan(lambda state, _: agent.update(state, batch), state, length=300)
        return jnp.mean(agent.act(state.policy, jax.random.key(1), batch.obs, 2))

    cloned, guided = mean_action(jnp.float32(0)), mean_action(jnp.float32(50))
    assert abs(cloned + 0.4) < 0.15
    assert abs(guided - 0.5) < 0.2


def test_it_leaves_the_critic_alone_and_is_added_once(batch):
    """The critic's step does not know of eta; the policy's loss is that of cloning and eta A q_loss more."""
    critic = twin_q.make(q_network=q_network(2, (8,)))
    made = make_agent(make_policy(), critic, GUIDANCE["q"](), num_steps=2)
    q_guided = made._replace(update=quick_jit(made.update))
    (plain, without), (guided, with_q) = (run(q_guided, batch, 1, quick_jit(made.init), eta=eta) for eta in (0.0, 5.0))
    assert_trees_equal(plain.critic, guided.critic)
    difference = with_q[0]["policy/loss"] - without[0]["policy/loss"]
    np.testing.assert_allclose(difference, 5.0 * 2 * with_q[0]["guidance/q_loss"], rtol=1e-3)
    changed = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), plain.policy, guided.policy)
    assert all(jax.tree.leaves(changed))
    assert "guidance/advantage_std" not in with_q[0]


def test_its_samples_have_noise_of_their_own(batch):
    """Whatever keys a loss makes of its own by splitting: the sampler of the Q term is given another one."""
    seen = {"loss": [], "sample": []}
    policy, note = make_policy(), lambda name: lambda data: seen[name].append(tuple(data.tolist()))

    def loss(params, target_params, key, batch, hparams, step):
        for count in (2, 3, 4):
            for child in jax.random.split(key, count):
                jax.debug.callback(note("loss"), jax.random.key_data(child))
        jax.debug.callback(note("loss"), jax.random.key_data(key))
        return policy.loss(params, target_params, key, batch, hparams, step)

    def sample(params, key, obs, num_steps, temperature=1.0):
        jax.debug.callback(note("sample"), jax.random.key_data(key))
        return policy.sample(params, key, obs, num_steps, temperature)

    critic = twin_q.make(q_network=q_network(2, (8,)), candidates=2)
    agent = make_agent(Policy(policy.init, loss, sample), critic, GUIDANCE["q"](), num_steps=2)
    quick_jit(agent.update)(quick_jit(agent.init)(jax.random.key(3), batch, hparams()), batch)
    jax.effects_barrier()
    assert len(seen["sample"]) == 2 and len(set(seen["sample"])) == 2  # for the critic, and for the Q term
    assert not set(seen["sample"]) & set(seen["loss"])
