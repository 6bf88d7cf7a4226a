"""Gymnasium's own locomotion tasks as worlds to learn in, with their rewards and ends as they are."""

import numpy as np

from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.envs.registry import make_gym

TEST_EPISODES, TEST_SEED = 5, 7


class Gym:
    """Environments stepped together, each reset where its episode ends."""

    gamma = 0.99

    def __init__(self, env_id: str, num_envs: int, rng: np.random.Generator):
        self.env_id, self.rng = env_id, rng
        self.envs = [make_gym(env_id) for _ in range(num_envs)]
        self.obs = np.stack([self._reset(env) for env in self.envs])
        self.feature_dim = self.obs.shape[1]
        self.action_dim = len(self.envs[0].action_space.sample())
        self.target_entropy = -float(self.action_dim)

    def _reset(self, env) -> np.ndarray:
        return env.reset(seed=int(self.rng.integers(2**31)))[0]

    def observe(self) -> np.ndarray:
        """The observations [n, F], float32."""
        return self.obs.astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Takes one action [n, A] in every environment.

        Returns the next observations [n, F], still of the old episode; the rewards [n]; whether the episode terminated
        [n], which a time-out is not; and the rewards again, which are the score.
        """
        next_obs, reward, terminated = np.empty_like(self.obs), np.zeros(len(self.envs)), np.zeros(len(self.envs), bool)
        for i, env in enumerate(self.envs):
            next_obs[i], reward[i], terminated[i], truncated, _ = env.step(action[i])
            self.obs[i] = self._reset(env) if terminated[i] or truncated else next_obs[i]
        return next_obs.astype(np.float32), reward, terminated, reward

    def test(self, controller: Controller) -> str:
        """Mean return of whole episodes, without exploration."""
        env, returns = make_gym(self.env_id), []
        for i in range(TEST_EPISODES):
            obs, total, over = env.reset(seed=TEST_SEED + i)[0], 0.0, False
            while not over:
                obs, reward, terminated, truncated, _ = env.step(controller.action(obs[None].astype(np.float32))[0])
                total, over = total + float(reward), terminated or truncated
            returns.append(total)
        return f"return {np.mean(returns):7.1f} ({np.min(returns):.0f} to {np.max(returns):.0f})"
