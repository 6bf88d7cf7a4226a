"""Episodes of OGBench's data, each a function of the collection's seed, of its part and of its own index."""

import functools
import importlib
import itertools
from typing import Any

import numpy as np

from gtp_jax.datasets.builtin.ant import ACTION_DIM, FEATURE_DIM, walk
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.datasets.builtin.ogbench import OGBenchCollection
from gtp_jax.envs.ogbench import make_ogbench

PARTS = ("train", "val")
TYPES = {"terminals": bool, "button_states": np.int64}  # of the columns; float32 otherwise
SMOOTHING = 0.5  # deviation, in steps, of the filter over a plan's noise
LEAST_NORM = 0.4  # of what a Markov oracle still has to go
NOISE_SCALES = (1, 1, 1, 3, 10)  # of "noisy" data: x, y, z, yaw, gripper
# The interval that an episode's probability of stacking cubes is drawn from; the scene and the puzzle use 0.5.
STACKING = {"cube-single-v0": (0.0, 0.0), "cube-double-v0": (0.0, 0.25)}


class Simulator:
    """Plays episodes of one collection, in one process that draws from NumPy's global generator for nothing else."""

    def __init__(self, collection: OGBenchCollection, seed: int):
        self._seed, self._random = seed, collection.random
        limit = collection.steps + 1  # the last row's action leads nowhere: rows are paired with their successors
        env = make_ogbench(collection.env_id, max_episode_steps=limit, **collection.mode)
        # Without draws of its own: the oracles draw from the global generator, too.
        self._env = env.get_wrapper_attr("env")
        pilot = Arm if not collection.is_maze else Ant if collection.controllers else Point
        self._pilot = pilot(self._env, collection)

    def episode(self, part: str, index: int) -> dict[str, np.ndarray]:
        """The columns of an OGBench file, one row more than transitions; part is "train" or "val"."""
        for attempt in itertools.count():
            entropy = np.random.SeedSequence((self._seed, PARTS.index(part), index, attempt)).generate_state(6)
            np.random.seed(entropy[:4])
            self._env.action_space.seed(int(entropy[4]))
            columns = self._play(int(entropy[5]))
            # OGBench plays a scene again whose cube left the table.
            if not self._env.spec.id.startswith("scene") or _is_on_table(columns["qpos"][:, 14:17]):
                return columns
        raise AssertionError("an endless count ended")

    def _play(self, seed: int) -> dict[str, np.ndarray]:
        env, pilot = self._env, self._pilot
        observation, info = env.reset(seed=seed, options=pilot.options())
        pilot.begin(observation, info)
        rows: dict[str, list] = {}
        over = False
        while not over:
            guided = np.random.rand() >= self._random if self._random else True
            action = pilot.action(observation, info) if guided else env.action_space.sample()
            action = np.minimum(np.maximum(action, -1), 1)  # faster on so few numbers than np.clip
            following, _, _, over, info = env.step(action)
            row = {"observations": observation, "actions": action, "terminals": over}
            for name in ("qpos", "qvel", "button_states"):
                if f"prev_{name}" in info:
                    row[name] = info[f"prev_{name}"]
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
            pilot.stepped(info)
            observation = following
        return {name: np.array(column, TYPES.get(name, np.float32)) for name, column in rows.items()}


def _is_on_table(cube: np.ndarray) -> bool:
    """Whether a cube [T, 3] stays in view: neither far right, nor far left outside the drawer."""
    _, y, z = cube.T
    return not ((y >= 0.29) | ((y <= -0.3) & ((z < 0.06) | (z > 0.08)))).any()


