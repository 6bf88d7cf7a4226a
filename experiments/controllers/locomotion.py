"""Tasks of Gymnasium and of OGBench as worlds to learn in, with their rewards and ends as they are."""

import importlib
from typing import Any

import numpy as np

from controllers.field import HARD_STARTS, throw
from gtp_jax.datasets.builtin.ant import OBSERVATION_DIM, features, to_ctrl
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.envs.making import make_gym

TEST_EPISODES, TEST_SEED = 5, 7
RESAMPLE_STEPS, STEP_SECONDS = 100, 0.1  # of OGBench's ant
TEST_STEPS = 500


class Gym:
    """Environments stepped together, each reset where its episode ends."""

    gamma = 0.99

    def __init__(self, env_id: str, num_envs: int, rng: np.random.Generator):
        self.env_id, self.rng = env_id, rng
        self.envs = [self._make() for _ in range(num_envs)]
        self.obs = np.stack([self._reset(env) for env in self.envs])
        self.feature_dim = self.obs.shape[1]
        self.action_dim = len(self.envs[0].action_space.sample())
        self.target_entropy = -float(self.action_dim)

    def _make(self) -> Any:
        return make_gym(self.env_id)

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
        env, returns = self._make(), []
        for i in range(TEST_EPISODES):
            obs, total, over = env.reset(seed=TEST_SEED + i)[0], 0.0, False
            while not over:
                obs, reward, terminated, truncated, _ = env.step(controller.action(obs[None].astype(np.float32))[0])
                total, over = total + float(reward), terminated or truncated
            returns.append(total)
        return f"return {np.mean(returns):7.1f} ({np.min(returns):.0f} to {np.max(returns):.0f})"


class Heading(Gym):
    """OGBench's `online-ant-xy-v0`: an ant that is paid for its way in a direction, which changes every 10 s.

    The learner sees it, and moves it, in the canonical frame of `gtp_jax.datasets.builtin.ant`. A share of
    `hard_starts` is tilted, thrown and twisted, so that it learns to recover.
    """

    def __init__(self, num_envs: int, rng: np.random.Generator, hard_starts: float = HARD_STARTS):
        self.hard_starts = hard_starts
        np.random.seed(rng.integers(2**31))  # OGBench draws directions from NumPy's global generator
        super().__init__("online-ant-v0", num_envs, rng)
        self.feature_dim = self.observe().shape[1]

    def _make(self) -> Any:
        importlib.import_module("ogbench.online_locomotion")  # which registers it
        wrappers: Any = importlib.import_module("ogbench.online_locomotion.wrappers")
        return wrappers.GymXYWrapper(make_gym(self.env_id), RESAMPLE_STEPS)

    def _reset(self, env) -> np.ndarray:
        obs = super()._reset(env)
        if self.rng.random() < self.hard_starts:
            ant = env.unwrapped
            qpos, qvel = ant.data.qpos.copy(), ant.data.qvel.copy()
            throw(qpos, qvel, self.rng)
            ant.set_state(qpos, qvel)
            obs[:OBSERVATION_DIM] = ant._get_obs()
        return obs

    def observe(self) -> np.ndarray:
        """The features [n, 29] of `gtp_jax.datasets.builtin.ant`."""
        found, self.quarter_turns = features(*np.split(self.obs, [OBSERVATION_DIM], axis=1))
        return found

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """As in Gym, with canonical actions and features; reward and score are speeds in the direction, in m/s."""
        next_obs, reward, terminated, _ = super().step(to_ctrl(action, self.quarter_turns))
        speed = reward / STEP_SECONDS
        return features(*np.split(next_obs, [OBSERVATION_DIM], axis=1))[0], speed, terminated, speed

    def test(self, controller: Controller) -> str:
        """Mean speed in the direction in m/s and falls, without exploration and from OGBench's starts, in 50 s an ant.

        A fall is an end of OGBench's, or an ant that lies on its back at last.
        """
        before = np.random.get_state()
        world, speeds, falls = Heading(len(self.envs), np.random.default_rng(TEST_SEED), 0.0), [], 0
        for _ in range(TEST_STEPS):
            _, _, fallen, speed = world.step(controller.action(world.observe()))
            speeds.append(speed.mean())
            falls += int(fallen.sum())
        np.random.set_state(before)
        upright = 1 - 2 * (world.obs[:, 2] ** 2 + world.obs[:, 3] ** 2)
        return f"{np.mean(speeds):5.2f} m/s, {falls + int((upright < 0).sum()):4d} falls"
