"""Evaluation environments by allow-list: a dataset file may name an environment, never code or arguments to run."""

import contextlib
import functools
import importlib.metadata
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from gtp_jax.envs.maze import MazeInfo
from gtp_jax.names import there_are

_ANT_MAZES = ("UMaze", "Open", "Medium", "Large")
_VARIANTS = ("", "_Diverse_G", "_Diverse_GR")
ANT_MAZE_IDS = tuple(
    f"AntMaze_{maze}{variant}-{version}"
    for version in ("v4", "v5")
    for maze in _ANT_MAZES
    for variant in _VARIANTS
    if not (maze == "UMaze" and variant)
)
ADROIT_IDS = tuple(f"AdroitHand{task}-v1" for task in ("Pen", "Door", "Hammer", "Relocate"))
KITCHEN_ID = "FrankaKitchen-v1"
KITCHEN_TASKS = (
    *("bottom burner", "top burner", "light switch", "slide cabinet"),
    *("hinge cabinet", "microwave", "kettle"),
)
KITCHEN_MUJOCO = (3, 10)  # from which on the kitchen's model cannot be read; it could on 3.9
GYM_IDS = tuple(f"{name}-{v}" for v in ("v4", "v5") for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant"))


class Evaluation(NamedTuple):
    """Where a policy trained on a dataset is evaluated."""

    env_id: str
    make_env: Callable[[], Any]  # () -> gymnasium.Env; picklable
    maze: MazeInfo | None  # AntMaze only

    @property
    def is_antmaze(self) -> bool:
        """Whether observations are AntMaze's three and rewards are 1 at the goal, 0 elsewhere."""
        return self.maze is not None


def make_robotics(env_id: str, **kwargs):
    """A registered environment of gymnasium-robotics."""
    import gymnasium

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics  # prints a notice about other environments

    gymnasium.register_envs(gymnasium_robotics)
    return make_gym(env_id, **kwargs)


def make_antmaze(env_id: str, maze_map: list, max_episode_steps: int | None = None, **kwargs):
    """An AntMaze that ends at the goal. `kwargs` go to the environment.

    The environment writes its model into the temporary folder under a name made from the clock, so that two processes
    can collide, and leaves it there: here it writes into a folder of its own that is then deleted.
    """
    fixed = {"maze_map": maze_map, "continuing_task": False, "reset_target": False}
    with private_tempdir():
        return make_robotics(env_id, max_episode_steps=max_episode_steps, **fixed, **kwargs)


def make_gym(env_id: str, **kwargs):
    """A registered Gymnasium environment."""
    import gymnasium

    with warnings.catch_warnings():
        # The version is that of the data, even where there is a newer one.
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return gymnasium.make(env_id, disable_env_checker=True, **kwargs)


@contextlib.contextmanager
def private_tempdir():
    """Everything that `tempfile` makes inside the block goes to a folder that is deleted at its end."""
    with tempfile.TemporaryDirectory() as folder:
        previous, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = previous


def for_metadata(dataset_id: str, metadata: dict, observation_size: int | None) -> Evaluation:
    """The evaluation environment of a Minari dataset, from its metadata.json.

    Only the environment's id and AntMaze's maze map, Adroit's time limit or the kitchen's tasks are read, and all of
    them are checked. The kitchen rewards a task once, as D4RL's. `observation_size` is that of AntMaze's "observation":
    contact forces (105 numbers instead of 27, version 5 only) are switched to match.

    Raises ValueError for an environment that is not on the list and for a malformed map.
    """
    spec = _spec(dataset_id, metadata, "env_spec")
    if spec is None:
        raise ValueError(
            f"{dataset_id}: metadata.json names no environment (env_spec); there is nothing to evaluate in"
        )
    env_id = spec.get("id")
    if env_id in GYM_IDS:
        return Evaluation(env_id, functools.partial(make_gym, env_id), None)
    if env_id in ADROIT_IDS:
        limit = _time_limit(dataset_id, spec)
        return Evaluation(env_id, functools.partial(make_robotics, env_id, max_episode_steps=limit), None)
    if env_id == KITCHEN_ID:
        check_kitchen(dataset_id)
        tasks = _kitchen_tasks(dataset_id, spec)
        return Evaluation(env_id, functools.partial(make_robotics, env_id, tasks_to_complete=tasks), None)
    if env_id not in ANT_MAZE_IDS:
        known = (*GYM_IDS, *ADROIT_IDS, KITCHEN_ID, *ANT_MAZE_IDS)
        raise ValueError(f"{dataset_id}: environment {env_id!r:.100} cannot be built; {there_are(env_id, known)}")
    maze = _evaluation_maze(
        _maze_of(dataset_id, spec, "env_spec"),
        _maze_of(dataset_id, _spec(dataset_id, metadata, "eval_env_spec") or {}, "eval_env_spec"),
        dataset_id,
    )
    kwargs = {"include_cfrc_ext_in_observation": observation_size == 105} if env_id.endswith("-v5") else {}
    return Evaluation(env_id, functools.partial(make_antmaze, env_id, maze.maze_map, **kwargs), maze)


def _time_limit(dataset_id: str, spec: dict) -> int | None:
    """The time limit that the metadata state; None: the one that the environment is registered with."""
    found = spec.get("max_episode_steps")
    if found is not None and (isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= 100_000):
        raise ValueError(
            f"{dataset_id}: metadata.json: max_episode_steps = {found!r:.80} of env_spec must be a whole number from 1 "
            "to 100000"
        )
    return found


def check_kitchen(dataset_id: str) -> None:
    """Raises ValueError where the installed MuJoCo cannot read the kitchen's model."""
    version = importlib.metadata.version("mujoco")
    if tuple(map(int, version.split(".")[:2])) >= KITCHEN_MUJOCO:
        raise ValueError(
            f"{dataset_id}: {KITCHEN_ID} does not start on mujoco {version}, only on versions below "
            f"{'.'.join(map(str, KITCHEN_MUJOCO))}: pip install 'mujoco<{'.'.join(map(str, KITCHEN_MUJOCO))}'"
        )


def _kitchen_tasks(dataset_id: str, spec: dict) -> list[str]:
    """What is to be done in the kitchen of a dataset, checked."""
    kwargs = spec.get("kwargs")
    found = kwargs.get("tasks_to_complete") if isinstance(kwargs, dict) else None
    if not isinstance(found, list) or not found or not all(task in KITCHEN_TASKS for task in found):
        raise ValueError(
            f"{dataset_id}: metadata.json: tasks_to_complete = {found!r:.200} of env_spec must be a list of some of "
            f"{', '.join(KITCHEN_TASKS)}"
        )
    return found


def _spec(dataset_id: str, metadata: dict, key: str) -> dict | None:
    if metadata.get(key) is None:
        return None
    try:
        spec = json.loads(metadata[key])
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{dataset_id}: metadata.json: {key} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{dataset_id}: metadata.json: {key} must be an object, got {spec!r:.100}")
    return spec


def _maze_of(dataset_id: str, spec: dict, key: str) -> MazeInfo | None:
    kwargs = spec.get("kwargs")
    if not isinstance(kwargs, dict) or "maze_map" not in kwargs:
        return None
    return MazeInfo.from_data(kwargs["maze_map"], f"{dataset_id}: metadata.json: {key}")


def _evaluation_maze(own: MazeInfo | None, evaluation: MazeInfo | None, dataset_id: str) -> MazeInfo:
    """The data's own walls, with the one start and goal of either map.

    The evaluation map of some hosted sets is the mirror image of the maze that the data come from (Minari issue 304);
    its start and goal are then mirrored back.
    """
    if own is None:
        raise ValueError(f"{dataset_id}: metadata.json: env_spec has no maze_map; the maze of the data is unknown")
    if (own.start_xy and own.goal_xy) or evaluation is None:
        return own
    rows = evaluation.maze_map
    for flip_rows in (False, True):
        for flip_columns in (False, True):
            candidate = rows[::-1] if flip_rows else rows
            candidate = MazeInfo([row[::-1] for row in candidate] if flip_columns else candidate)
            if candidate.walls == own.walls:
                return candidate
    return own
