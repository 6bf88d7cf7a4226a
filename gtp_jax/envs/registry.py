"""Evaluation environments by allow-list: a dataset file may name an environment, never code to run.

Allowed are the environments that Gymnasium, Gymnasium-Robotics and this package register, and those of packages that
the user names in the environment variable GTP_JAX_ENV_PACKAGES, separated by commas. An environment is rebuilt with the
arguments, the wrappers and the time limit of the data, and has to have their spaces.
"""

import functools
import importlib.metadata
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gtp_jax.envs import specs
from gtp_jax.envs.d4rl_mazes import eval_env_of
from gtp_jax.envs.making import OURS, PACKAGES, EvalEnv, all_registered, check_spaces, made, make_gym, user_packages
from gtp_jax.envs.maze import MazeInfo
from gtp_jax.envs.specs import CURE
from gtp_jax.names import nearest

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

_VERSIONS, _VARIANTS = ("v3", "v4", "v5"), ("", "_Diverse_G", "_Diverse_GR")
_ANT_MAZES = ("UMaze", *(maze + variant for maze in ("Open", "Medium", "Large") for variant in _VARIANTS))
ANT_MAZE_IDS = tuple(f"AntMaze_{maze}-{version}" for version in _VERSIONS for maze in _ANT_MAZES)
KITCHEN_ID = "FrankaKitchen-v1"
KITCHEN_MUJOCO = (3, 10)  # the first version that cannot read the kitchen's model; 3.9 could


def of_user(env: str | Callable[[], Any] | EvalEnv) -> EvalEnv:
    """The environment that a user names by a registered id, or makes by a function () -> gymnasium.Env.

    Raises ValueError for an id that Gymnasium does not know.
    """
    if isinstance(env, EvalEnv):
        return env
    if isinstance(env, str):
        if env not in (known := all_registered()):
            near = f"; did you mean {near!r}?" if (near := nearest(env, known)) else ""
            how = f"import the package that registers it first, or name it in {PACKAGES}"
            raise ValueError(f"environment {env!r:.100} is not registered; {how}{near}")
        if found := eval_env_of(env):
            return found
        limit, by_success = known[env].max_episode_steps, env in ANT_MAZE_IDS
        return EvalEnv(env, functools.partial(make_gym, env), by_success=by_success, time_limit=limit)
    if not callable(env):
        raise ValueError(f"env = {env!r:.100} must be a registered id or a function () -> gymnasium.Env")
    return EvalEnv(getattr(env, "__qualname__", type(env).__qualname__), env)


def for_metadata(
    dataset_id: str, metadata: Mapping[str, Any], observations: Any, low: np.ndarray, high: np.ndarray, longest: int
) -> EvalEnv | None:
    """The evaluation environment of a Minari dataset by its metadata.json; None where that names none.

    It is the data's `eval_env_spec`, else their `env_spec`, rebuilt and made once to compare the spaces. AntMaze is
    that of `env_spec` in any case, in the maze of `maze_of`, and ends at the goal. The kitchen's tasks are those of
    `env_spec`; it rewards each once, as D4RL's.

    Args:
      dataset_id: begins every message.
      metadata: of the whole dataset, not trusted.
      observations: as stored, [N, ...] or a dict of such arrays by path ("desired_goal/kettle"); shapes alone are read.
      low, high: the actions' bounds [A].
      longest: the steps of the longest episode, the time limit where neither the data nor the registration states one
        that so long an episode fits in.

    Raises:
      ValueError: for an environment that is not allowed, does not start or has other spaces than the data, and for
        arguments and wrappers that cannot be taken from a file.
    """
    spec = specs.parse(dataset_id, metadata, "env_spec")
    maze = maze_of(dataset_id, metadata)
    is_kitchen = spec is not None and spec.env_id == KITCHEN_ID
    if maze is None and not is_kitchen:
        spec = specs.parse(dataset_id, metadata, "eval_env_spec") or spec
    if spec is None:
        return None
    registered, packages = _allowed(spec)
    is_users = _package(registered) in packages
    kwargs = specs.arguments(spec.where, spec.kwargs, known=registered.kwargs, words=is_users)
    limit = spec.max_episode_steps or registered.max_episode_steps
    if limit is None or (spec.max_episode_steps is None and longest > limit):
        limit = longest
    if maze is not None:
        if kwargs.get("reward_type", "sparse") != "sparse":
            why = "reaching the goal is read from sparse rewards"
            raise ValueError(f"{spec.where}: AntMaze's reward_type must be 'sparse' ({why}); {CURE}")
        kwargs |= {"maze_map": maze.maze_map, "continuing_task": False, "reset_target": False}
        if spec.env_id.endswith("-v3"):
            del kwargs["reset_target"]  # which came with version 4
        if spec.env_id.endswith("-v5"):
            body = observations.get("observation") if isinstance(observations, Mapping) else None
            kwargs["include_cfrc_ext_in_observation"] = body is not None and body.shape[-1] == 105
    elif is_kitchen:
        check_kitchen(dataset_id)
        tasks, limit = kwargs.get("tasks_to_complete"), registered.max_episode_steps
        if not isinstance(tasks, list) or not tasks:
            says = f"must be a list of some of {', '.join(specs.KITCHEN_TASKS)}"
            raise ValueError(f"{spec.where}: tasks_to_complete = {tasks!r:.200} {says}")
        kwargs = {"tasks_to_complete": tasks}
    make_env = functools.partial(make_gym, spec.env_id, max_episode_steps=limit, **kwargs)
    wrappers = []
    if spec.wrappers:
        with made(spec.where, spec.env_id, make_env) as env:
            present = [each.entry_point for each in env.spec.additional_wrappers] if env.spec else []
        wrappers = specs.wrappers_of(spec, present, packages)
        # A limit below wrappers that repeat leaves fewer steps: data with longer episodes have it above them.
        if longest > math.ceil((limit or longest) / specs.repeats(wrappers)):
            make_env = functools.partial(make_env, max_episode_steps=-1)
            wrappers.append(("gymnasium.wrappers:TimeLimit", {"max_episode_steps": limit}))
        for entry_point, _ in wrappers:
            if not entry_point.startswith("gymnasium."):
                _check_wrapper(spec.where, entry_point)
        make_env = functools.partial(make_env, wrappers=wrappers)
    # Adroit's data have limits of their own, and their published scores, too.
    same_limit = limit == registered.max_episode_steps or spec.env_id.startswith("AdroitHand")
    as_published = same_limit and specs.keeps_returns({} if is_kitchen else kwargs, wrappers)
    found = EvalEnv(spec.env_id, make_env, maze, maze is not None, limit, as_published)
    check_spaces(spec.where, found, observations, low, high)
    return found


