"""Making registered environments without a word, and comparing their spaces with those of data."""

import contextlib
import importlib
import importlib.metadata
import io
import os
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gtp_jax import envs
from gtp_jax.envs.maze import MazeInfo
from gtp_jax.envs.specs import CURE
from gtp_jax.names import by_path

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

PACKAGES = "GTP_JAX_ENV_PACKAGES"
OURS = ("gymnasium", "gymnasium_robotics", "gtp_jax")
BOUNDS_TOLERANCE = 1e-6


class EvalEnv(NamedTuple):
    """Where a policy trained on a dataset is evaluated."""

    env_id: str
    make_env: Callable[[], Any]  # () -> gymnasium.Env; picklable
    maze: MazeInfo | None = None  # whose walls the ways of policies are drawn in
    by_success: bool = False  # whether the score is the share of episodes with info["success"], or the return
    time_limit: int | None = None  # steps after which an episode is cut; None: unknown here, or never
    as_published: bool = True  # whether the environment's reference scores hold: nothing changes what is returned
    position: slice | None = None  # of x and y in a flat observation, metres; those of a dict are its achieved_goal


def user_packages() -> tuple[str, ...]:
    """The top-level packages that GTP_JAX_ENV_PACKAGES allows, once all that it names are imported.

    Raises ValueError for what is no module's name and for a module that cannot be imported.
    """
    names = [name for each in os.environ.get(PACKAGES, "").split(",") if (name := each.strip())]
    for name in names:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            raise ValueError(
                f"{PACKAGES} must name packages separated by commas, as in my_envs,others; got {name!r:.80}"
            )
        try:
            with quiet():
                importlib.import_module(name)
        except (Exception, SystemExit) as error:
            cure = "install it, or put its folder on PYTHONPATH"
            raise ValueError(f"{PACKAGES}: {name:.80} cannot be imported ({_in_one_line(error)}); {cure}") from error
    return tuple(sorted({name.partition(".")[0] for name in names} - set(OURS)))


def all_registered() -> Mapping[str, "EnvSpec"]:
    """Gymnasium's, with Gymnasium-Robotics, this package's and the user's packages."""
    import gymnasium

    try:
        with quiet():  # it prints a notice about other environments
            import gymnasium_robotics
    except Exception as error:  # of MuJoCo's libraries for drawing, which are loaded with it
        chosen = os.environ.get("MUJOCO_GL")
        cure = f"MUJOCO_GL={chosen!r:.80}: set it to egl, or leave it out" if chosen else "mend what it says"
        raise ValueError(f"gymnasium_robotics cannot be imported ({_in_one_line(error)}); {cure}") from error
    gymnasium.register_envs(gymnasium_robotics)
    envs.register()
    user_packages()
    return gymnasium.registry


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Environments print and warn when they are imported and made: of newer versions, of rounded bounds, of others."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not text:  # such as a bare assertion: where it stands
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{os.path.basename(frame.filename)}, line {frame.lineno}: {frame.line}"
    return f"{type(error).__name__}: {text:.300}"


