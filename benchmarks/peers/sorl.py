"""nico-espinosadice/SORL (JAX): its shortcut policy at our size, 3 x 256 for its 4 x 512."""

import jax
import numpy as np
from agents.sorl import SORLAgent, get_config
from utils.datasets import Dataset


def make(data, batch_size):
    """Its agent and dataset, called as its main.py calls them: a NumPy batch for each update."""
    config = get_config()
    config.actor_layer_size, config.actor_num_layers = 256, 3
    config.value_layer_size, config.value_num_layers = 256, 3
    dataset = Dataset.create(**data, masks=1.0 - data["terminals"])
    first = dataset.sample(1)
    agent = SORLAgent.create(0, first["observations"], first["actions"], config)

    def run(num_updates):
        nonlocal agent
        for _ in range(num_updates):
            agent, metrics = agent.update(dataset.sample(batch_size))
        jax.block_until_ready(agent)
        return float(metrics["critic_loss"])

    key = jax.random.key(0)

    def act(obs):
        return np.asarray(agent.sample_actions(obs, seed=key, inference_timesteps=8, best_of_d=False, n=1))

    return run, lambda: agent.update(dataset.sample(batch_size)), act
