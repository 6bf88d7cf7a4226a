"""Mazes of square cells as gymnasium-robotics draws them: 1 is a wall, "r" the start, "g" the goal, "c" either."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_CELLS = 100  # along each side of a maze that came with a file; the simulator builds a block for each wall
Cell = tuple[int, int]  # row, column, counted from the top left


@dataclass(frozen=True)
class MazeInfo:
    """A maze in the plane, centred on the origin, row 0 at the top. Lengths are in metres."""

    maze_map: list[list[int | str]]  # equally long lists of 0, 1, "r", "g", "c"
    cell_size: float = 4.0
    success_radius: float = 0.45  # within which the goal counts as reached
    position_noise: float = 1.0  # by up to which each reset moves start and goal in x and in y

    @classmethod
    def from_data(cls, maze_map: Any, source: str) -> "MazeInfo":
        """Checks a map that came with a file. Raises ValueError naming `source` and the first bad entry."""
        is_table = isinstance(maze_map, list) and maze_map and all(isinstance(row, list) and row for row in maze_map)
        if not is_table or len({len(row) for row in maze_map}) != 1:
            raise ValueError(f"{source}: maze_map must be a list of equally long lists, got {maze_map!r:.200}")
        for i, row in enumerate(maze_map):
            for j, cell in enumerate(row):
                if type(cell) not in (int, str) or cell not in (0, 1, "r", "g", "c"):
                    raise ValueError(f'{source}: maze_map[{i}][{j}] must be 0, 1, "r", "g" or "c", got {cell!r:.80}')
        maze = cls(maze_map)
        if max(len(maze_map), len(maze_map[0])) > MOST_CELLS or len(maze.free_cells) < 2:
            found = f"{len(maze.free_cells)} free ones of {len(maze_map)} by {len(maze_map[0])}"
            says = f"from 2 free cells to {MOST_CELLS} by {MOST_CELLS} cells"
            raise ValueError(f"{source}: maze_map must have {says}, got {found}")
        return maze

    @property
    def free_cells(self) -> tuple[Cell, ...]:
        """The cells that are not walls, row by row."""
        return tuple((i, j) for i, row in enumerate(self.maze_map) for j, cell in enumerate(row) if cell != 1)

    @property
    def walls(self) -> list[list[bool]]:
        """The map with everything but the walls left out."""
        return [[cell == 1 for cell in row] for row in self.maze_map]

    @property
    def start_xy(self) -> tuple[float, float] | None:
        """The centre of the one start cell, metres; None where the maze has none or several."""
        return self._centre_of_only("r")

    @property
    def goal_xy(self) -> tuple[float, float] | None:
        """The centre of the one goal cell, likewise."""
        return self._centre_of_only("g")

    def cells_of(self, mark: str) -> tuple[Cell, ...]:
        """The cells that carry `mark`."""
        return tuple((i, j) for i, j in self.free_cells if self.maze_map[i][j] == mark)

    def cell_to_xy(self, cell: Cell) -> np.ndarray:
        """The centre [2] of a cell, metres."""
        rows, columns = len(self.maze_map), len(self.maze_map[0])
        return np.array([cell[1] + 0.5 - columns / 2, rows / 2 - cell[0] - 0.5]) * self.cell_size

    def xy_to_cell(self, xy: np.ndarray) -> Cell:
        """The cell that holds the point xy [2], metres."""
        rows, columns = len(self.maze_map), len(self.maze_map[0])
        row, column = rows / 2 - xy[1] / self.cell_size, columns / 2 + xy[0] / self.cell_size
        return int(np.floor(row)), int(np.floor(column))

    def _centre_of_only(self, mark: str) -> tuple[float, float] | None:
        cells = self.cells_of(mark)
        return tuple(self.cell_to_xy(cells[0]).tolist()) if len(cells) == 1 else None


@dataclass(frozen=True)
class CornerMaze(MazeInfo):
    """A maze as D4RL and OGBench lay it out: cell (1, 1) is the origin, x runs along columns and y along rows."""

    def cell_to_xy(self, cell: Cell) -> np.ndarray:
        """The centre [2] of a cell, metres."""
        return np.array([cell[1] - 1.0, cell[0] - 1.0]) * self.cell_size

    def xy_to_cell(self, xy: np.ndarray) -> Cell:
        """The cell that holds the point xy [2], metres."""
        return int(np.floor(xy[1] / self.cell_size + 1.5)), int(np.floor(xy[0] / self.cell_size + 1.5))
