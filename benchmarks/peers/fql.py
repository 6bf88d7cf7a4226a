"""seohongpark/fql (JAX): flow Q-learning at our size, 3 x 256 for its 4 x 512 and 5 flow steps for 10."""

import jax
import numpy as np
from agents.fql import FQLAgent, get_config
from utils.datasets import Dataset


def make(data, batch_size):
    """Its agent and dataset, called as its main.py calls them: a NumPy batch for each update."""
    config = get_config()
    config.flow_steps = 5
    config.actor_hidden_dims = config.value_hidden_dims = (256, 256, 256)
    dataset = Dataset.create(**data, masks=1.0 - data["terminals"])
    first = dataset.sample(1)
    agent = FQLAgent.create(0, first["observations"], first["actions"], config)

    def run(num_updates):
        nonlocal agent
        for _ in range(num_updates):
            agent, metrics = agent.update(dataset.sample(batch_size))
        jax.block_until_ready(agent)
        return float(metrics["critic/critic_loss"])

    key = jax.random.key(0)

    def act(obs):
        return np.asarray(agent.sample_actions(obs, seed=key))

    return run, lambda: agent.update(dataset.sample(batch_size)), act
