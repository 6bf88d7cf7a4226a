"""typoverflow/flow-rl (JAX): its Diffusion-QL with the settings of its own dql.yaml, T = 5."""

import copy
import sys
from pathlib import Path

import jax
import numpy as np
from flowrl.agent.offline.dql import DQLAgent
from flowrl.types import Batch
from omegaconf import OmegaConf


def models(agent):
    """All that an update changes."""
    return [getattr(agent, name) for name in agent.model_names]


def make(data, batch_size):
    """Its agent, called as its trainer calls it: a NumPy batch for each update.

    Its dataset needs d4rl, so rows are drawn here as there, from a shuffled order. Averages of the policy start at
    once, not after 1,000 updates.
    """
    config = OmegaConf.load(Path(sys.path[0]) / "examples" / "offline" / "config" / "d4rl" / "algo" / "dql.yaml").algo
    config.start_actor_ema = 0
    agent = DQLAgent(data["observations"].shape[1], data["actions"].shape[1], config, seed=0)
    columns = {
        "obs": data["observations"],
        "action": data["actions"],
        "reward": data["rewards"][:, None],
        "terminal": data["terminals"][:, None],
        "next_obs": data["next_observations"],
        "next_action": data["actions"],
    }
    order, at = np.random.default_rng(0).permutation(len(data["actions"])), 0

    def draw():
        nonlocal at
        rows = order[at : at + batch_size]
        at = (at + batch_size) % (len(order) - 2 * batch_size)
        return Batch(**{name: column[rows] for name, column in columns.items()})

    def run(num_updates):
        for step in range(num_updates):
            metrics = agent.train_step(draw(), step)
        jax.block_until_ready(models(agent))
        return float(metrics["loss/critic_loss"])

    def one():
        traced = copy.copy(agent)
        return traced.train_step(draw(), 0), models(traced)

    return run, one, lambda obs: np.asarray(agent.sample_actions(obs, num_samples=1)[0])
