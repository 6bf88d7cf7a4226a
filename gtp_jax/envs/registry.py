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

_VERSIONS, _VARIANTS = ("v4", "v5"), ("", "_Diverse_G", "_Diverse_GR")
_ANT_MAZES = ("UMaze", *(maze + variant for maze in ("Open", "Medium", "Large") for variant in _VARIANTS))
ANT_MAZE_IDS = tuple(f"AntMaze_{maze}-{version}" for version in _VERSIONS for maze in _ANT_MAZES)
GYM_IDS = tuple(f"{name}-{v}" for v in _VERSIONS for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant"))
ADROIT_IDS = tuple(f"AdroitHand{task}-v1" for task in ("Pen", "Door", "Hammer", "Relocate"))
KITCHEN_ID = "FrankaKitchen-v1"
KITCHEN_TASKS = ("bottom burner", "top burner", "light switch", "slide cabinet", "hinge cabinet", "microwave", "kettle")
KITCHEN_MUJOCO = (3, 10)  # the first version that cannot read the kitchen's model; 3.9 could


class EvalEnv(NamedTuple):
    """Where a policy trained on a dataset is evaluated."""

    env_id: str
    make_env: Callable[[], Any]  # () -> gymnasium.Env; picklable
    maze: MazeInfo | None  # AntMaze only


def make_gym(env_id: str, **kwargs):
    """An environment of GYM_IDS, or of gymnasium-robotics."""
    import gymnasium

    if env_id not in GYM_IDS:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import gymnasium_robotics  # prints a notice about other environments
        gymnasium.register_envs(gymnasium_robotics)
    with warnings.catch_warnings():
        # The version is that of the data, even where there is a newer one.
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return gymnasium.make(env_id, disable_env_checker=True, **kwargs)


def make_antmaze(env_id: str, maze_map: list, max_episode_steps: int | None = None, **kwargs):
    """An AntMaze that ends at the goal."""
    kwargs = {"maze_map": maze_map, "continuing_task": False, "reset_target": False, **kwargs}
    # It writes its model into the temporary folder under a name made from the clock, where two processes can collide.
    with private_tempdir():
        return make_gym(env_id, max_episode_steps=max_episode_steps, **kwargs)


@contextlib.contextmanager
def private_tempdir():
    """Everything that `tempfile` makes inside the block goes to a folder that is deleted at its end."""
    with tempfile.TemporaryDirectory() as folder:
        previous, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = previous


def for_metadata(dataset_id: str, metadata: dict, observation_size: int | None) -> EvalEnv:
    """Looks up the evaluation environment of a Minari dataset in its metadata.json.

    Only the environment's id and AntMaze's maze map, Adroit's time limit or the kitchen's tasks are read, and all of
    them are checked. The kitchen rewards a task once, as D4RL's. `observation_size` is that of AntMaze's "observation":
    105 numbers with contact forces (version 5 only), 27 without.

    Raises ValueError for an environment that is not on the list and for malformed values.
    """
    where = f"{dataset_id}: metadata.json"
    spec = _spec(where, metadata, "env_spec")
    env_id = spec.get("id")
    if env_id is None:
        raise ValueError(f"{where} names no environment (env_spec); there is nothing to evaluate in")
    known = (*GYM_IDS, *ADROIT_IDS, KITCHEN_ID, *ANT_MAZE_IDS)
    if env_id not in known:
        raise ValueError(f"{dataset_id}: environment {env_id!r:.100} cannot be built; {there_are(env_id, known)}")
    kwargs = {}
    if env_id in ADROIT_IDS:
        limit = spec.get("max_episode_steps")  # None: the one that the environment is registered with
        if limit is not None and (type(limit) is not int or not 1 <= limit <= 100_000):
            says = "of env_spec must be a whole number from 1 to 100000"
            raise ValueError(f"{where}: max_episode_steps = {limit!r:.80} {says}")
        kwargs = {"max_episode_steps": limit}
    elif env_id == KITCHEN_ID:
        check_kitchen(dataset_id)
        tasks = spec["kwargs"].get("tasks_to_complete")
        if not isinstance(tasks, list) or not tasks or not all(task in KITCHEN_TASKS for task in tasks):
            says = f"of env_spec must be a list of some of {', '.join(KITCHEN_TASKS)}"
            raise ValueError(f"{where}: tasks_to_complete = {tasks!r:.200} {says}")
        kwargs = {"tasks_to_complete": tasks}
    if env_id not in ANT_MAZE_IDS:
        return EvalEnv(env_id, functools.partial(make_gym, env_id, **kwargs), None)
    own = _maze(where, metadata, "env_spec")
    if own is None:
        raise ValueError(f"{where}: env_spec has no maze_map; the maze of the data is unknown")
    maze = _with_start_and_goal(own, _maze(where, metadata, "eval_env_spec"))
    kwargs = {"include_cfrc_ext_in_observation": observation_size == 105} if env_id.endswith("-v5") else {}
    return EvalEnv(env_id, functools.partial(make_antmaze, env_id, maze.maze_map, **kwargs), maze)


def check_kitchen(dataset_id: str) -> None:
    """Raises ValueError where the installed MuJoCo cannot read the kitchen's model."""
    version, first = importlib.metadata.version("mujoco"), ".".join(map(str, KITCHEN_MUJOCO))
    if tuple(map(int, version.split(".")[:2])) >= KITCHEN_MUJOCO:
        cure = f"only on versions below {first}: pip install 'mujoco<{first}'"
        raise ValueError(f"{dataset_id}: {KITCHEN_ID} does not start on mujoco {version}, {cure}")


def _spec(where: str, metadata: dict, key: str) -> dict[str, Any]:
    """The environment that the metadata name under a key, empty for none; its "kwargs" are a dict in any case."""
    try:
        spec = json.loads(metadata.get(key) or "{}")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {key} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{where}: {key} must be an object, got {spec!r:.100}")
    return spec if isinstance(spec.get("kwargs"), dict) else {**spec, "kwargs": {}}


def _maze(where: str, metadata: dict, key: str) -> MazeInfo | None:
    found = _spec(where, metadata, key)["kwargs"].get("maze_map")
    return None if found is None else MazeInfo.from_data(found, f"{where}: {key}")


def _with_start_and_goal(own: MazeInfo, evaluation: MazeInfo | None) -> MazeInfo:
    """The data's own walls, with the one start and goal of either map.

    The evaluation map of some hosted sets is the mirror image of the maze that the data come from (Minari issue 304);
    its start and goal are then mirrored back.
    """
    if (own.start_xy and own.goal_xy) or evaluation is None:
        return own
    for rows in (evaluation.maze_map, evaluation.maze_map[::-1]):
        for candidate in (MazeInfo(rows), MazeInfo([row[::-1] for row in rows])):
            if candidate.walls == own.walls:
                return candidate
    return own