class Point:
    """Walks a maze by the environment's own way-points: to one goal after another, or to one four cells away."""

    def __init__(self, env: Any, collection: OGBenchCollection):
        self._maze, self._noise, self._kind = env.unwrapped, collection.noise, collection.kind
        free = self._maze.maze_map == 0
        self._cells = [(int(i), int(j)) for i, j in np.argwhere(free)]
        corridors = [(True, True, False, False), (False, False, True, True)]
        around = {(i, j): (free[i - 1, j], free[i + 1, j], free[i, j - 1], free[i, j + 1]) for i, j in self._cells}
        self._crossings = [cell for cell in self._cells if around[cell] not in corridors]
        self._towards = functools.cache(self._way_point)

    def options(self) -> dict[str, Any]:
        start = self._cells[np.random.randint(len(self._cells))]
        goals = self._crossings
        if self._kind == "stitch":
            distances = self._maze.get_oracle_subgoal(*[self._maze.ij_to_xy(start)] * 2)[1]
            goals = [(int(i), int(j)) for i, j in np.argwhere(distances == 4)] or [start]
        return {"task_info": {"init_ij": start, "goal_ij": goals[np.random.randint(len(goals))]}}

    def begin(self, observation: np.ndarray, info: dict[str, Any]) -> None:
        pass

    def _way_point(self, here: tuple[int, int], goal: tuple[int, int]) -> np.ndarray:
        return self._maze.get_oracle_subgoal(self._maze.ij_to_xy(here), self._maze.ij_to_xy(goal))[0]

    def _direction(self) -> np.ndarray:
        here = self._maze.get_xy()
        cells = self._maze.xy_to_ij(here), self._maze.xy_to_ij(self._maze.cur_goal_xy)
        direction = self._towards(*cells) - here
        return direction / (np.linalg.norm(direction) + 1e-6)

    def action(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        return self._direction() + np.random.normal(0, self._noise, 2)

    def stepped(self, info: dict[str, Any]) -> None:
        if info["success"] and self._kind == "navigate":
            goal = self._crossings[np.random.randint(len(self._crossings))]
            self._maze.set_goal(goal_xy=self._maze.add_noise(self._maze.ij_to_xy(goal)))


class Ant(Point):
    """Walks likewise, with legs that this project's controller moves in the direction of the way-point."""

    def __init__(self, env: Any, collection: OGBenchCollection):
        super().__init__(env, collection)
        (name,) = collection.controllers
        self._controller = Controller.load(name, FEATURE_DIM, ACTION_DIM)

    def action(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        action = walk(self._controller, observation[None, 2:], self._direction()[None])[0]
        return action + np.random.normal(0, self._noise, ACTION_DIM)


class Arm:
    """Moves an arm by the package's oracle for the object that the environment names, and a new one when it is done."""

    def __init__(self, env: Any, collection: OGBenchCollection):
        self._env, self._noise = env.unwrapped, collection.noise
        self._stacking = STACKING.get(collection.env_id, (0.5, 0.5))
        self._is_markov = collection.kind == "noisy"
        family, common = collection.name.partition("-")[0], {"min_norm": LEAST_NORM}
        if not self._is_markov:
            common = {"noise": collection.noise, "noise_smoothing": SMOOTHING}
        own = {"cube": {"max_step": 100}} if family == "scene" and self._is_markov else {}
        own |= {"button": {"gripper_always_closed": True}} if family == "puzzle" else {}
        objects = {"cube": ("cube",), "puzzle": ("button",), "scene": ("cube", "button", "drawer", "window")}[family]
        self._oracles = {each: self._oracle(each)(env=env, **common, **own.get(each, {})) for each in objects}

    def _oracle(self, thing: str) -> Any:
        kind = "markov" if self._is_markov else "plan"
        module = importlib.import_module(f"ogbench.manipspace.oracles.{kind}.{thing}_{kind}")
        return getattr(module, f"{thing.title()}{kind.title()}Oracle")

    def options(self) -> None:
        # A scene keeps the targets of the episode before, which a Markov oracle sees for a step.
        if "drawer" in self._oracles:
            env = self._env
            env._target_button, env._target_drawer_pos, env._target_window_pos = 0, 0.0, 0.0
            env._target_button_states[:] = 0
            env.model.site_pos[env._drawer_target_site_id, 1] = 0.0
            env.model.site_pos[env._window_target_site_id, 0] = 0.0

    def begin(self, observation: np.ndarray, info: dict[str, Any]) -> None:
        self._p_stack = np.random.uniform(*self._stacking)
        if self._is_markov:
            self._deviation = np.random.uniform(0, self._noise) * np.array(NOISE_SCALES)
        self._aim(observation, info)

    def _aim(self, observation: np.ndarray, info: dict[str, Any]) -> None:
        self._now = self._oracles[info["privileged/target_task"]]
        self._now.reset(observation, info)

    def action(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        action = np.array(self._now.select_action(observation, info))
        return action + np.random.normal(0, self._deviation) if self._is_markov else action

    def stepped(self, info: dict[str, Any]) -> None:
        if self._now.done:
            self._aim(*self._env.set_new_target(p_stack=self._p_stack))
