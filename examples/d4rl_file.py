"""An original file of D4RL, read as it is: without the packages d4rl, gym and mujoco-py.

Where hopper_medium-v2.hdf5 is not in the folder D4RL_DATASET_DIR or ~/.d4rl/datasets, this script says where it can be
had, and writes a small file of the same name and format below runs/, from the built-in data of the hopper. Those are
other data, and their scores do not compare with scores on D4RL.
"""

import os
from pathlib import Path

import h5py
import minari
import numpy as np

import gtp_jax

STAND_IN = "gtp/hopper/medium-10k-v0"
NUM_UPDATES = 2_000  # 1,000,000 for the paper's size


def write_stand_in(folder):
    """Writes built-in data as D4RL stores its own: rows of all episodes, one behind the other."""
    gtp_jax.datasets.load(STAND_IN)  # which collects them where they are not there
    rows = {"observations": [], "actions": [], "rewards": [], "terminals": [], "timeouts": []}
    for episode in minari.load_dataset(STAND_IN).iterate_episodes():
        rows["observations"].append(episode.observations[:-1])  # D4RL does not store the last one
        rows["actions"].append(episode.actions)
        rows["rewards"].append(episode.rewards)
        rows["terminals"].append(episode.terminations)
        rows["timeouts"].append(episode.truncations)
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "hopper_medium-v2.hdf5", "w") as file:
        for name, column in rows.items():
            column = np.concatenate(column)
            file[name] = column.astype(bool if column.dtype == bool else np.float32)


if __name__ == "__main__":
    try:
        data = gtp_jax.datasets.load("d4rl/hopper-medium-v2")
    except gtp_jax.datasets.DatasetUnavailable as error:
        print(f"{error}\n\nA stand-in is written in D4RL's format: {STAND_IN}, not D4RL's data.")
        folder = Path("runs/d4rl_stand_in")
        write_stand_in(folder)
        os.environ["D4RL_DATASET_DIR"] = str(folder)
        data = gtp_jax.datasets.load("d4rl/hopper-medium-v2")

    print(f"{data.id}: {len(data.batch.reward):,} transitions, fingerprint {data.fingerprint[:12]}")
    small = {"num_updates": NUM_UPDATES, "num_seeds": 2, "policy.hidden": (128, 128), "eval.num_episodes": 10}
    result = gtp_jax.train("d4rl:hopper-medium-v2,gtp-bc", small, dataset=data, quiet=True)
    score, (low, high) = result.summary["score"], result.summary["score"]["ci95"]
    print(f"evaluated in {data.summary['environment']}: normalised return {score['mean']:.1f}", end="")
    print(f", 95 % interval [{low:.1f}, {high:.1f}]")
