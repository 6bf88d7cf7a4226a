"""Episodes of AntMaze data: blocks of episodes stepped in lockstep, each a function of the seed and its own index."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtp_jax.datasets.ant import AntController
from gtp_jax.datasets.antmaze import Task
from gtp_jax.datasets.environments import for_task
from gtp_jax.datasets.maze import Cell
from gtp_jax.datasets.planner import Planner

# The unit of work. The controller always sees this many rows: a matrix product of another shape may round otherwise,
# and the data must not depend on how many cores there are.
BLOCK = 8


class Episode(NamedTuple):
    """T steps of one episode, float32; observations and `success` have T + 1 rows, the first from the reset."""

    seed: int  # of the environment's reset
    start: Cell
    goal: Cell
    observation: np.ndarray  # [T + 1, 27]
    achieved_goal: np.ndarray  # [T + 1, 2]
    desired_goal: np.ndarray  # [T + 1, 2]
    success: np.ndarray  # [T + 1] bool
    action: np.ndarray  # [T, 8]
    reward: np.ndarray  # [T]
    terminated: bool

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)

    def first(self, steps: int) -> "Episode":
        """The episode cut after `steps` steps; not terminated, unless nothing was cut."""
        if steps >= self.steps:
            return self
        rows = {key: getattr(self, key)[: steps + 1] for key in (*_OBSERVED, "success")}
        return self._replace(**rows, action=self.action[:steps], reward=self.reward[:steps], terminated=False)


_OBSERVED = ("observation", "achieved_goal", "desired_goal")


class Simulator:
    """Makes blocks of episodes of one task; the environments are built once and reused."""

    def __init__(self, task: Task, seed: int):
        self._task, self._seed = task, seed
        self.controllers = [AntController.load(Path(__file__).with_name(name)) for name in task.controllers]
        self._envs = [for_task(task).make_env() for _ in range(BLOCK)]

    def block(self, index: int) -> list[Episode]:
        """The episodes index * BLOCK ... (index + 1) * BLOCK - 1, whole, in order."""
        runs = [Run(self._task, env, self._seed, index * BLOCK + i) for i, env in enumerate(self._envs)]
        while any(run.active for run in runs):
            observation = np.stack([run.last["observation"] for run in runs])
            direction = np.stack([run.direction() for run in runs])
            actions = [controller(observation, direction) for controller in self.controllers]
            for i, run in enumerate(runs):
                if run.active:
                    run.step(actions[run.controller][i])
        return [run.episode() for run in runs]


class Run:
    """One episode under way. All its randomness comes from a generator seeded by (seed, episode index)."""

    def __init__(self, task: Task, env, seed: int, index: int):
        self._task, self._env = task, env
        self._rng = np.random.default_rng([seed, index])
        self._start = task.starts[self._rng.integers(len(task.starts))]
        goals = [cell for cell in task.goals if cell != self._start]
        self._goal = goals[self._rng.integers(len(goals))]
        self._reset_seed = int(self._rng.integers(2**31))
        choices = len(task.controllers)
        self.controller = int(self._rng.integers(choices)) if choices > 1 else 0  # a place in task.controllers
        options = {"reset_cell": np.array(self._start), "goal_cell": np.array(self._goal)}
        self.last, info = env.reset(seed=self._reset_seed, options=options)
        self._planner = Planner(task.maze, self.last["achieved_goal"], self.last["desired_goal"], self._rng)
        self._observations, self._success = [self.last], [info["success"]]
        self._actions, self._rewards = [], []
        self._direction = np.array([1.0, 0.0])
        self.active, self._terminated = True, False

    def direction(self) -> np.ndarray:
        if self.active:
            self._direction = self._planner.direction(self.last["achieved_goal"])
        return self._direction

    def step(self, action: np.ndarray) -> None:
        noisy = action + self._task.noise * self._rng.standard_normal(action.shape)
        action = np.clip(noisy, -1, 1).astype(np.float32)
        self.last, reward, self._terminated, truncated, info = self._env.step(action)
        self.active = not (self._terminated or truncated)
        self._observations.append(self.last)
        self._success.append(info["success"])
        self._actions.append(action)
        self._rewards.append(reward)

    def episode(self) -> Episode:
        observed = {key: np.stack([o[key] for o in self._observations]).astype(np.float32) for key in _OBSERVED}
        return Episode(
            seed=self._reset_seed,
            start=self._start,
            goal=self._goal,
            **observed,
            success=np.array(self._success),
            action=np.stack(self._actions),
            reward=np.array(self._rewards, np.float32),
            terminated=bool(self._terminated),
        )