def maze_of(dataset_id: str, metadata: Mapping[str, Any]) -> MazeInfo | None:
    """The maze of an AntMaze dataset with sparse rewards; None for data of any other environment or of none.

    The environment is not built. Raises ValueError for metadata that are malformed, or state no maze or a bad one.
    """
    spec = specs.parse(dataset_id, metadata, "env_spec")
    if spec is None or spec.env_id not in ANT_MAZE_IDS:
        return None
    if (own := _maze(spec)) is None:
        raise ValueError(f"{spec.where} has no maze_map; the maze of the data is unknown")
    return _with_start_and_goal(own, _maze(specs.parse(dataset_id, metadata, "eval_env_spec")))


def _allowed(spec: specs.Spec) -> tuple["EnvSpec", tuple[str, ...]]:
    """What is registered under the id, and the user's packages."""
    registry, packages = all_registered(), user_packages()
    allowed = {env_id: each for env_id, each in registry.items() if _package(each) in (*OURS, *packages)}
    if spec.env_id in allowed:
        return allowed[spec.env_id], packages
    if spec.env_id in registry:
        why = f"it is of the package {_package(registry[spec.env_id])}: allow it by {PACKAGES}=PACKAGE"
    else:
        near = f"; did you mean {near!r}?" if (near := nearest(spec.env_id, allowed)) else ""
        why = f"no allowed package registers it ({PACKAGES}=PACKAGE allows one of yours){near}"
    raise ValueError(f"{spec.where}: environment {spec.env_id!r:.100} cannot be built: {why}; {CURE}")


def _package(registered: "EnvSpec") -> str:
    """The top-level package of an environment's entry point; "" where it has none."""
    entry: Any = registered.entry_point
    entry = getattr(entry, "func", entry)  # of a partial
    return (
        (entry if isinstance(entry, str) else getattr(entry, "__module__", None) or "")
        .partition(":")[0]
        .partition(".")[0]
    )


def _check_wrapper(where: str, entry_point: str) -> None:
    """Raises ValueError unless the entry point is a wrapper of a module that is imported already."""
    import gymnasium

    module, _, name = entry_point.partition(":")
    wrapper = getattr(sys.modules.get(module), name, None)
    if not isinstance(wrapper, type) or not issubclass(wrapper, gymnasium.Wrapper):
        why = f"there is no gymnasium.Wrapper of that name in {module:.100}, which {PACKAGES} has to import"
        raise ValueError(f"{where}: wrapper {name!r:.100} cannot be rebuilt: {why}; {CURE}")


def check_kitchen(dataset_id: str) -> None:
    """Raises ValueError where the installed MuJoCo cannot read the kitchen's model."""
    version, first = importlib.metadata.version("mujoco"), ".".join(map(str, KITCHEN_MUJOCO))
    if tuple(map(int, version.split(".")[:2])) >= KITCHEN_MUJOCO:
        cure = f"only on versions below {first}: pip install 'mujoco<{first}'"
        raise ValueError(f"{dataset_id}: {KITCHEN_ID} does not start on mujoco {version}, {cure}")


def _maze(spec: specs.Spec | None) -> MazeInfo | None:
    rows = None if spec is None else spec.kwargs.get("maze_map")
    return None if spec is None or rows is None else MazeInfo.from_data(rows, spec.where)


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
