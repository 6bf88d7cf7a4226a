"""An open field of ants: what the direction-conditioned controllers of the AntMaze data learn on.

An ant walks towards random way-points, re-drawn when it gets there or time runs out, so that it learns to turn at any
moment; a quarter of the starts are tilted, thrown or twisted, so that it learns to recover. The physics is gymnasium's
ant.xml at AntMaze's control rate, or D4RL's ant at half that rate.
"""

import importlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from gtp_jax.datasets.builtin.ant import ACTION_DIM, FEATURE_DIM, features, to_ctrl
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.envs import d4rl_antmaze

mujoco: Any = importlib.import_module("mujoco")  # has no type stubs
FRAME_SKIP, EPISODE_SECONDS, HARD_STARTS = 5, 25.0, 0.25
MAX_SPEED = 3.0  # m/s beyond which speed earns nothing
PATIENCE = (4.0, 10.0)  # s after which an ant gets another way-point
DISCOUNT = 0.98  # per 0.05 s
TEST_SECONDS, TEST_SEED = 15.0, 7


def gymnasium_ant() -> Any:
    """The ant of AntMaze_*-v4 and -v5."""
    return mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))


MODELS = {"ant": gymnasium_ant, "d4rl_ant": d4rl_antmaze.make_model}
TORQUE_COSTS = {"ant": 0.1, "d4rl_ant": 0.02}  # of an action of 1; D4RL's ant has a fifth of the other's torque
BENT = [0, 1, 0, -1, 0, -1, 0, 1]  # the joints of an ant that stands


def throw(qpos: np.ndarray, qvel: np.ndarray, rng: np.random.Generator) -> None:
    """Tilts, throws and twists an ant: changes its state in place."""
    axis, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.9)
    turn = np.array([np.cos(tilt / 2), np.sin(tilt / 2) * np.cos(axis), np.sin(tilt / 2) * np.sin(axis), 0.0])
    mujoco.mju_mulQuat(qpos[3:7], turn, qpos[3:7].copy())
    qpos[2] = 0.75
    qpos[7:] += rng.uniform(-0.4, 0.4, 8)
    qvel[:] = np.concatenate([rng.normal(0, 1, 3), rng.normal(0, 2, 3), rng.normal(0, 3, 8)])


class Field:
    """Ants on an open plane, each on its way to its own way-point."""

    feature_dim, action_dim, target_entropy = FEATURE_DIM, ACTION_DIM, -6.0

    def __init__(
        self,
        body: str,
        num_envs: int,
        rng: np.random.Generator,
        hard_starts: float = HARD_STARTS,
        max_speed: float = MAX_SPEED,
    ):
        self.body, self.rng, self.hard_starts, self.max_speed = body, rng, hard_starts, max_speed
        self.model = MODELS[body]()
        self.step_seconds = self.model.opt.timestep * FRAME_SKIP
        self.gamma = DISCOUNT ** (self.step_seconds / 0.05)
        self.episode_steps = round(EPISODE_SECONDS / self.step_seconds)
        self.data = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self.qpos, self.qvel = np.zeros((num_envs, self.model.nq)), np.zeros((num_envs, self.model.nv))
        self.waypoint, (self.patience, self.age) = np.zeros((num_envs, 2)), np.zeros((2, num_envs), int)
        for i in range(num_envs):
            self._reset(i)
        # Staggered ages keep the resets of all ants from coinciding.
        self.age = rng.integers(0, self.episode_steps, num_envs)

    def _new_waypoint(self, i):
        bearing, distance = self.rng.uniform(-np.pi, np.pi), self.rng.uniform(1.5, 6.0)
        self.waypoint[i] = self.qpos[i, :2] + distance * np.array([np.cos(bearing), np.sin(bearing)])
        self.patience[i] = self.rng.integers(*(round(seconds / self.step_seconds) for seconds in PATIENCE))

    def _reset(self, i):
        rng, data = self.rng, self.data[i]
        mujoco.mj_resetData(self.model, data)
        yaw = rng.uniform(-np.pi, np.pi)
        data.qpos[:] = [0, 0, 0.55, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2), *BENT]
        data.qpos[7:] += rng.uniform(-0.1, 0.1, 8)
        data.qvel[:] = 0.1 * rng.standard_normal(self.model.nv)
        if rng.random() < self.hard_starts:
            throw(data.qpos, data.qvel, rng)
        elif self.body == "d4rl_ant":  # which drops from the model's own pose, its legs straight
            data.qpos[2] = 0.75
            data.qpos[7:] -= BENT
        mujoco.mj_forward(self.model, data)
        self.qpos[i], self.qvel[i], self.age[i] = data.qpos, data.qvel, 0
        self._new_waypoint(i)

    def _direction(self):
        offset = self.waypoint - self.qpos[:, :2]
        return offset / (np.linalg.norm(offset, axis=1, keepdims=True) + 1e-8)

    def observe(self) -> np.ndarray:
        """The features [n, 29] of the present state and way-point, in the frame of the next action."""
        state = np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)
        found, self.quarter_turns = features(state, self._direction())
        return found

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Moves every ant by one canonical action [n, 8] and draws new starts and way-points where they are due.

        Returns the next features [n, 29], still of the old episode and way-point; the reward [n]: speed towards the
        way-point, up to `max_speed`, less sideways speed, tilt, torques and 5 for a fall; whether the ant has fallen
        [n]; and its speed towards the way-point [n] in m/s.
        """
        direction, before, ctrl = self._direction(), self.qpos[:, :2].copy(), to_ctrl(action, self.quarter_turns)
        for i, data in enumerate(self.data):
            data.ctrl[:] = ctrl[i] * self.model.actuator_ctrlrange[:, 1]
            mujoco.mj_step(self.model, data, FRAME_SKIP)
            self.qpos[i], self.qvel[i] = data.qpos, data.qvel
        velocity = (self.qpos[:, :2] - before) / self.step_seconds
        speed = (velocity * direction).sum(1)
        sideways = np.abs(velocity[:, 0] * direction[:, 1] - velocity[:, 1] * direction[:, 0])
        height, upright = self.qpos[:, 2], 1 - 2 * (self.qpos[:, 4] ** 2 + self.qpos[:, 5] ** 2)
        fallen = (upright < 0.1) | (height < 0.2) | (height > 1.2)
        reward = (
            np.minimum(speed, self.max_speed)
            - 0.2 * sideways
            + 0.5 * upright
            - TORQUE_COSTS[self.body] * (action**2).sum(1)
        )
        reward = np.clip(reward, -5, 5) - 5.0 * fallen
        next_features = self.observe()
        self.age += 1
        self.patience -= 1
        arrived = np.linalg.norm(self.waypoint - self.qpos[:, :2], axis=1) < 0.8
        for i in np.flatnonzero(fallen | (self.age >= self.episode_steps) | arrived | (self.patience <= 0)):
            if fallen[i] or self.age[i] >= self.episode_steps:
                self._reset(i)
            else:
                self._new_waypoint(i)
        return next_features, reward, fallen, speed

    def test(self, controller: Controller) -> str:
        """Mean speed towards way-points in m/s, and the falls, without exploration and from ordinary starts."""
        field = Field(self.body, len(self.data), np.random.default_rng(TEST_SEED), 0.0, np.inf)
        speeds, falls = [], 0
        for _ in range(round(TEST_SECONDS / self.step_seconds)):
            _, _, fallen, speed = field.step(controller.action(field.observe()))
            speeds.append(speed.mean())
            falls += int(fallen.sum())
        return f"{np.mean(speeds):5.2f} m/s, {falls:4d} falls"
