"""What a dataset's metadata say of its environment: an id, arguments and wrappers, all of them checked; never code."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gtp_jax.envs.maze import MazeInfo

CURE = (
    "`--config.eval.num_episodes=0` trains without evaluating (in Python `load(..., env=False)` or "
    "`from_arrays(..., env=None)`), and `gtp_jax.datasets.load(..., env=...)` takes an environment of your own"
)
MOST_STEPS = 1_000_000  # of an episode
KITCHEN_TASKS = ("bottom burner", "top burner", "light switch", "slide cabinet", "hinge cabinet", "microwave", "kettle")

# Arguments that only change what is drawn.
_VIEWER = {"render_fps", "width", "height", "camera_id", "camera_name", "default_camera_config"}
_VIEWER |= {"max_geom", "visual_options", "screen_width", "screen_height", "touch_visualisation"}
# Arguments that are strings, and what they may be.
_STRINGS = {
    "reward_type": ("dense", "sparse"),
    "tasks_to_complete": KITCHEN_TASKS,
    "target_position": ("fixed", "ignore", "random"),
    "target_rotation": ("fixed", "ignore", "parallel", "xyz", "z"),
    "touch_get_obs": ("boolean", "log", "sensordata"),
    "padding_type": ("reset", "zero"),  # FrameStackObservation
    "dtype": ("float16", "float32", "float64"),  # DtypeObservation
}
# Whole numbers that multiply time or memory, each from 0 to 1,000.
_COUNTS = {"frame_skip", "skip", "stack_size", "delay", "num_repeats", "repeat_action_duration"}
_NOT_ARGUMENTS = ("id", "max_episode_steps", "disable_env_checker", "wrappers")  # of an environment
_WORD = re.compile(r"[A-Za-z][\w-]{0,63}")  # nothing that leads to a file elsewhere

# Wrappers of Gymnasium that are functions of their arguments alone, or of these and one episode.
REBUILT = {"ClipAction", "RescaleAction", "StickyAction", "RepeatAction", "ClipReward", "TimeLimit", "JaxToNumpy"}
REBUILT |= {"DelayObservation", "DtypeObservation", "FilterObservation", "FlattenObservation", "FrameStackObservation"}
REBUILT |= {"MaxAndSkipObservation", "RescaleObservation", "ReshapeObservation", "TimeAwareObservation"}
# Those of them that leave an environment's returns as they are, and likewise arguments.
_SAME_RETURNS = REBUILT - {"StickyAction", "RepeatAction", "ClipReward", "TimeLimit", "MaxAndSkipObservation"}
_SAME_RETURNS |= {"exclude_current_positions_from_observation"}
# Wrappers that check, record or draw, by package; what a policy sees and does is the same without them.
IGNORED = {
    "gymnasium": {"OrderEnforcing", "PassiveEnvChecker", "EnvCompatibility", "RecordEpisodeStatistics", "RecordVideo"}
    | {"HumanRendering", "RenderCollection", "AddWhiteNoise", "ObstructView"},
    "minari": {"DataCollector"},
    "stable_baselines3": {"Monitor"},
}
_STATISTICS = "the running statistics are not in the data"
_AUTORESET = "what follows an episode's end is the beginning of another"
_WHY_NOT = {"NormalizeObservation": _STATISTICS, "NormalizeReward": _STATISTICS}
_WHY_NOT |= {"Autoreset": _AUTORESET, "AutoResetWrapper": _AUTORESET}


class Spec(NamedTuple):
    """An environment's specification as Gymnasium writes it; arguments and wrappers are not yet checked."""

    where: str  # begins every message
    env_id: str
    kwargs: dict[str, Any]
    max_episode_steps: int | None
    wrappers: list[dict[str, Any]]


def parse(dataset_id: str, metadata: Mapping[str, Any], key: str) -> Spec | None:
    """The specification that the metadata of a dataset hold under `key`, a JSON string; None where there is none.

    Raises ValueError for what is not JSON, types that Gymnasium does not write, an id that names a module to import,
    and a time limit that is no whole number from 1 to MOST_STEPS.
    """
    where = f"{dataset_id}: metadata.json"
    try:
        spec = json.loads(metadata.get(key) or "{}")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {key} is not JSON: {error}") from None
    if spec is not None and not isinstance(spec, dict):
        raise ValueError(f"{where}: {key} must be an object, got {spec!r:.100}")
    if spec is None or spec.get("id") is None:
        return None
    where = f"{where}: {key}"
    env_id, limit = spec["id"], spec.get("max_episode_steps")
    if not isinstance(env_id, str) or ":" in env_id:
        why = "an id is a name, without a colon, which would have a module imported"
        raise ValueError(f"{where}: environment {env_id!r:.100} cannot be built: {why}; {CURE}")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= MOST_STEPS):
        says = f"must be a whole number from 1 to {MOST_STEPS}"
        raise ValueError(f"{where}: max_episode_steps = {limit!r:.80} {says}; {CURE}")
    kwargs, wrappers = spec.get("kwargs") or {}, spec.get("additional_wrappers") or []
    if not isinstance(kwargs, dict) or not kwargs.keys().isdisjoint(_NOT_ARGUMENTS):
        says = f"must be an object without {', '.join(_NOT_ARGUMENTS)}"
        raise ValueError(f"{where}: kwargs {says}, got {kwargs!r:.100}")
    if not isinstance(wrappers, list) or len(wrappers) > 100 or not all(map(_is_wrapper, wrappers)):
        raise ValueError(f"{where}: additional_wrappers must be up to 100 specifications, got {wrappers!r:.200}")
    if spec.get("autoreset"):  # of Gymnasium below 1.0
        wrappers = [*wrappers, {"entry_point": "gymnasium.wrappers:AutoResetWrapper", "kwargs": {}}]
    return Spec(where, env_id, kwargs, limit, wrappers)


