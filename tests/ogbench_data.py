"""Small data of OGBench's form, and what its own loader makes of them."""

import numpy as np
import pytest

from gtp_jax.datasets.builtin.ogbench import single_task

package = pytest.importorskip("ogbench")  # which Python 3.13 and newer cannot install
POINT = "pointmaze-medium-navigate"
GOAL = (20.0, 20.0)  # of its first task, metres
NAME = f"ogbench/{POINT}-singletask-task1-v0"


def parts(name):
    """ENVIRONMENT-TYPE and task of an id."""
    name, _, task = name.removeprefix("ogbench/").removesuffix("-v0").partition("-singletask")
    return name, f"singletask{task}"


def columns(name, rows=24, episode=6):
    """What a file of random states holds, in the types of the published ones."""
    env, rng = single_task(*parts(name)).make_env(), np.random.default_rng(0)
    states = {"observations": env.observation_space.shape[0], "actions": env.action_space.shape[0]}
    states |= {"qpos": env.unwrapped.model.nq, "qvel": env.unwrapped.model.nv}
    arrays = {key: rng.uniform(-1, 1, (rows, size)).astype(np.float32) for key, size in states.items()}
    arrays["terminals"] = np.arange(1, rows + 1) % episode == 0
    if hasattr(env.unwrapped, "_cur_button_states"):
        arrays["button_states"] = rng.integers(2, size=(rows, len(env.unwrapped._cur_button_states)))
    return arrays


def assert_equals_ogbench(raw, name, path):
    _, theirs, _ = package.make_env_and_datasets(name, dataset_path=str(path))
    rows = np.arange(len(raw.reward)) + raw.episode
    ours = {"observations": raw.observations[rows], "next_observations": raw.observations[rows + 1]}
    ours |= {"actions": raw.action, "rewards": raw.reward, "masks": 1 - raw.terminated.astype(np.float32)}
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype and value.tobytes() == theirs[key].tobytes(), key
