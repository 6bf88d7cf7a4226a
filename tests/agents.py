"""Small agents for the tests of the update."""

import jax
import jax.numpy as jnp

from gtp_jax.agent.networks import flow_network
from gtp_jax.flow.times import Schedule
from gtp_jax.policies import gtp

HPARAMS = {
    "eta": 1.0,
    "lambda_flow": 1.0,
    "lambda_consistency": 1.0,
    "policy_lr": 1e-3,
    "policy_ema": 0.25,
    "critic_lr": 2e-3,
    "critic_ema": 0.125,
    "discount": 0.99,
}


def hparams(**changes):
    return {name: jnp.float32(value) for name, value in (HPARAMS | changes).items()}


def make_policy():
    return gtp.make(
        network=flow_network(2, (8,)),
        action_low=-jnp.ones(2),
        action_high=jnp.ones(2),
        curriculum_updates=80,
        schedule=Schedule(0.002, 10.0),
    )


def run(agent, batch, updates, init=None, **changes):
    """`init` may be that of an agent with the same networks, which is compiled already."""
    state, history = (init or agent.init)(jax.random.key(3), batch, hparams(**changes)), []
    for _ in range(updates):
        state, metrics = agent.update(state, batch)
        history.append(metrics)
    return state, history
