"""The embedded AntMaze tasks: one table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gtp_jax.envs.maze import Cell, MazeInfo

R, G = "r", "g"
# Orientation and evaluated start and goal are those of gymnasium-robotics' and D4RL's mazes.
UMAZE = MazeInfo(
    [
        [1, 1, 1, 1, 1],
        [1, G, 0, 0, 1],
        [1, 1, 1, 0, 1],
        [1, R, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ]
)
MEDIUM = MazeInfo(
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, R, 0, 1, 1, 0, 0, 1],
        [1, 0, 0, 1, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1, 1, 1],
        [1, 0, 0, 1, 0, 0, 0, 1],
        [1, 0, 1, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 1, 0, G, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
)
LARGE = MazeInfo(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, R, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
        [1, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        [1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1],
        [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1],
        [1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1],
        [1, 0, 0, 1, 0, 0, 0, 1, 0, G, 0, 1],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]
)
# Hand-picked as D4RL's "play" data: dead ends, corners and crossings all over the maze, the evaluated cells included.
MEDIUM_PLAY = ((1, 1), (1, 6), (2, 4), (3, 3), (4, 6), (5, 1), (6, 3), (6, 6))
LARGE_PLAY = ((1, 1), (1, 4), (1, 10), (3, 5), (3, 10), (5, 2), (5, 8), (7, 1), (7, 5), (7, 9))
CONTROLLER = "ant.npz"
# After 10,000, 20,000 and all 620,000 steps of its training: a learner's whole history, as in D4RL's "replay" data.
STAGES = ("ant_10000.npz", "ant_20000.npz", CONTROLLER)


@dataclass(frozen=True)
class Task:
    """How one dataset is collected. It is evaluated from the maze's "r" to its "g", whatever the data's cells are.

    `starts` and `goals` are the cells that an episode of the data draws from, uniformly, start and goal never the same;
    `noise` is the standard deviation of the Gaussian noise added to the controller's actions, which lie in [-1, 1];
    `controllers` are the weights, files in controllers/, of which each episode draws its own, uniformly.
    """

    family = "antmaze"
    requirements = ("gymnasium-robotics>=1.4",)
    references = (0.0, 1.0)  # D4RL's: an episode's score is whether it reaches the goal
    card = """\
a way-point planner (breadth-first search over the maze's cells, way-points at cell centres +- 0.3 m, passed within \
1 m, a new plan when stuck for 2 s) drives a direction-conditioned locomotion controller, with Gaussian noise on its \
actions. The controller was trained from scratch (SAC, open field) by the same project. Episodes end at the goal. \
Observations are float32, without contact forces."""

    name: str
    env_id: str
    maze: MazeInfo
    starts: tuple[Cell, ...]
    goals: tuple[Cell, ...]
    max_episode_steps: int
    noise: float = 0.2
    controllers: tuple[str, ...] = (CONTROLLER,)
    transitions: int = 100_000
    env_kwargs: dict = field(default_factory=lambda: {"include_cfrc_ext_in_observation": False})

    def controller(self, name: str) -> Any:
        """The weights of that name: (observation [n, 27], direction [n, 2]) -> action [n, 8]."""
        from gtp_jax.datasets.builtin.ant import AntController

        return AntController.load(name)

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        """The cells of an episode, drawn."""
        start = self.starts[rng.integers(len(self.starts))]
        goals = [cell for cell in self.goals if cell != start]
        return {"reset_cell": start, "goal_cell": goals[rng.integers(len(goals))]}

    def inputs(self, first: dict, rng: np.random.Generator) -> Callable[[dict], tuple[np.ndarray, ...]]:
        """What the controller is given at each step of an episode that begins with the observation `first`."""
        from gtp_jax.datasets.builtin.planner import Planner

        planner = Planner(self.maze, first["achieved_goal"], first["desired_goal"], rng)
        return lambda observed: (observed["observation"], planner.direction(observed["achieved_goal"]))

    def definition(self) -> dict[str, Any]:
        """What makes the data what they are, for their card."""
        return {"starts": self.starts, "goals": self.goals}


TASKS = {
    task.name: task
    for task in (
        Task("umaze", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700),
        Task("umaze-noisy", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700, noise=0.6),
        Task("umaze-mixed", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700, controllers=STAGES),
        Task("umaze-diverse", "AntMaze_UMaze-v5", UMAZE, UMAZE.free_cells, UMAZE.free_cells, 700),
        Task("medium-play", "AntMaze_Medium-v5", MEDIUM, MEDIUM_PLAY, MEDIUM_PLAY, 1000),
        Task("medium-diverse", "AntMaze_Medium-v5", MEDIUM, MEDIUM.free_cells, MEDIUM.free_cells, 1000),
        Task("large-play", "AntMaze_Large-v5", LARGE, LARGE_PLAY, LARGE_PLAY, 1000),
        Task("large-diverse", "AntMaze_Large-v5", LARGE, LARGE.free_cells, LARGE.free_cells, 1000),
    )
}
