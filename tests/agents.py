"""Small agents for the tests of the update, compiled once for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from oracles import quick_jit, random_batch

from gtp_jax import policies
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.networks import flow_network, q_network
from gtp_jax.agent.update import make_agent
from gtp_jax.critics import twin_q
from gtp_jax.types import Critic, Policy, ValueEstimate

HPARAMS = {"eta": 1.0, "lambda_flow": 1.0, "lambda_consistency": 1.0, "policy_lr": 1e-3, "policy_ema": 0.25}
HPARAMS |= {"critic_lr": 2e-3, "critic_ema": 0.125, "discount": 0.99}
LOW, HIGH = np.array([-1.0, -0.8], np.float32), np.array([1.0, 0.9], np.float32)
BATCH = jax.tree.map(jnp.asarray, random_batch(16))  # of observations [3] and actions [2]


def hparams(**changes):
    return {name: jnp.float32(value) for name, value in (HPARAMS | changes).items()}


def make_policy(name="gtp", **settings):
    """A policy of any class, of two steps where their number is fixed."""
    module = policies.FAMILY[name]
    given = {
        "network": flow_network(2, (8,), time_scale=getattr(module, "TIME_SCALE", "log")),
        "action_low": jnp.asarray(LOW),
        "action_high": jnp.asarray(HIGH),
    }
    given |= {"curriculum_updates": 80} if name in ("gtp", "ctm", "consistency") else {}
    given |= {"num_steps": 2} if getattr(module, "FIXED_STEPS", False) else {}
    return module.make(module.Settings(**settings), **given)


@functools.cache
def compiled_policy(name="gtp", **settings):
    """The policy, compiled, and parameters of it."""
    made = make_policy(name, **settings)
    sample = quick_jit(made.sample, static_argnums=3)
    policy = made._replace(init=quick_jit(made.init), loss=quick_jit(made.loss), sample=sample)
    return policy, policy.init(jax.random.key(0), BATCH)


def twin(**settings):
    return twin_q.make(twin_q.Settings(**settings), q_network=q_network(2, (8,)))


def stub_policy(sample, loss=None):
    """A policy with one parameter; by default its loss is that parameter times the reward."""

    def parameter_times_reward(params, target_params, key, batch, hparams, step):
        return params * batch.reward, {}

    return Policy(init=lambda key, batch: jnp.float32(1), loss=loss or parameter_times_reward, sample=sample)


def stub_critic(q=None, samples=0, evaluate=None, loss=None):
    """A critic with one parameter; by default every value and advantage is 0."""

    def zeros(params, target_params, batch, next_actions, actions, hparams):
        return ValueEstimate(jnp.zeros_like(batch.reward), jnp.zeros_like(batch.reward))

    def parameter_times_value(params, target_params, batch, next_value, hparams):
        return params * next_value, {}

    init = lambda key, batch: jnp.float32(1)
    return Critic(init, evaluate or zeros, loss or parameter_times_value, q, samples, samples)


def compiled(agent):
    return agent._replace(init=quick_jit(agent.init), update=quick_jit(agent.update))


@functools.cache
def agent(name="advantage"):
    """GTP with a guidance, and with twin critics where it needs a critic."""
    guidance = GUIDANCE[name]()
    return compiled(make_agent(make_policy(), twin() if guidance.needs_critic else None, guidance, num_steps=2))


def run(agent, batch, updates, **changes):
    state, history = agent.init(jax.random.key(3), batch, hparams(**changes)), []
    for _ in range(updates):
        state, metrics = agent.update(state, batch)
        history.append(metrics)
    return state, history