def make_gym(
    env_id: str,
    /,
    *,
    wrappers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    max_episode_steps: int | None = None,
    **kwargs: Any,
) -> "gymnasium.Env":
    """Makes a registered environment, with wrappers by entry point and arguments, without a word."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    registered = gymnasium.registry.get(env_id) or all_registered().get(env_id)
    # A maze writes its model into the temporary folder under a name made from the clock: two processes could collide.
    is_maze = registered is not None and "maze_map" in registered.kwargs
    with quiet(), private_tempdir() if is_maze else contextlib.nullcontext():
        env = gymnasium.make(env_id, max_episode_steps=max_episode_steps, disable_env_checker=True, **kwargs)
        if env_id.startswith("AntMaze_") and env_id.endswith("-v3"):
            env = _reporting_success(env)
        for entry_point, arguments in wrappers:
            wrap: Any = load_env_creator(entry_point)
            env = wrap(env, **arguments)
    return env


def _reporting_success(env: "gymnasium.Env") -> "gymnasium.Env":
    """Version 3 of AntMaze with the info["success"] that later versions have."""
    import gymnasium

    class Reporting(gymnasium.Wrapper):
        def step(self, action: Any) -> Any:
            obs, *rest, info = self.env.step(action)
            distance = np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"])
            return obs, *rest, info | {"success": bool(distance <= 0.45)}

    return Reporting(env)


def make_antmaze(env_id: str, maze_map: list, max_episode_steps: int | None = None, **kwargs: Any) -> "gymnasium.Env":
    """An AntMaze that ends at the goal."""
    kwargs = {"maze_map": maze_map, "continuing_task": False, "reset_target": False, **kwargs}
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


@contextlib.contextmanager
def made(where: str, env_id: str, make_env: Callable[[], Any]) -> Iterator["gymnasium.Env"]:
    """The environment, which is closed in the end. Raises ValueError where it does not start, whatever the reason."""
    import gymnasium

    try:
        if not isinstance(env := make_env(), gymnasium.Env):
            raise TypeError(f"a {type(env).__name__} is no gymnasium.Env")
        if missing := [name for name in ("action_space", "observation_space") if not hasattr(env, name)]:
            raise TypeError(f"it has no {missing[0]}")
    except (Exception, SystemExit) as error:  # missing packages, other versions, arguments it does not take
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gymnasium", "mujoco"))
        raise ValueError(f"{where}: {env_id} does not start on {versions}: {_in_one_line(error)}; {CURE}") from error
    try:
        yield env
    finally:
        env.close()


def check_spaces(
    where: str, found: EvalEnv, observations: Any, low: np.ndarray, high: np.ndarray, *, narrower: bool = False
) -> None:
    """Makes an environment and takes one step; raises ValueError, beginning with `where`, unless it fits the data.

    `observations` are the data's as stored, [N, ...] or a dict of such arrays by path, of which shapes alone are read;
    `low` and `high` [A] bound the data's actions; they are the environment's, or, with `narrower`, inside them. An
    environment that takes any action takes theirs.
    """
    from gymnasium import spaces

    with made(where, found.env_id, found.make_env) as env:
        action, seen = env.action_space, by_path(env.observation_space)
        if not isinstance(action, spaces.Box) or len(action.shape) != 1:
            raise ValueError(
                f"{where}: {found.env_id} has actions that are no Box of one axis: {action!s:.200}; {CURE}"
            )
        for path, space in seen.items():
            if not isinstance(space, spaces.Box):
                what = f"observations {path}".strip()
                raise ValueError(f"{where}: {found.env_id} has {what} that are no Box: {space!s:.200}; {CURE}")
        ours = {path: space.shape for path, space in seen.items()}
        parts = observations if isinstance(observations, Mapping) else {"": observations}
        stored = {path: tuple(array.shape[1:]) for path, array in parts.items()}
        differ = f"{where}: {found.env_id} as it would be evaluated and the data differ in their"
        if ours != stored:
            raise ValueError(f"{differ} observations, {_shown(ours)} and {_shown(stored)}; {CURE}")
        if action.shape != low.shape or not all(
            map(_takes, (action.low, action.high), (low, high), (1, -1) if narrower else (0, 0))
        ):
            raise ValueError(f"{differ} actions, {action!s:.150} and {spaces.Box(low, high)!s:.150}; {CURE}")
        try:
            with quiet():
                first, _ = env.reset(seed=0)
                then, reward, *_ = env.step((low + high) / 2)
                is_sound = bool(np.isfinite(float(reward)))
                got = [{path: np.shape(part) for path, part in by_path(each).items()} for each in (first, then)]
        except Exception as error:  # arguments that its constructor did not look at, and faults of its own
            raise ValueError(f"{where}: {found.env_id} does not run: {_in_one_line(error)}; {CURE}") from error
        if got != [ours, ours] or not is_sound:
            gives = f"{_shown(got[1])} and the reward {reward!s:.40}"
            raise ValueError(f"{where}: {found.env_id} gives {gives} where its space is {_shown(ours)}; {CURE}")


def _takes(bound: np.ndarray, stored: np.ndarray, inwards: int) -> bool:
    """Whether stored bounds are the environment's, or lie further in that direction, 1 or -1; 0 is none."""
    close = np.isclose(bound, stored, BOUNDS_TOLERANCE, BOUNDS_TOLERANCE)
    inside = (stored > bound) if inwards > 0 else (stored < bound) if inwards < 0 else np.False_
    return bool(np.all(np.isinf(bound) | close | inside))


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    text = ", ".join(f"{path} {list(shape)}".strip() for path, shape in sorted(shapes.items()))
    return text if len(text) <= 200 else f"{text[:200]}..."
