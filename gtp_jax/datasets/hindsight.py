"""Episodes once more, as if other goals had been asked for (Andrychowicz et al., arXiv 1707.01495).

What an ant did on its way to one goal was also on its way, or not, to any other. An added episode is a copy of one of
the data's up to where it came within reach of its new goal, with a reward and an end there; one that never did is
copied whole, without a reward. Whatever is learned from returns needs to know nothing about it.
"""

from typing import NamedTuple

import numpy as np

from gtp_jax.datasets.maze import MazeInfo
from gtp_jax.datasets.minari import Raw


class _Copy(NamedTuple):
    row: int  # of its first transition
    obs_row: int  # of its first observation
    steps: int
    goal: np.ndarray  # [2]
    reached: bool


def relabel(raw: Raw, maze: MazeInfo, goals: int, evaluated: bool, seed: int = 0) -> Raw:
    """Adds episodes with other goals to AntMaze's; those that are there come first, unchanged.

    Args:
      raw: with observations achieved_goal and desired_goal, metres.
      maze: tells when a goal is reached, and where the evaluated one lies.
      goals: for each episode: places where the ant was at later times, drawn evenly. Those within reach at the
        episode's start add nothing.
      evaluated: whether each episode that was walked to somewhere else is added with the evaluated goal: a place where
        the ant was in the square of that goal or, where it never was, any place of that square.
      seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    lengths = np.bincount(raw.episode)
    copies = []
    for number, row in enumerate(np.cumsum(lengths) - lengths):
        steps, obs_row = int(lengths[number]), int(row) + number
        at = raw.observations["achieved_goal"][obs_row : obs_row + steps + 1]
        wanted = [at[time] for time in rng.integers(1, steps + 1, goals)]
        if evaluated:
            wanted += _evaluated(at, raw.observations["desired_goal"][obs_row], maze, rng)
        for goal in wanted:
            near = np.linalg.norm(at - goal, axis=1) <= maze.success_radius
            if not near[0]:
                reached = bool(near.any())
                copies.append(_Copy(int(row), obs_row, int(near.argmax()) if reached else steps, goal, reached))
    return _with(raw, copies) if copies else raw


def _evaluated(at: np.ndarray, asked: np.ndarray, maze: MazeInfo, rng: np.random.Generator) -> list[np.ndarray]:
    """The evaluated goal for an episode that was at [steps + 1, 2]; none where it was asked for."""
    centre, half = np.array(maze.goal_xy), maze.position_noise
    if np.abs(asked - centre).max() <= half + 1e-3:
        return []
    inside = np.flatnonzero(np.abs(at - centre).max(axis=1) <= half)
    return [at[rng.choice(inside)] if len(inside) else centre + rng.uniform(-half, half, 2)]


def _with(raw: Raw, copies: list[_Copy]) -> Raw:
    def joined(column: np.ndarray, added: np.ndarray) -> np.ndarray:
        return np.concatenate([column, added.astype(column.dtype)])

    steps = np.array([copy.steps for copy in copies])
    rows = np.concatenate([copy.row + np.arange(copy.steps) for copy in copies])
    obs_rows = np.concatenate([copy.obs_row + np.arange(copy.steps + 1) for copy in copies])
    place = np.concatenate([np.arange(count, dtype=np.int32) for count in steps])
    last = place + 1 == np.repeat(steps, steps)
    reached = last & np.repeat([copy.reached for copy in copies], steps)
    observations = {key: column[obs_rows] for key, column in raw.observations.items()}
    observations["desired_goal"] = np.repeat([copy.goal for copy in copies], steps + 1, axis=0)
    return raw._replace(
        observations={key: joined(column, observations[key]) for key, column in raw.observations.items()},
        action=joined(raw.action, raw.action[rows]),
        reward=joined(raw.reward, reached),
        terminated=joined(raw.terminated, reached),
        truncated=joined(raw.truncated, last & ~reached),
        episode=joined(raw.episode, raw.episode[-1] + 1 + np.repeat(np.arange(len(copies)), steps)),
        step=joined(raw.step, place),
    )