def _is_wrapper(wrapper: Any) -> bool:
    return (
        isinstance(wrapper, dict)
        and isinstance(entry := wrapper.get("entry_point"), str)
        and re.fullmatch(r"[\w.]{1,200}:\w{1,100}", entry) is not None
        and isinstance(wrapper.get("kwargs"), dict | None)
    )


def arguments(
    where: str, kwargs: Mapping[str, Any], *, known: Mapping[str, Any] | None = None, words: bool = False
) -> dict[str, Any]:
    """The arguments of an environment or wrapper that change what happens in it.

    Left out are those that only change what is drawn and those that are `known`, as registered with the id. Values may
    be booleans, numbers, None, flat lists of these, maze maps, and some strings; with `words` any that is one word, for
    packages that the user has allowed. Raises ValueError, beginning with `where`, for any other.
    """
    checked = {}
    for name, value in kwargs.items():
        is_viewers = name == "render_mode" or (name in _VIEWER and not words)
        if is_viewers or (known and name in known and _same(known[name], value)):
            continue
        if name == "maze_map":
            MazeInfo.from_data(value, where)
        elif not _is_plain(name, value, words):
            allowed = f"; it may be {', '.join(_STRINGS[name])}" if name in _STRINGS else ""
            raise ValueError(
                f"{where}: argument {name!r:.80} = {value!r:.100} is not taken from a file{allowed}; {CURE}"
            )
        checked[name] = value
    return checked


def keeps_returns(kwargs: Mapping[str, Any], wrappers: list[tuple[str, dict[str, Any]]]) -> bool:
    """Whether an environment with such arguments and wrappers has the returns that it is published with."""
    ours = [entry.removeprefix("gymnasium.wrappers:") for entry, _ in wrappers]
    return {*kwargs, *ours} <= _SAME_RETURNS


def repeats(wrappers: list[tuple[str, dict[str, Any]]]) -> int:
    """How many steps of the environment one step of such wrappers takes."""
    names = {"gymnasium.wrappers:MaxAndSkipObservation": "skip", "gymnasium.wrappers:RepeatAction": "num_repeats"}
    return math.prod(kwargs.get(names[entry], 4) for entry, kwargs in wrappers if entry in names) or 1


def _same(one: Any, other: Any) -> bool:
    try:
        return json.dumps(one) == json.dumps(other)
    except (TypeError, ValueError):  # of an argument that no file can hold
        return False


def _is_plain(name: str, value: Any, words: bool) -> bool:
    if isinstance(value, list):
        flat = not any(isinstance(each, list) for each in value)
        return flat and len(value) <= 1000 and all(_is_plain(name, each, words) for each in value)
    if isinstance(value, str):
        is_key = name in ("filter_keys", "dict_time_key") and len(value) <= 100
        return is_key or value in _STRINGS.get(name, ()) or (words and _WORD.fullmatch(value) is not None)
    if isinstance(value, int):  # or a boolean
        return 0 <= value <= 1000 if name in _COUNTS else abs(value) <= 10**9
    return value is None or (isinstance(value, float) and not math.isnan(value))


def wrappers_of(spec: Spec, present: list[str], packages: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """The entry point, ours or of the user's `packages`, and the arguments of each wrapper to be applied, in order.

    `present` are the entry points of those that the environment is registered with. Raises ValueError for a wrapper
    that cannot be rebuilt from the data, by its name.
    """
    stated = [wrapper["entry_point"] for wrapper in spec.wrappers]
    if stated[: len(present)] != present:
        found = f"wrappers {present}, of which the data's {stated}"
        raise ValueError(f"{spec.where}: {spec.env_id} is registered with {found:.300} know nothing; {CURE}")
    applied = []
    for wrapper in spec.wrappers[len(present) :]:
        module, _, name = wrapper["entry_point"].partition(":")
        package = module.partition(".")[0]
        if name in IGNORED.get(package, ()):
            continue
        is_ours = package == "gymnasium" and name in REBUILT and not module.startswith("gymnasium.wrappers.vector")
        kwargs, why = wrapper.get("kwargs"), None
        if package == "gymnasium" and not is_ours:
            why = _WHY_NOT.get(name, "it is not on the list")
        elif kwargs is None:
            why = "its arguments are not in the data (it is no gymnasium.utils.RecordConstructorArgs)"
        elif not is_ours and package not in packages:
            why = f"GTP_JAX_ENV_PACKAGES does not name its package {package:.100}"
        if why:
            raise ValueError(f"{spec.where}: wrapper {name!r:.100} cannot be rebuilt: {why}; {CURE}")
        entry = f"gymnasium.wrappers:{name}" if is_ours else wrapper["entry_point"]
        where = f"{spec.where}: wrapper {name!r:.100}"
        checked = arguments(where, kwargs or {}, words=not is_ours)
        # JSON knows no tuples, and wrappers take nothing else for one.
        applied.append((entry, {key: tuple(it) if isinstance(it, list) else it for key, it in checked.items()}))
    return applied
