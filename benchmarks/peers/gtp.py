"""Ours: one seed, as a run trains it, so many updates in one dispatch."""

import copy

import jax
import numpy as np

from gtp_jax.agent import build
from gtp_jax.config.settings import DEFAULTS, check
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.types import Batch


def make(data, batch_size, activation):
    """K = 5 for the critic's target and for one sampled action as the baseline; advantage weights with eta = 1."""
    settings = copy.deepcopy(DEFAULTS)
    settings["policy"]["activation"] = activation
    settings["critic"] |= {"num_steps": 5, "samples": 1, "activation": activation}
    settings["guidance"] |= {"name": "advantage", "eta": 1.0}
    check(settings)
    batch = Batch(
        obs=data["observations"],
        action=data["actions"],
        reward=data["rewards"],
        discount=1.0 - data["terminals"],
        next_obs=data["next_observations"],
    )
    bound = np.ones(batch.action.shape[1], np.float32)
    agent, hparams = build.make(settings, -bound, bound)
    first = jax.tree.map(lambda column: column[:batch_size], batch)

    def init(key):
        return agent.init(key, first, hparams)

    seeds = Seeds(init, agent.update, batch, seeds=(0,), batch_size=batch_size)
    state = seeds.init()

    def run(num_updates):
        nonlocal state
        state, metrics = seeds.advance(state, num_updates)
        return float(seeds.gather(metrics)["policy/loss"][0])

    key, params = jax.random.key(0), init(jax.random.key(0)).policy_ema
    options = acting_options(jax.devices()[0])
    sample = jax.jit(lambda params, key, obs: agent.act(params, key, obs, 5), compiler_options=options)
    return run, lambda: agent.update(init(key), first), lambda obs: np.asarray(sample(params, key, obs))
