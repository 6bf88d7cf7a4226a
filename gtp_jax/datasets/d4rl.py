"""D4RL's original files (arXiv 2004.07219), read by the rules of its `qlearning_dataset`: `d4rl/antmaze-umaze-v2`.

Names and addresses are those of Farama-Foundation/D4RL at 89141a6, d4rl/infos.py.
"""

import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtp_jax.datasets import hdf5, hosted, reader
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.folder import is_there
from gtp_jax.datasets.hdf5 import CURE, BadDataset
from gtp_jax.datasets.rows import raw_of_rows
from gtp_jax.envs import D4RL_ANTMAZE_STEPS
from gtp_jax.envs.d4rl_mazes import ENV_IDS, eval_env_of
from gtp_jax.envs.making import EvalEnv, all_registered, check_spaces, make_gym
from gtp_jax.files import check_file, user_path
from gtp_jax.names import nearest

ADDRESS = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
FOLDER = "D4RL_DATASET_DIR"
_KINDS = {"rewards": "fiu", "observations": "f", "actions": "f", "terminals": "fbiu", "timeouts": "fbiu"}


class Family(NamedTuple):
    """What the data of one environment share."""

    observation: int  # numbers of an observation, and of an action, each in [-1, 1]
    action: int
    steps: int  # D4RL's time limit, which ends episodes in files without `timeouts`
    env_id: str | None  # where policies are evaluated; None: nothing here has these observations


FAMILIES = {
    **{f"antmaze-{maze}": Family(29, 8, steps, ENV_IDS[maze]) for maze, steps in D4RL_ANTMAZE_STEPS.items()},
    "hopper": Family(11, 3, 1000, "Hopper"),
    "halfcheetah": Family(17, 6, 1000, "HalfCheetah"),
    "walker2d": Family(17, 6, 1000, "Walker2d"),
    "ant": Family(111, 8, 1000, None),  # with contact forces, which MuJoCo 2 left at 0
    "pen": Family(45, 24, 100, "AdroitHandPen-v1"),
    "door": Family(39, 28, 200, "AdroitHandDoor-v1"),
    "hammer": Family(46, 26, 200, "AdroitHandHammer-v1"),
    "relocate": Family(39, 30, 200, "AdroitHandRelocate-v1"),
    "kitchen": Family(60, 9, 280, None),  # FrankaKitchen-v1's are others
}


def _files() -> dict[str, str]:
    """The file of every dataset, below ADDRESS."""
    files = {}
    for body in ("hopper", "halfcheetah", "walker2d", "ant"):
        for kind in ("random", "medium", "expert", "medium-replay", "full-replay", "medium-expert"):
            stem = f"{body}_{kind.replace('-', '_')}"
            files |= {f"{body}-{kind}-{v}": f"gym_mujoco_{v}/{stem}-{v}.hdf5" for v in ("v1", "v2")}
            if kind != "full-replay":
                old = stem.replace("medium_replay", "mixed").replace("walker2d_mixed", "walker_mixed")
                files[f"{body}-{kind}-v0"] = f"gym_mujoco/{old}.hdf5"
    kinds = {"umaze": (False, False), "umaze-diverse": (True, True)}
    kinds |= {f"{maze}-play": (True, False) for maze in ("medium", "large")}
    kinds |= {f"{maze}-diverse": (True, True) for maze in ("medium", "large")}
    for kind, (starts, goals) in kinds.items():
        maze, tail = kind.partition("-")[0], f"noisy_multistart_{starts}_multigoal_{goals}_sparse"
        old = {"umaze": "u-maze", "medium": "big-maze", "large": "hardest-maze"}[maze]
        files[f"antmaze-{kind}-v0"] = f"ant_maze_new/Ant_maze_{old}_{tail}.hdf5"
        files[f"antmaze-{kind}-v1"] = f"ant_maze_v1/Ant_maze_{maze}_{tail}.hdf5"
        files[f"antmaze-{kind}-v2"] = f"ant_maze_v2/Ant_maze_{old}_{tail}_fixed.hdf5"
    for hand in ("pen", "door", "hammer", "relocate"):
        for kind, old in {
            "human": "v0_demos_clipped",
            "cloned": "demos-v0-bc-combined",
            "expert": "v0_expert_clipped",
        }.items():
            files[f"{hand}-{kind}-v0"] = f"hand_dapg/{hand}-{old}.hdf5"
            files[f"{hand}-{kind}-v1"] = f"hand_dapg_v1/{hand}-{kind}-v1.hdf5"
    demos = "kitchen_microwave_kettle"
    kitchen = {"complete": f"mini_{demos}_light_slider", "partial": f"{demos}_light_slider"}
    kitchen |= {"mixed": f"{demos}_bottomburner_light"}
    return files | {f"kitchen-{kind}-v0": f"kitchen/{stem}-v0.hdf5" for kind, stem in kitchen.items()}


FILES = _files()


def _unavailable(dataset_id: str, path: Path) -> hosted.DatasetUnavailable:
    builtin, address = stand_in(dataset_id), f"{ADDRESS}/{FILES[dataset_id.removeprefix('d4rl/')]}"
    instead = "No built-in dataset stands in for it"
    if builtin:
        instead = f"Without it, the built-in dataset {builtin} can be used instead"
    says = (
        f"{dataset_id}: {path.name} is not in {path.parent}, which {FOLDER} names where it is set. To get it: download"
    )
    return hosted.DatasetUnavailable(f"{says} {address} and copy it there. {instead}", builtin)


