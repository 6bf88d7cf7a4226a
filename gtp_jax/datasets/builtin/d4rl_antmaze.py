"""The built-in AntMaze datasets under D4RL's protocol: 29 numbers, no goal observed, one goal rewarded."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtp_jax.datasets.builtin.ant import ACTION_DIM, FEATURE_DIM, walk
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.datasets.builtin.planner import Planner
from gtp_jax.envs.d4rl_mazes import GOAL_SPREADS, MAZES, D4RLMaze, eval_env
from gtp_jax.envs.making import EvalEnv
from gtp_jax.envs.maze import Cell

_PATIENCE = 20  # steps of 0.1 s: as long as in AntMaze
# Picked by hand, the evaluated cell among them: D4RL's three and ten of its data, and the evaluated one.
MEDIUM_PLAY = ((2, 6), (5, 1), (6, 5), (6, 6))
LARGE_PLAY = ((1, 6), (3, 5), (3, 10), (5, 2), (7, 4), (7, 6), (7, 9))


class OwnGoals:
    """An episode on its way to a goal of its own, where it is truncated, while the rewards are for the evaluated one.

    The option "own_goal_cell" of `reset` names its cell, in which info["own_goal"] is drawn as evaluated goals are.
    Success terminates, whether the episode goes on or not.
    """

    def __init__(self, env: Any, maze: D4RLMaze):
        self.env, self._maze = env, maze

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        row, column = options.pop("own_goal_cell")
        observation, info = self.env.reset(seed=seed, options=options | {"goal": self._maze.goal_xy})
        offset = sum(self.env.unwrapped.np_random.uniform(0, spread, 2) for spread in GOAL_SPREADS)
        self._own_goal = self._maze.cell_to_xy((int(row), int(column))) + offset
        return observation, info | {"own_goal": self._own_goal}

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, _, truncated, info = self.env.step(action)
        has_arrived = math.dist(observation[:2], self._own_goal) <= self._maze.success_radius
        return observation, reward, info["success"], truncated or has_arrived, info


@dataclass(frozen=True)
class D4RLAntMazeCollection:
    """How one dataset is collected; its functions are those of AntMazeCollection.

    The rewarded goal is the middle of the evaluated ones. A step within its radius has the reward 1 and is terminal, as
    in D4RL's labels, also where the episode goes on to a goal of its own.
    """

    family = "d4rl-antmaze"
    has_goal, observes_goal, goes_on = True, False, True
    block = 48  # the controller's cost per step falls with it
    requirements = ("gtp_jax",)
    card = """\
a way-point planner (breadth-first search over the maze's cells, way-points at cell centres +- 0.3 m, passed within \
1 m, a new plan when stuck for 2 s) drives a direction-conditioned locomotion controller, with Gaussian noise on its \
actions. The controller was trained from scratch (SAC, open field) by the same project. Episodes end at their own \
goals; rewards and terminals are for the evaluated goal alone. Observations are float32."""

    name: str
    starts: tuple[Cell, ...]  # the cells that an episode draws its start from, uniformly; none: D4RL's start
    goals: tuple[Cell, ...]  # likewise its own goal, which is never its start
    noise: float = 0.2  # deviation of the Gaussian noise on the controller's actions, which lie in [-1, 1]
    controllers: tuple[str, ...] = ("d4rl_ant.npz",)
    transitions: int = 400_000

    @property
    def maze(self) -> D4RLMaze:
        return MAZES[self.name.partition("-")[0]]

    def eval_env(self) -> EvalEnv:
        return eval_env(self.name.partition("-")[0])

    def make_env(self) -> OwnGoals:
        """The environment that the data are collected in."""
        endless = eval_env(self.name.partition("-")[0], continuing_task=True)
        return OwnGoals(endless.make_env(), self.maze)

    def controller(self, name: str) -> Callable[..., np.ndarray]:
        return functools.partial(walk, Controller.load(name, FEATURE_DIM, ACTION_DIM))

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        start = self.starts[rng.integers(len(self.starts))] if self.starts else None
        goals = [cell for cell in self.goals if cell != start]
        given = {} if start is None else {"reset_cell": start}
        return given | {"own_goal_cell": goals[rng.integers(len(goals))]}

    def inputs(
        self, first: np.ndarray, info: dict, rng: np.random.Generator
    ) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
        planner = Planner(self.maze, first[:2], info["own_goal"], rng, _PATIENCE)
        return lambda observed: (observed[2:], planner.direction(observed[:2]))


def _free(maze: str) -> tuple[Cell, ...]:
    return MAZES[maze].free_cells


D4RL_ANTMAZE = {
    each.name: each
    for each in (
        D4RLAntMazeCollection("umaze", (), MAZES["umaze"].cells_of("g")),
        D4RLAntMazeCollection("umaze-diverse", _free("umaze"), _free("umaze")),
        D4RLAntMazeCollection("medium-play", _free("medium"), MEDIUM_PLAY),
        D4RLAntMazeCollection("medium-diverse", _free("medium"), _free("medium")),
        D4RLAntMazeCollection("large-play", _free("large"), LARGE_PLAY),
        D4RLAntMazeCollection("large-diverse", _free("large"), _free("large")),
    )
}
