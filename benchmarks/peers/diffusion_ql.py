"""Zhendong-Wang/Diffusion-Policies-for-Offline-RL (PyTorch): Diffusion-QL as its main.py runs antmaze-umaze, T = 5."""

import torch
from agents.ql_diffusion import Diffusion_QL
from utils.data_sampler import Data_Sampler


def make(data, batch_size):
    """Its agent, its sampler, no log writer. Averages of the policy start at once, not after 1,000 updates."""
    agent = Diffusion_QL(
        state_dim=data["observations"].shape[1],
        action_dim=data["actions"].shape[1],
        max_action=1.0,
        device="cpu",
        discount=0.99,
        tau=0.005,
        max_q_backup=False,
        beta_schedule="vp",
        n_timesteps=5,
        step_start_ema=0,
        eta=0.5,
        lr=3e-4,
        grad_norm=2.0,
    )
    sampler = Data_Sampler(data, "cpu", "cql_antmaze")

    def run(num_updates):
        return agent.train(sampler, iterations=num_updates, batch_size=batch_size)["critic_loss"][-1]

    def act(obs):
        with torch.no_grad():
            return agent.actor.sample(torch.as_tensor(obs)).numpy()

    return run, None, act
