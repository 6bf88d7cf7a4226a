"""quantumiracle/Consistency_Model_For_Reinforcement_Learning (PyTorch): as its offline.py runs antmaze-umaze, T = 2."""

import torch
from agents.ql_consistency import Consistency_QL
from utils.data_sampler import Data_Sampler


def make(data, batch_size):
    """Its agent, its sampler, no log writer. Averages of the policy start at once, not after 1,000 updates.

    Its time grid grows from 2 to 150 points within each call of `train`, so a turn costs what a run costs on average.
    """
    agent = Consistency_QL(
        state_dim=data["observations"].shape[1],
        action_dim=data["actions"].shape[1],
        max_action=1.0,
        device="cpu",
        discount=0.99,
        tau=0.005,
        max_q_backup=False,
        n_timesteps=2,
        step_start_ema=0,
        eta=0.01,
        lr=3e-4,
        grad_norm=2.0,
        q_norm=True,
    )
    sampler = Data_Sampler(data, "cpu", "cql_antmaze")

    def run(num_updates):
        return agent.train(sampler, iterations=num_updates, batch_size=batch_size)["critic_loss"][-1]

    def act(obs):
        with torch.no_grad():
            return agent.actor.sample(torch.as_tensor(obs)).numpy()

    return run, None, act
