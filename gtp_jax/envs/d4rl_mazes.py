"""The mazes of D4RL's AntMaze, their starts and goals: maze_env.py of Farama-Foundation/D4RL at 89141a6."""

import functools
from dataclasses import dataclass
from typing import Any

from gtp_jax.envs import D4RL_ANTMAZE_STEPS
from gtp_jax.envs.making import EvalEnv, make_gym
from gtp_jax.envs.maze import CornerMaze

START_SPREAD = 1.0  # m: a start cell other than the maze's own begins at the cell + U(0, 1) along each axis
GOAL_SPREADS = (1.0, 0.5)  # m: the goal is the cell + U(0, 1) + U(0, 0.5) along each axis
_DRAWN = """
##### ######## ############
#r..# #r.##..# #r...#.....#
###.# #..#...# #.##.#.#.#.#
#g..# ##...### #......#...#
##### #..#...# #.####.###.#
      #.#..#.# #..#.#.....#
      #...#.g# ##.#.#.#.###
      ######## #..#...#.g.#
               ############
"""


@dataclass(frozen=True)
class D4RLMaze(CornerMaze):
    """A maze of D4RL's, whose goals lie beside the middle of their cells."""

    success_radius: float = 0.5
    position_noise: float = sum(GOAL_SPREADS) / 2  # about `goal_xy`, the middle of the goals

    @property
    def goal_xy(self) -> tuple[float, float] | None:
        """The mean of the evaluated goals, metres."""
        (cell,) = self.cells_of("g")
        return tuple((self.cell_to_xy(cell) + sum(GOAL_SPREADS) / 2).tolist())


def _maze(columns: slice) -> D4RLMaze:
    cells = {"#": 1, ".": 0, "r": "r", "g": "g"}
    rows = [line[columns].strip() for line in _DRAWN.splitlines()]
    return D4RLMaze([[cells[letter] for letter in row] for row in rows if row])


MAZES = {"umaze": _maze(slice(0, 5)), "medium": _maze(slice(6, 14)), "large": _maze(slice(15, 27))}
ENV_IDS = {name: f"gtp/D4RLAntMaze-{name}-v0" for name in MAZES}


def eval_env_of(env_id: str) -> EvalEnv | None:
    """The environment by its id, at D4RL's settings; None where it is none of D4RL's AntMaze."""
    return next((eval_env(maze) for maze, each in ENV_IDS.items() if each == env_id), None)


def eval_env(maze: str, **kwargs: Any) -> EvalEnv:
    """Where policies for a maze are evaluated: 100 times their success rate is the score."""
    make_env = functools.partial(make_gym, ENV_IDS[maze], **kwargs)
    known = {"by_success": True, "time_limit": D4RL_ANTMAZE_STEPS[maze], "position": slice(0, 2)}
    return EvalEnv(ENV_IDS[maze], make_env, MAZES[maze], **known)
