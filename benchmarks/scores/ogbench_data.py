"""What OGBench's data that were made again hold, and how fast they are made beside the environment and oracle alone.

Writes RESULTS/ogbench_data.json; collects the dataset unless it is there.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from benchmarks import shared
from gtp_jax.datasets import ogbench
from gtp_jax.datasets.builtin.ogbench import OGBENCH, OGBenchCollection
from gtp_jax.datasets.builtin.ogbench_episodes import Ant, Arm, Simulator
from gtp_jax.datasets.folder import datasets_root

STEPS = 300  # of the episodes that are timed
PARTS = {  # of an observation of cube-single
    "joint positions": slice(0, 6),
    "joint velocities": slice(6, 12),
    "effector x, y, z": slice(12, 15),
    "cos, sin of the effector's yaw": slice(15, 17),
    "gripper opening, contact": slice(17, 19),
    "cube x, y, z": slice(19, 22),
    "cube's quaternion": slice(22, 26),
    "cos, sin of the cube's yaw": slice(26, 28),
}


def statistics(dataset: str) -> dict[str, Any]:
    """Mean, deviation and range of every number of actions and observations, and how often each task is solved."""
    raw, _ = ogbench.load(dataset, datasets_root())
    rows = {"actions (x, y, z, yaw, gripper)": raw.action}
    rows |= {name: raw.observations[:, part] for name, part in PARTS.items()}
    found = {"fingerprint": raw.fingerprint, "transitions": len(raw.reward), "rows": {}, "solved": {}}
    for name, values in rows.items():
        of = {"mean": np.mean, "deviation": np.std, "lowest": np.min, "highest": np.max}
        found["rows"][name] = {key: each(values.astype(float), axis=0).tolist() for key, each in of.items()}
    stem, size = dataset.removesuffix("-v0").rsplit("-", 1)
    for number in range(1, 6):
        raw, env = ogbench.load(f"{stem}-singletask-task{number}-{size}-v0", datasets_root())
        found["solved"][f"task {number}"] = float(raw.terminated.mean())
    return found


def speeds(name: str) -> dict[str, float]:
    """Steps a second of CPU time of one process: a whole episode, and the environment and its oracle alone."""
    collection = dataclasses.replace(OGBENCH[name], steps=STEPS)
    simulator = Simulator(collection, 0)
    calls = {"collecting": lambda: simulator.episode("train", 0), "alone": _alone(collection)}
    seconds = shared.in_turns(calls, 3, clock=time.process_time)
    return {each: STEPS / float(np.median(times)) for each, times in seconds.items()}


def _alone(collection: OGBenchCollection) -> Callable[[], None]:
    """Steps of the package's environment under the package's oracle, of which nothing is kept."""
    env = gymnasium.make(collection.env_id, disable_env_checker=True, **collection.mode)
    inner: Any = env.unwrapped

    def walk() -> None:
        env.reset(seed=0)
        for _ in range(STEPS):
            way_point, _ = inner.get_oracle_subgoal(inner.get_xy(), inner.cur_goal_xy)
            env.step(np.clip(way_point - inner.get_xy(), -1, 1))

    def move() -> None:
        arm = (Ant if collection.controllers else Arm)(env, collection)
        observation, info = env.reset(seed=0)
        arm.begin(observation, info)
        for _ in range(STEPS):
            observation, _, _, _, info = env.step(np.clip(arm.action(observation, info), -1, 1))
            arm.stepped(info)

    return walk if collection.is_maze and not collection.controllers else move


def measure(dataset: str, datasets: list[str]) -> dict[str, Any]:
    """Statistics of one dataset, speeds of all."""
    return {"dataset": dataset, **statistics(dataset), "speeds": {each: speeds(each) for each in datasets}}


main = partial(
    shared.measure, __file__, __doc__, measure, dataset="gtp/ogbench/cube-single-play-200k-v0", datasets=tuple(OGBENCH)
)
