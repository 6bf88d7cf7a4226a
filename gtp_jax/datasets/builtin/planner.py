"""Way-points through a maze: the path planner that drives the ant while data are collected."""

import math
from collections import deque

import numpy as np

from gtp_jax.envs.maze import Cell, MazeInfo

REACHED = 1.0  # metres: a way-point nearer than this is passed
JITTER = 0.3  # metres: way-points lie this far, at most, from their cell's centre along each axis
PATIENCE = 40  # steps of 0.05 s: after each such while, an ant that has hardly moved gets a new plan
HARDLY_MOVED = 0.4  # metres


def distances(maze: MazeInfo, goal: Cell) -> dict[Cell, int]:
    """The length in cells of the shortest path to `goal` from every cell that can reach it (breadth-first search)."""
    free, found, queue = set(maze.free_cells), {goal: 0}, deque([goal])
    while queue:
        cell = queue.popleft()
        for neighbour in _neighbours(cell):
            if neighbour in free and neighbour not in found:
                found[neighbour] = found[cell] + 1
                queue.append(neighbour)
    return found


def shortest_path(maze: MazeInfo, start: Cell, goal: Cell, rng: np.random.Generator) -> list[Cell]:
    """The cells after `start` on a shortest path to `goal`; `rng` chooses where there are several."""
    distance, path, cell = distances(maze, goal), [], start
    while cell != goal:
        nearer = [n for n in _neighbours(cell) if distance.get(n, np.inf) < distance[cell]]
        cell = nearer[rng.integers(len(nearer))]
        path.append(cell)
    return path


class Planner:
    """Leads one ant from where it stands to a goal point; `direction` is called once per environment step."""

    def __init__(
        self, maze: MazeInfo, xy: np.ndarray, goal_xy: np.ndarray, rng: np.random.Generator, patience: int = PATIENCE
    ):
        self._maze, self._goal_xy, self._rng, self._patience = maze, np.array(goal_xy), rng, patience
        self._steps, self._last_xy = 0, np.array(xy)
        self._plan(xy)

    def direction(self, xy: np.ndarray) -> np.ndarray:
        """The unit vector [2] from xy [2] to the next way-point."""
        while len(self._way_points) > 1 and math.dist(self._way_points[0], xy) < REACHED:
            self._way_points.popleft()
        self._steps += 1
        if self._steps % self._patience == 0:
            if np.linalg.norm(xy - self._last_xy) < HARDLY_MOVED:
                self._plan(xy)
            self._last_xy = np.array(xy)
        towards = self._way_points[0] - xy
        return towards / max(np.linalg.norm(towards), 1e-8)

    def _plan(self, xy: np.ndarray) -> None:
        # An ant that leans over a wall can have its centre in a wall's cell: it starts from the nearest free one.
        start = min(self._maze.free_cells, key=lambda cell: np.linalg.norm(self._maze.cell_to_xy(cell) - xy))
        path = shortest_path(self._maze, start, self._maze.xy_to_cell(self._goal_xy), self._rng)
        way_points = [self._maze.cell_to_xy(cell) + self._rng.uniform(-JITTER, JITTER, 2) for cell in path[:-1]]
        self._way_points = deque([*way_points, self._goal_xy])


def _neighbours(cell: Cell) -> list[Cell]:
    i, j = cell
    return [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