def stand_in(dataset_id: str) -> str | None:
    """The built-in dataset of the same name, whose data are others; None where there is none."""
    name = re.sub(r"-v\d$", "-v0", dataset_id.removeprefix("d4rl/"))
    family, _, kind = name.partition("-")
    found = f"gtp/{'d4rl-antmaze' if family == 'antmaze' else family}/{kind}"
    return found if found in ids.ids() else None


def is_d4rl(dataset_id: str) -> bool:
    """Whether an id names one of D4RL's original files."""
    return dataset_id.startswith("d4rl/")


def check(dataset_id: str) -> None:
    """Raises ValueError for an unknown name."""
    if dataset_id not in (known := [f"d4rl/{name}" for name in FILES]):
        near, form = nearest(dataset_id, known), f"they are d4rl/FAMILY-KIND-vN, FAMILY one of {', '.join(FAMILIES)}"
        raise ValueError(f"no dataset {dataset_id!r:.100}; {form}{f'; did you mean {near!r}?' if near else ''}")


def has_goal(dataset_id: str) -> bool:
    """Whether a reward above 0 means that the goal is reached."""
    return dataset_id.startswith("d4rl/antmaze-")


def load(dataset_id: str, *, with_env: bool = True) -> tuple[reader.Raw, EvalEnv | None]:
    """Reads a dataset from the file in ~/.d4rl/datasets, or in the folder that D4RL_DATASET_DIR names.

    With it comes the environment that policies are evaluated in, unless that is not wanted or there is none.

    Policies for AntMaze are evaluated in `gtp/D4RLAntMaze-*-v0`, those for Gym's tasks in Gymnasium's version 4 (5
    where that is gone), Adroit's in Gymnasium-Robotics' version 1, the kitchen's and the ant's nowhere.

    Raises ValueError for an unknown name, DatasetUnavailable where there is no such file, BadDataset for a file that
    cannot be trained on; dataset, episode, field and index are named.
    """
    check(dataset_id)
    name = dataset_id.removeprefix("d4rl/")
    try:
        folder = user_path(os.environ.get(FOLDER) or "~/.d4rl/datasets").absolute()
    except ValueError as error:
        raise ValueError(f"{dataset_id}: the folder of D4RL's files: {error}; or set {FOLDER} to it") from None
    path = folder / FILES[name].rpartition("/")[2]
    if not is_there(dataset_id, path):
        raise _unavailable(dataset_id, path)
    family = FAMILIES[next(known for known in FAMILIES if name.startswith(f"{known}-"))]
    raw, env = read(path, dataset_id, family), None
    if with_env and family.env_id is not None:
        env_id = family.env_id
        if "-v" not in env_id:
            env_id = next(each for version in "45" if (each := f"{env_id}-v{version}") in all_registered())
        make_env = functools.partial(make_gym, env_id, max_episode_steps=family.steps)
        env = eval_env_of(env_id) or EvalEnv(env_id, make_env, time_limit=family.steps)
        check_spaces(dataset_id, env, raw.observations, raw.action_low, raw.action_high)
    return raw, env


def read(path: Path, dataset_id: str, family: Family) -> reader.Raw:
    """Reads a file by the rules of `qlearning_dataset`.

    A row's next observation is that of the next row. Rows with a time-out, and the last row, are no transitions. An
    episode ends with a terminal or a time-out; without `timeouts` one of D4RL's time limit ends in a time-out. A
    terminal transition leads to its own observation, which nothing is bootstrapped from. Two things differ from D4RL's
    loop: the observation after a terminal is that of the next episode there, and its count of steps is one too high
    after each terminal. Other fields, `infos/goal` among them, are not read.

    Raises BadDataset for links and storage that lead elsewhere, arrays that are missing or of other shapes or types,
    flags other than 0 and 1, numbers that cannot be trained on, no transitions, and files that are unreadable.
    """
    shapes = {"rewards": (), "observations": (family.observation,), "actions": (family.action,)}
    try:
        check_file(path, path.parent)
        columns = hdf5.table(path, dataset_id, shapes | {"terminals": (), "timeouts": ()}, _KINDS, "timeouts")
    except BadDataset:
        raise
    except Exception as error:  # damaged files raise every kind
        raise BadDataset(f"{dataset_id}: {path} cannot be read ({error}); download it again") from error
    for flag in ("terminals", "timeouts"):
        if flag in columns and (bad := (columns[flag] != 0) & (columns[flag] != 1)).any():
            row = int(bad.argmax())
            raise BadDataset(
                f"{dataset_id}: {flag}, first at row {row}: {columns[flag][row]} is neither 0 nor 1; {CURE}"
            )
    terminal = columns["terminals"].astype(bool)
    if "timeouts" in columns:
        timeout = columns["timeouts"].astype(bool)
    else:
        rows = np.arange(len(terminal))
        first = np.maximum.accumulate(np.where(np.append(True, terminal[:-1]), rows, 0))  # of each row's episode
        timeout = (rows - first) % family.steps == family.steps - 1
    timeout[-1] = True
    columns |= {"terminals": terminal & ~timeout, "timeouts": timeout}
    return raw_of_rows(dataset_id, columns, np.array([[-1.0], [1.0]], np.float32).repeat(family.action, axis=1))
