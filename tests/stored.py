"""Datasets as files, written past every check of Minari's: sound, damaged or hostile."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from gtp_jax.envs import registry

OBS, ACTIONS = 4, 2
OTHERS = ("actions", "rewards", "terminations", "truncations")


def episode(steps, rng=None, **changes):
    """Sound arrays of one episode by path."""
    rng = rng or np.random.default_rng(steps)
    return {
        "observations": rng.normal(size=(steps + 1, OBS)),
        "actions": rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "terminations": np.arange(steps) == steps - 1,
        "truncations": np.zeros(steps, bool),
    } | changes


def counting(first, steps, rewards=None, terminated=False, size=27, actions=8):
    """An episode whose observation numbers count up from `first`, so that every row can be recognised."""
    rows, last = first + np.arange(steps + 1.0)[:, None], np.arange(steps) == steps - 1
    return {
        "observations": rows + np.zeros(size),
        "actions": ((rows[:-1] + np.arange(actions)) % 10 / 10).astype(np.float32),
        "rewards": np.zeros(steps) if rewards is None else np.array(rewards, float),
        "terminations": last & terminated,
        "truncations": last & (not terminated),
    }


def antmaze(first, steps, rewards=None, terminated=False):
    """The same of AntMaze: the ant is at `first` + (0.25, 0.5) at first, the goal at (50, 50)."""
    arrays = counting(first, steps, rewards, terminated)
    observation = arrays.pop("observations")
    goal = {"achieved_goal": observation[:, :2] + [0.25, 0.5], "desired_goal": np.full((steps + 1, 2), 50.0)}
    parts = {"observation": observation, **goal}
    return arrays | {f"observations/{name}": array for name, array in sorted(parts.items())}


def box(size, low=-np.inf, high=np.inf, dtype="float64"):
    """A Box of one axis as Minari writes it."""
    return json.dumps({"type": "Box", "dtype": dtype, "shape": [size], "low": size * [low], "high": size * [high]})


def dicts(**parts):
    """A Dict of such spaces."""
    return json.dumps({"type": "Dict", "subspaces": {name: json.loads(space) for name, space in parts.items()}})


def spec(env_id="Hopper-v5", **fields):
    """An environment as in metadata.json."""
    return json.dumps({"id": env_id, "kwargs": {}, **fields})


def write(root, dataset_id, episodes, change=None, **metadata):
    """Writes episodes, each arrays by path, in spaces that fit the first one; `change(file)` may then do anything.

    They are of no environment, unless the metadata name one.
    """
    folder = Path(root) / dataset_id / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, arrays in enumerate(episodes):
            group = file.create_group(f"episode_{number}")
            for path, array in arrays.items():
                group.create_dataset(path, data=array)
        if change:
            change(file)
    first = episodes[0] if episodes else episode(1)
    parts = {path[13:]: box(array.shape[-1]) for path, array in first.items() if path[:12] == "observations"}
    stated = {
        "total_episodes": len(episodes),
        "data_format": "hdf5",
        "observation_space": parts[""] if "" in parts else dicts(**parts),
        "action_space": box(first["actions"].shape[-1], -1.0, 1.0, "float32"),
    }
    (folder / "metadata.json").write_text(json.dumps(stated | metadata))
    return folder


class Sentinel:
    """Something whose unpickling leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def huge(path):
    """A hundred megabytes that take no room on the disk."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(100 * 2**20)


def refusal(call):
    """The one line of the ValueError that a call raises."""
    with pytest.raises(ValueError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000, text
    return text


def look_up(metadata, observations=(11,), low=(-1.0,) * 3, high=(1.0,) * 3, longest=7):
    """What is found for data whose observations have such a shape, or such shapes by path, and actions such bounds."""
    shapes = observations if isinstance(observations, dict) else {"": observations}
    empty = {path: np.empty((0, *shape)) for path, shape in shapes.items()}
    return registry.for_metadata(
        "test/x-v0", metadata, empty.get("", empty), np.float32(low), np.float32(high), longest
    )


def wrapped(entry_point, kwargs):
    return {"additional_wrappers": [{"name": "any", "entry_point": entry_point, "kwargs": kwargs}]}
