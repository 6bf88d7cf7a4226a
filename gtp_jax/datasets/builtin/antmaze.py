"""The built-in AntMaze datasets: one table."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtp_jax.datasets.builtin.ant import ACTION_DIM, FEATURE_DIM, walk
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.datasets.builtin.planner import Planner
from gtp_jax.envs.making import EvalEnv, make_antmaze
from gtp_jax.envs.maze import Cell, MazeInfo

# Orientation and evaluated start and goal are those of gymnasium-robotics' and D4RL's mazes. U-Maze, medium, large:
_DRAWN = """
##### ######## ############
#g..# #r.##..# #r...#.....#
###.# #..#...# #.##.#.#.#.#
#r..# ##...### #......#...#
##### #..#...# #.####.###.#
      #.#..#.# #..#.#.....#
      #...#.g# ##.#.#.#.###
      ######## #..#...#.g.#
               ############
"""


def _maze(columns: slice) -> MazeInfo:
    cells = {"#": 1, ".": 0, "r": "r", "g": "g"}
    rows = [line[columns].strip() for line in _DRAWN.splitlines()]
    return MazeInfo([[cells[letter] for letter in row] for row in rows if row])


UMAZE, MEDIUM, LARGE = _maze(slice(0, 5)), _maze(slice(6, 14)), _maze(slice(15, 27))
# Hand-picked as D4RL's "play" data: dead ends, corners and crossings all over the maze, the evaluated cells included.
MEDIUM_PLAY = ((1, 1), (1, 6), (2, 4), (3, 3), (4, 6), (5, 1), (6, 3), (6, 6))
LARGE_PLAY = ((1, 1), (1, 4), (1, 10), (3, 5), (3, 10), (5, 2), (5, 8), (7, 1), (7, 5), (7, 9))
# After 10,000, 20,000 and all 620,000 steps of its training: a learner's whole history, as in D4RL's "replay" data.
STAGES = ("ant_10000.npz", "ant_20000.npz", "ant.npz")


@dataclass(frozen=True)
class AntMazeCollection:
    """How one AntMaze dataset is collected. Policies are evaluated from the maze's "r" to its "g" in any case."""

    family = "antmaze"
    has_goal, observes_goal = True, True
    goes_on = False  # whether an episode goes on after a transition that terminates
    block = 8  # episodes that are collected together
    requirements = ("gymnasium-robotics>=1.4",)
    card = """\
a way-point planner (breadth-first search over the maze's cells, way-points at cell centres +- 0.3 m, passed within \
1 m, a new plan when stuck for 2 s) drives a direction-conditioned locomotion controller, with Gaussian noise on its \
actions. The controller was trained from scratch (SAC, open field) by the same project. Episodes end at the goal. \
Observations are float32, without contact forces."""

    name: str
    env_id: str
    maze: MazeInfo
    starts: tuple[Cell, ...]  # the cells that an episode draws its start from, uniformly
    goals: tuple[Cell, ...]  # likewise its goal, which is never its start
    max_episode_steps: int
    noise: float = 0.2  # deviation of the Gaussian noise on the controller's actions, which lie in [-1, 1]
    controllers: tuple[str, ...] = STAGES[-1:]  # files in controllers/; each episode draws its own, uniformly
    transitions: int = 100_000

    def eval_env(self) -> EvalEnv:
        """The environment that policies are evaluated in."""
        known = (self.env_id, self.maze.maze_map, self.max_episode_steps)
        make_env = functools.partial(make_antmaze, *known, include_cfrc_ext_in_observation=False)
        return EvalEnv(self.env_id, make_env, self.maze, by_success=True)

    def make_env(self) -> Any:
        """Makes the environment that the data are collected in."""
        return self.eval_env().make_env()

    def controller(self, name: str) -> Callable[..., np.ndarray]:
        """Loads a controller: (observation [n, 27], direction [n, 2]) -> action [n, 8]."""
        return functools.partial(walk, Controller.load(name, FEATURE_DIM, ACTION_DIM))

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draws the cells of an episode."""
        start = self.starts[rng.integers(len(self.starts))]
        goals = [cell for cell in self.goals if cell != start]
        return {"reset_cell": start, "goal_cell": goals[rng.integers(len(goals))]}

    def inputs(self, first: dict, info: dict, rng: np.random.Generator) -> Callable[[dict], tuple[np.ndarray, ...]]:
        """Maps observations to the controller's inputs, in an episode whose reset gave `first` and `info`."""
        planner = Planner(self.maze, first["achieved_goal"], first["desired_goal"], rng)
        return lambda observed: (observed["observation"], planner.direction(observed["achieved_goal"]))


_UMAZE, _MEDIUM, _LARGE = ("AntMaze_UMaze-v5", UMAZE), ("AntMaze_Medium-v5", MEDIUM), ("AntMaze_Large-v5", LARGE)
_EVALUATED = (UMAZE.cells_of("r"), UMAZE.cells_of("g"), 700)
ANTMAZE = {
    each.name: each
    for each in (
        AntMazeCollection("umaze", *_UMAZE, *_EVALUATED),
        AntMazeCollection("umaze-noisy", *_UMAZE, *_EVALUATED, noise=0.6),
        AntMazeCollection("umaze-mixed", *_UMAZE, *_EVALUATED, controllers=STAGES),
        AntMazeCollection("umaze-diverse", *_UMAZE, UMAZE.free_cells, UMAZE.free_cells, 700),
        AntMazeCollection("medium-play", *_MEDIUM, MEDIUM_PLAY, MEDIUM_PLAY, 1000),
        AntMazeCollection("medium-diverse", *_MEDIUM, MEDIUM.free_cells, MEDIUM.free_cells, 1000),
        AntMazeCollection("large-play", *_LARGE, LARGE_PLAY, LARGE_PLAY, 1000),
        AntMazeCollection("large-diverse", *_LARGE, LARGE.free_cells, LARGE.free_cells, 1000),
    )
}
