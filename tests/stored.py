"""Datasets as files, written past every check of Minari's: sound, damaged or hostile."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

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


def box(size, low=-np.inf, high=np.inf, dtype="float64"):
    """A Box of one axis as Minari writes it."""
    return json.dumps({"type": "Box", "dtype": dtype, "shape": [size], "low": size * [low], "high": size * [high]})


def spec(env_id="Hopper-v5", **fields):
    """An environment as in metadata.json."""
    return json.dumps({"id": env_id, "kwargs": {}, **fields})


def write(root, dataset_id, episodes, change=None, **metadata):
    """Writes episodes, each arrays by path; `change(file)` may then do anything to the open HDF5 file."""
    folder = Path(root) / dataset_id / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, arrays in enumerate(episodes):
            group = file.create_group(f"episode_{number}")
            for path, array in arrays.items():
                group.create_dataset(path, data=array)
        if change:
            change(file)
    stated = {
        "total_episodes": len(episodes),
        "data_format": "hdf5",
        "observation_space": box(OBS),
        "action_space": box(ACTIONS, -1.0, 1.0, "float32"),
        "env_spec": spec(),
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
