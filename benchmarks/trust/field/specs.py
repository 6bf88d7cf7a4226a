"""Recordings whose metadata state another environment, other arguments, wrappers or limits, or nonsense."""

import contextlib
import copy
import json
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
from gymnasium import wrappers
from gymnasium.envs.registration import load_env_creator

from benchmarks.trust.field.cases import Case, pick, variables
from gtp_jax import datasets
from gtp_jax.envs import making
from gtp_jax.names import by_path

DRAWN = {"render_mode", "width", "height", "camera_id", "max_geom"}  # arguments that only change pictures
UNSEEN = {"OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "RecordVideo", "HumanRendering"}
UNSEEN |= {"DataCollector", "Monitor"}
UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
RECORDED = {
    "hopper": lambda: wrappers.RescaleAction(gymnasium.make("Hopper-v5", max_episode_steps=9), 0.0, 10.0),
    "pendulum": lambda: gymnasium.make("Pendulum-v1", g=5.0),
    "car": lambda: wrappers.DelayObservation(gymnasium.make("MountainCarContinuous-v0"), 1),
    "point": lambda: making.make_gym("PointMaze_UMaze-v3", reward_type="dense"),
    "ant": lambda: making.make_gym("AntMaze_UMaze-v4", maze_map=UMAZE, max_episode_steps=30),
}


def record(root: Path, name: str) -> None:
    """Two episodes of six random steps, as Minari writes them: dataset NAME/tiny-v0."""
    with making.quiet(), variables(MINARI_DATASETS_PATH=str(root)):
        collector = minari.DataCollector(RECORDED[name]())
        collector.action_space.seed(0)
        for seed in range(2):
            collector.reset(seed=seed)
            for _ in range(6):
                collector.step(collector.action_space.sample())
        collector.create_dataset(f"{name}/tiny-v0")
        collector.close()


# fmt: off
IDS = ("Hopper-v5", "Hopper-v4", "Hopper-v3", "hopper-v5", "Hopper", "Pendulum-v1", "CartPole-v1", "AntMaze_UMaze-v4",
    "this:Ant-v5", "os:system", "", "a" * 5000, "Hopper-v5\n", "Höpper-v5", "../Hopper-v5", "x/y/Hopper-v5",
    "Hopper-v" + "9" * 400, "\0", "None", 5, None, [], {}, True, "MountainCarContinuous-v0", "PointMaze_UMaze-v3",
    "PointMaze_UMazeDense-v3", "AntMaze_UMaze-v5", "AntMaze_UMaze-v3", "FrankaKitchen-v1", "AdroitHandPen-v1",
    "ALE/Pong-v5", "gtp/D4RLAntMaze-umaze-v0", "GymV21Environment-v0", "phys2d/Pendulum-v0", "Pendulum-v0",
    "Walker2d-v5", "{}", "%s", "[red]")
NAMES = ("g", "healthy_reward", "healthy_z_range", "frame_skip", "xml_file", "reset_noise_scale", "reward_type",
    "maze_map", "continuing_task", "goal_velocity", "render_mode", "width", "camera_id", "max_geom",
    "terminate_when_unhealthy", "forward_reward_weight", "exclude_current_positions_from_observation", "env", "self",
    "entry_point", "id", "wrappers", "autoreset", "max_episode_steps", "vector_kwargs", "__class__", "", "a b",
    "kwargs", "disable_env_checker")
VALUES = (0, 1, -1, 2, 5.0, 0.5, 1e300, math.nan, math.inf, 10**400, True, False, None, "sparse", "dense", "x",
    "/etc/passwd", "../../x.xml", "hopper.xml", "", [], [0.7, 100.0], [1], [[1]], [[1], [2, 3]], UMAZE, [["r", "g"]],
    {}, {"a": 1}, [None], ["x"] * 3, [1] * 2000, "z" * 10_000, "eval('1')", "human")
ENTRIES = ("gymnasium.wrappers:ClipAction", "gymnasium.wrappers:RescaleAction", "gymnasium.wrappers.common:TimeLimit",
    "gymnasium.wrappers:RescaleObservation", "gymnasium.wrappers:NormalizeObservation",
    "gymnasium.wrappers:FlattenObservation", "gymnasium.wrappers:FrameStackObservation", "os:mkdir",
    "gymnasium.wrappers:TimeAwareObservation", "gymnasium.wrappers:StickyAction", "gymnasium.wrappers:RepeatAction",
    "gymnasium.wrappers:DtypeObservation", "gymnasium.wrappers:ClipReward", "gymnasium.wrappers:DelayObservation",
    "gymnasium.wrappers:FilterObservation", "gymnasium.wrappers:ReshapeObservation",
    "gymnasium.wrappers:OrderEnforcing", "gymnasium.wrappers:RecordVideo",
    "gymnasium.wrappers:RecordEpisodeStatistics", "gymnasium.wrappers:TransformReward", "gymnasium.wrappers:Nothing",
    "gymnasium.wrappers.vector:ClipAction", "gymnasium:Wrapper", "gymnasium.wrappers:MaxAndSkipObservation",
    "this:ClipAction", "ClipAction", "", ":", "a:b:c", "minari:DataCollector", "minari:StepDataCallback",
    "stable_baselines3.common.monitor:Monitor", "x.y:Monitor", None, 3)
ARGUMENTS = ({}, {}, None, {"min_action": 0.0, "max_action": 10.0}, {"min_action": -1, "max_action": 1},
    {"min_action": 3, "max_action": 1}, {"max_episode_steps": 5}, {"max_episode_steps": 0}, {"min_obs": -1.0,
    "max_obs": 1.0}, {"stack_size": 2}, {"stack_size": 0}, {"stack_size": 10**9}, {"repeat_action_probability": 0.5},
    {"repeat_action_probability": 7}, {"num_repeats": 2}, {"num_repeats": -1}, {"dtype": "float32"}, {"dtype":
    "object"}, {"min_reward": -1, "max_reward": 1}, {"delay": 1}, {"filter_keys": ["observation"]}, {"filter_keys":
    ["no"]}, {"filter_keys": []}, {"shape": [11]}, {"shape": [1, 11]}, {"shape": "x"}, {"skip": 1}, {"func":
    "lambda"}, {"env": 1}, {"self": 1}, {"flatten": True, "normalize_time": False}, {"x": {"y": 1}}, [], 3, "x",
    {"min_action": [0.0] * 3, "max_action": [10.0] * 3})
TEXTS = ("", "{", "[]", "3", "null", "true", '"x"', "NaN", "{}", '{"id": null}', "[" * 100_000, '{"id": "Hopper-v5"',
    "\x00", '{"id": {"id": 1}}', 5, [], {}, True, None)
LIMITS = (None, 0, 1, 5, 9, 30, -1, 1.5, 10.0, "9", True, 10**6, 10**7, 10**400, math.nan, [], {})
# fmt: on


def changed(rng: np.random.Generator, spec: dict[str, Any]) -> Any:
    """A specification, one thing of which is another."""
    what = pick(
        rng, ("id", "kwarg", "kwarg", "kwargs", "limit", "wrapper", "wrapper", "wrappers", "other", "text", "none")
    )
    if what == "id":
        spec["id"] = pick(rng, IDS)
    elif what == "kwarg" and isinstance(spec.get("kwargs"), dict):
        name = pick(rng, [*NAMES, *spec["kwargs"]])
        spec["kwargs"][name] = pick(rng, VALUES)
    elif what == "kwargs":
        spec["kwargs"] = pick(
            rng, ({}, None, [], 3, "x", {"a": {"b": {}}}, [1], dict.fromkeys(map(str, range(2000)), 1))
        )
    elif what == "limit":
        spec["max_episode_steps"] = pick(rng, LIMITS)
    elif what == "wrapper" and isinstance(spec.get("additional_wrappers"), list):
        own, entry = spec["additional_wrappers"], pick(rng, ENTRIES)
        new = {"name": pick(rng, ("x", entry, None, 3)), "entry_point": entry, "kwargs": pick(rng, ARGUMENTS)}
        own.insert(int(rng.integers(len(own) + 1)), new)
    elif what == "wrappers":
        spec["additional_wrappers"] = pick(
            rng, ([], None, 3, "x", {}, [3], [None], [[]], [{}], [{"entry_point": "os:mkdir"}] * 101)
        )
    elif what == "other":
        spec[
            pick(
                rng,
                (
                    "entry_point",
                    "reward_threshold",
                    "nondeterministic",
                    "autoreset",
                    "order_enforce",
                    "namespace",
                    "version",
                    "x",
                    "vector_entry_point",
                ),
            )
        ] = pick(rng, VALUES)
    return pick(rng, TEXTS) if what == "text" else spec


def plainly_made(stated: dict[str, Any], maze: list | None) -> gymnasium.Env:
    """What Gymnasium makes of a specification, as Minari would, its entry point apart; AntMaze ends at the goal."""
    kwargs = {name: value for name, value in (stated.get("kwargs") or {}).items() if name not in DRAWN}
    if maze is not None:
        kwargs |= {"maze_map": maze, "continuing_task": False} | (
            {"reset_target": False} if "v3" not in stated["id"] else {}
        )
        if stated["id"].endswith("-v5"):  # with the contact forces or without, as the data
            kwargs["include_cfrc_ext_in_observation"] = False
    limit = stated.get("max_episode_steps") or max(6, gymnasium.spec(stated["id"]).max_episode_steps or 0)
    env = gymnasium.make(stated["id"], max_episode_steps=limit, disable_env_checker=True, **kwargs)
    present = len(env.spec.additional_wrappers)
    for each in (stated.get("additional_wrappers") or [])[present:]:
        if each["entry_point"].partition(":")[2] not in UNSEEN:
            given = {name: tuple(it) if isinstance(it, list) else it for name, it in each["kwargs"].items()}
            env = load_env_creator(each["entry_point"])(env, **given)
    return env


def played(env: gymnasium.Env, low: np.ndarray, high: np.ndarray) -> list[Any]:
    """What a dozen random actions within the data's bounds give."""
    with contextlib.closing(env):
        rng, found = np.random.default_rng(0), [env.reset(seed=3)[0]]
        for _ in range(12):
            found.append(env.step(rng.uniform(low, high).astype(np.float32))[:4])
            if found[-1][2] or found[-1][3]:
                break
    return found


def specifications(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Recordings whose metadata state another environment, other arguments, wrappers or limits, or none."""
    for name in RECORDED:
        path = root / f"{name}/tiny-v0/data/metadata.json"
        whole = json.loads(path.read_text())
        for _ in range(count // len(RECORDED)):
            metadata, key = copy.deepcopy(whole), pick(rng, ("env_spec", "env_spec", "eval_env_spec"))
            spec = json.loads(whole["env_spec"])
            for _ in range(rng.integers(1, 3)):
                spec = changed(rng, spec) if isinstance(spec, dict) else spec
            metadata[key] = json.dumps(spec) if isinstance(spec, dict) else spec
            if rng.random() < 0.03:
                del metadata[key]
            path.write_text(json.dumps(metadata))
            yield Case(
                "specification", f"^{name}/tiny-v0: ", partial(_as_stated, root, name, metadata), (name, key, spec)
            )
        path.write_text(json.dumps(whole))


def _as_stated(root: Path, name: str, metadata: dict[str, Any]) -> bool:
    known = {"this", "os.mkdir"} & sys.modules.keys()
    data = datasets.load(f"{name}/tiny-v0", root=root, standardise=False)
    assert {"this", "os.mkdir"} & sys.modules.keys() == known  # nothing was imported
    own, other = (json.loads(metadata.get(key) or "{}") or {} for key in ("env_spec", "eval_env_spec"))
    is_ant = own.get("id") and own["id"].startswith("AntMaze")
    stated = own if is_ant or not other.get("id") else other
    if not stated.get("id"):
        return data.env is None and data.summary["environment"] is None
    with making.quiet():
        plain = plainly_made(stated, own["kwargs"]["maze_map"] if is_ant else None)
        spaces = {path: space.shape for path, space in by_path(plain.observation_space).items()}
        expected, found = (played(env, data.action_low, data.action_high) for env in (plain, data.make_env()))
    np.testing.assert_equal(found, expected)
    made = data.make_env()
    return {path: space.shape for path, space in by_path(made.observation_space).items()} == spaces
