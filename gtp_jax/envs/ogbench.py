"""OGBench's environments (package `ogbench`, arXiv:2410.20092), each drawing its randomness from its own seed."""

import contextlib
import functools
import importlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from gtp_jax.envs.making import EvalEnv, private_tempdir
from gtp_jax.envs.maze import CornerMaze

# NumPy's global generator, the temporary folder and the compiler of models belong to the process.
_ONE_AT_A_TIME = threading.RLock()


def make_ogbench(env_id: str, **kwargs: Any) -> gymnasium.Env:
    """Makes an environment of OGBench; `kwargs` are those of gymnasium.make.

    An episode depends on the seed of its reset alone, also where other threads step other environments. Raises
    ValueError where the package is not installed.
    """
    check_installed(env_id)
    # A maze writes its model into the temporary folder and leaves it there.
    with _ONE_AT_A_TIME, private_tempdir(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the bounds of spaces, which it rounds to float32
        env = gymnasium.make(env_id, disable_env_checker=True, **kwargs)
        inner = env.unwrapped
        spaces = {"action_space": inner.action_space, "observation_space": inner.observation_space}
        if "action_space" not in vars(inner):
            # A robot arm makes its spaces anew, unseeded, whenever they are asked for, and its reset draws actions.
            inner.__class__ = type(type(inner).__name__, (type(inner),), spaces)
        return _OwnDraws(env)


def eval_env(env_id: str) -> EvalEnv:
    """The environment of one task, where policies are evaluated by success; ValueError without the package."""
    check_installed(env_id)
    limit = gymnasium.spec(env_id).max_episode_steps
    return EvalEnv(env_id, functools.partial(make_ogbench, env_id), by_success=True, time_limit=limit)


def in_its_maze(found: EvalEnv) -> EvalEnv:
    """An environment of `eval_env` with its maze, for which it is made; the same where there is none."""
    if gymnasium.spec(found.env_id).kwargs.get("maze_env_type") != "maze":  # an arm, or an ant that has to move a ball
        return found
    with contextlib.closing(found.make_env()) as env:
        inner: Any = env.unwrapped
        rows: list[list[int | str]] = inner.maze_map.tolist()
        task = inner.task_infos[inner._reward_task_id - 1]
        for mark, (i, j) in (("r", task["init_ij"]), ("g", task["goal_ij"])):
            rows[i][j] = mark
        size, radius = inner._maze_unit, inner._goal_tol
        noise = inner._noise * size / 4 if inner._add_noise_to_goal else 0.0  # of the goal: single tasks have none
        return found._replace(maze=CornerMaze(rows, size, radius, noise), position=slice(0, 2))


def check_installed(name: str) -> None:
    """Raises ValueError where the package is not installed that a dataset or an environment of that name needs."""
    try:
        importlib.import_module("ogbench")  # which registers its environments
    except ImportError as error:
        cure = "on Python 3.11 or 3.12, pip install 'gtp_jax[ogbench]'"
        raise ValueError(f"{name} needs the package ogbench ({error}): {cure}") from None


class _OwnDraws(gymnasium.Wrapper):
    """Lends an environment a state of NumPy's global generator, which OGBench's resets and teleports draw from."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._state = np.random.RandomState().get_state()
        self._steps_draw = getattr(env.unwrapped, "_teleport_info", None) is not None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._state = np.random.RandomState(seed).get_state()
            self.unwrapped.action_space.seed(seed)
        with self._lent():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with self._lent() if self._steps_draw else contextlib.nullcontext():
            return self.env.step(action)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[None]:
        with _ONE_AT_A_TIME:
            before = np.random.get_state()
            np.random.set_state(self._state)
            try:
                yield
            finally:
                self._state = np.random.get_state()
                np.random.set_state(before)
