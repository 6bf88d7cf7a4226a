"""D4RL's AntMaze for Gymnasium: its ant, its mazes, goals and ends, without d4rl, gym and mujoco-py.

Importing this module registers `gtp/D4RLAntMaze-umaze-v0`, `-medium-v0` and `-large-v0`, and so does the name itself in
`gymnasium.make("gtp_jax.envs.d4rl_antmaze:gtp/D4RLAntMaze-umaze-v0")`.
The physics is that of the installed MuJoCo: a trajectory agrees with one of D4RL's as far as their versions do.

The constants are those of Farama-Foundation/D4RL at 89141a6, folder d4rl/locomotion: assets/ant.xml (the ant),
maze_env.py (mazes, cells, starts and goals), goal_reaching_env.py (reward, end, observation), ant.py (reset, frame
skip), wrappers.py (scale of the actions), __init__.py (time limits).
"""

import importlib
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import numpy as np

from gtp_jax.envs import register
from gtp_jax.envs.d4rl_mazes import GOAL_SPREADS, MAZES, START_SPREAD
from gtp_jax.envs.maze import Cell, MazeInfo

mujoco: Any = importlib.import_module("mujoco")  # has no type stubs
FRAME_SKIP = 5  # of TIME_STEP: 10 Hz
TIME_STEP = 0.02  # s; 0.01 in gymnasium's ant.xml
TORQUE_LIMIT = 30.0  # N m, which an action of 1 stands for; 150 in gymnasium's
CONTACTS = {"solref": ".02 1", "solimp": ".8 .8 .01"}  # MuJoCo's own in gymnasium's
WALL_HEIGHT = 2.0  # m
RESET_NOISE = 0.1  # U(+-) of every position, and the deviation of every velocity
_QPOS, _QVEL = 15, 14


def make_model(maze: MazeInfo | None = None) -> Any:
    """The MuJoCo model of D4RL's ant on its floor, among the walls of a maze; gymnasium's ant.xml with three edits."""
    tree = ElementTree.parse(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml")

    def found(path: str) -> ElementTree.Element:
        element = tree.find(path)
        assert element is not None
        return element

    found("option").set("timestep", str(TIME_STEP))
    found("default/geom").attrib.update(CONTACTS)
    for motor in tree.iterfind("actuator/motor"):
        motor.attrib.update(gear="1", ctrlrange=f"{-TORQUE_LIMIT} {TORQUE_LIMIT}")
    world = found("worldbody")
    if maze is not None:
        half = maze.cell_size / 2
        for i, row in enumerate(maze.maze_map):
            for j, cell in enumerate(row):
                if cell == 1:
                    x, y = maze.cell_to_xy((i, j))
                    wall = {"pos": f"{x} {y} {WALL_HEIGHT / 2}", "size": f"{half} {half} {WALL_HEIGHT / 2}"}
                    shown = {"name": f"block_{i}_{j}", "type": "box", "rgba": "0.7 0.5 0.3 1"}
                    ElementTree.SubElement(world, "geom", {**shown, **wall, "contype": "1", "conaffinity": "1"})
        shown = {"name": "goal", "type": "sphere", "rgba": "0.1 0.7 0.1 0.6", "size": str(maze.success_radius)}
        shown["pos"] = (
            "1 1 0"  # which reset replaces; MuJoCo never looks again at a site that is compiled at the origin
        )
        ElementTree.SubElement(world, "site", shown)
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(tree.getroot(), "unicode"))


class D4RLAntMaze(gymnasium.Env):
    """An ant on its way to a goal that it does not observe.

    Observations [29] are MuJoCo's qpos [15] and qvel [14], float64; actions [8] in [-1, 1] are torques in units of
    30 N m. The reward is 1 within 0.5 m of the goal, where the episode terminates, and 0 elsewhere. As in D4RL's v2,
    each reset draws the goal anew. `info`: "success", "x_position", "y_position", and "goal" [2], in metres.

    Args:
      maze: "umaze", "medium" or "large".
      continuing_task: whether episodes go on at the goal.
      render_mode: one of those of Gymnasium's MuJoCo environments, or None.

    Options of `reset`: "reset_cell" and "goal_cell", (row, column) of free cells, which take the place of the maze's
    own; the ant then starts at the cell + U(0, 1) m. "goal" [2], metres, is the goal itself.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 10}

    def __init__(self, maze: str, continuing_task: bool = False, render_mode: str | None = None):
        self.maze, self.continuing_task, self.render_mode = MAZES[maze], continuing_task, render_mode
        self.model = make_model(self.maze)
        self.data = mujoco.MjData(self.model)
        self.goal, self._renderer = np.zeros(2), None
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (_QPOS + _QVEL,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begins an episode. Raises ValueError for an option that is unknown or no free cell."""
        super().reset(seed=seed)
        options, rng, data = options or {}, self.np_random, self.data
        if unknown := set(options) - {"reset_cell", "goal_cell", "goal"}:
            raise ValueError(f"reset: no options {sorted(unknown)}; there are reset_cell, goal_cell and goal")
        start, goal_cell = self._cell("reset_cell", options), self._cell("goal_cell", options)
        mujoco.mj_resetData(self.model, data)
        data.qpos[:] += rng.uniform(-RESET_NOISE, RESET_NOISE, _QPOS)
        data.qvel[:] = RESET_NOISE * rng.standard_normal(_QVEL)
        mujoco.mj_normalizeQuat(self.model, data.qpos)  # as MuJoCo 2's mj_forward did in place
        if start is not None:
            data.qpos[:2] = np.maximum(self.maze.cell_to_xy(start) + rng.uniform(0, START_SPREAD, 2), 0)
        offset = sum(rng.uniform(0, spread, 2) for spread in GOAL_SPREADS)
        cell = self.maze.cells_of("g")[0] if goal_cell is None else goal_cell
        self.goal = np.array(options.get("goal", np.maximum(self.maze.cell_to_xy(cell) + offset, 0)), float)
        self.model.site("goal").pos[:2] = self.goal
        mujoco.mj_forward(self.model, data)
        self._render_to_human()
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Moves on by 0.1 s: (observation, reward, terminated, False, info)."""
        self.data.ctrl[:] = np.asarray(action, float) * TORQUE_LIMIT  # beyond its range MuJoCo clips
        mujoco.mj_step(self.model, self.data, FRAME_SKIP)
        info = self._info()
        self._render_to_human()
        is_over = info["success"] and not self.continuing_task
        return self._observation(), float(info["success"]), is_over, False, info

    def render(self) -> Any:
        """A picture, as `render_mode` says."""
        if self.render_mode is None:
            raise ValueError("render: make the environment with render_mode='rgb_array'")
        if self._renderer is None:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            self._renderer = MujocoRenderer(self.model, self.data, {"distance": 40.0, "elevation": -70.0})
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _render_to_human(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])

    def _info(self) -> dict[str, Any]:
        x, y = self.data.qpos[:2].tolist()
        success = math.hypot(x - self.goal[0], y - self.goal[1]) <= self.maze.success_radius
        return {"success": success, "x_position": x, "y_position": y, "goal": self.goal.copy()}

    def _cell(self, name: str, options: dict[str, Any]) -> Cell | None:
        if name not in options:
            return None
        row, column = (int(each) for each in options[name])
        if (row, column) not in self.maze.free_cells:
            raise ValueError(f"reset: {name} = {(row, column)} is no free cell; there are {self.maze.free_cells}")
        return row, column


register()
