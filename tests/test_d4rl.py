"""D4RL: its AntMaze against its constants, its original files against its rules, the built-in data of its protocol."""

import h5py
import numpy as np
import pytest

from gtp_jax import datasets
from gtp_jax.commands import run
from gtp_jax.datasets import d4rl
from gtp_jax.datasets.hdf5 import BadDataset
from gtp_jax.envs import registry
from gtp_jax.envs.d4rl_mazes import MAZES

NAME = "hopper-medium-v2"
FAMILY = d4rl.FAMILIES["hopper"]


def rows(count, **changes):
    """The arrays of a file in D4RL's format, Hopper's sizes."""
    rng = np.random.default_rng(count)
    return {
        "observations": rng.normal(size=(count, 11)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        "rewards": rng.normal(size=count).astype(np.float32),
        "terminals": np.zeros(count, bool),
        "timeouts": np.zeros(count, bool),
        "infos/goal": np.full((count, 2), np.nan),  # is not read
    } | changes


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes arrays as another program would, and reads them as a dataset."""
    monkeypatch.setenv(d4rl.FOLDER, str(tmp_path))

    def read(arrays, change=None, family=FAMILY):
        path = tmp_path / "hopper_medium-v2.hdf5"
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, compression="gzip")
            if change:
                change(file)
        return d4rl.read(path, f"d4rl/{NAME}", family)

    return read


def qlearning(arrays, limit):
    """D4RL's loop, with the count of steps begun anew after each end: transitions (obs, action, reward, next, done)."""
    found, step = [], 0
    for i in range(len(arrays["rewards"]) - 1):
        is_last = arrays["timeouts"][i] if "timeouts" in arrays else step == limit - 1
        step = 0 if is_last or arrays["terminals"][i] else step + 1
        if not is_last:
            parts = (arrays[name][i] for name in ("observations", "actions", "rewards"))
            found.append((*parts, arrays["observations"][i + 1], bool(arrays["terminals"][i])))
    return found


@pytest.mark.parametrize("with_timeouts", [True, False])
@pytest.mark.parametrize("column", [False, True])
def test_the_rules_are_those_of_qlearning_dataset(write, with_timeouts, column):
    arrays, rng = rows(200), np.random.default_rng(0)
    arrays["terminals"] = (rng.random(200) < 0.1).astype(np.float32)
    arrays["timeouts"] = rng.random(200) < 0.1
    arrays["timeouts"][[0, 50, 51, 199]], arrays["terminals"][[50, 60, 61, 198]] = True, 1
    if not with_timeouts:
        del arrays["timeouts"]
    raw = write(
        arrays | ({name: arrays[name][:, None] for name in ("rewards", "terminals")} if column else {}),
        family=FAMILY._replace(steps=7),
    )
    wanted = qlearning(arrays, 7)
    assert len(wanted) == len(raw.reward)
    for i, (obs, action, reward, following, done) in enumerate(wanted):
        row = i + raw.episode[i]
        np.testing.assert_array_equal(raw.observations[row], obs)
        np.testing.assert_array_equal(raw.action[i], action)
        assert raw.reward[i] == reward and raw.terminated[i] == done
        np.testing.assert_array_equal(raw.observations[row + 1], obs if done else following)
    assert np.all(np.bincount(raw.episode) > 0) and np.all(
        raw.step[raw.terminated] == np.bincount(raw.episode)[raw.episode[raw.terminated]] - 1
    )


def link(file):
    file["elsewhere"] = file["rewards"]
    del file["rewards"]
    file["rewards"] = h5py.SoftLink("/elsewhere")


def external(file):
    del file["rewards"]
    file.create_dataset("rewards", (20,), "f4", external=[("/etc/passwd", 0, 80)])


def changed(name, index, value):
    def change(file):
        file[name][index] = value

    return change


def replaced(name, array):
    def change(file):
        del file[name]
        if array is not None:
            file[name] = array

    return change


DAMAGES = {
    "index .3, 4., observations: nan is not finite": changed("observations", (3, 4), np.nan),
    "rewards.*inf is not finite": changed("rewards", 5, np.inf),
    "actions.*outside": changed("actions", (0, 1), 1.5),
    "actions is missing": replaced("actions", None),
    "rewards is a link": link,
    "rewards is stored in another file": external,
    r"observations: expected shape \(20, 11\)": replaced("observations", np.zeros((20, 12), np.float32)),
    r"actions: expected shape \(20, 3\)": replaced("actions", np.zeros((19, 3), np.float32)),
    "observations: expected floats": replaced("observations", np.full((20, 11), b"x")),
    "terminals, first at row 2: 0.5 is neither": replaced("terminals", np.where(np.arange(20) == 2, 0.5, 0.0)),
    "timeouts: expected an array, got a group": lambda file: (
        file.__delitem__("timeouts"),
        file.create_group("timeouts"),
    ),
    "rewards was never written": replaced("rewards", np.zeros(0, np.float32)),
    "no row has a next observation": replaced("timeouts", np.ones(20, bool)),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_refused_in_one_line(write, message):
    with pytest.raises(BadDataset, match=f"^d4rl/{NAME}: .*{message}") as caught:
        write(rows(20), DAMAGES[message])
    assert "\n" not in str(caught.value)


def test_a_cut_file_and_a_missing_one_are_named(write, tmp_path, monkeypatch):
    write(rows(20))
    path = tmp_path / "hopper_medium-v2.hdf5"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadDataset, match="cannot be read"):
        d4rl.load(f"d4rl/{NAME}")
    for name, built_in in {"antmaze-large-play-v2": "gtp/d4rl-antmaze/large-play-v0", "pen-human-v1": None}.items():
        with pytest.raises(
            datasets.DatasetUnavailable, match=f"^d4rl/{name}: {d4rl.FILES[name].split('/')[1]}"
        ) as caught:
            d4rl.load(f"d4rl/{name}")
        assert all(
            word in str(caught.value) for word in (str(tmp_path), d4rl.ADDRESS, d4rl.FOLDER, built_in or "No built")
        )
        assert caught.value.builtin == built_in
    monkeypatch.setattr(run, "start_jax", lambda settings: None)  # which other tests have
    with pytest.raises(FileNotFoundError, match="instead: --config=d4rl.py:gtp/d4rl-antmaze/umaze-v0$"):
        run.main(["--config=d4rl.py:antmaze-umaze-v2", f"--workdir={tmp_path / 'run'}"])
    for folder, says in {
        "x" * 256: "cannot be read .File name too long",
        "$NOT_SET": "or set D4RL_DATASET_DIR",
    }.items():
        monkeypatch.setenv(d4rl.FOLDER, folder)
        with pytest.raises(ValueError, match=f"^d4rl/{NAME}: .*{says}"):
            d4rl.load(f"d4rl/{NAME}")
    with pytest.raises(ValueError, match="antmaze-umaze-v2"):
        d4rl.check("d4rl/antmaze-umase-v2")
    with pytest.raises(
        ValueError, match="no dataset 'd4rl/hopper-medium'; .{,200}; did you mean 'd4rl/hopper-medium-v2'"
    ):
        datasets.load("d4rl/hopper-medium")


def test_names_are_d4rls():
    """Some of each kind, from d4rl/infos.py."""
    assert d4rl.FILES["antmaze-umaze-v2"].endswith(
        "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"
    )
    assert d4rl.FILES["antmaze-medium-diverse-v1"].endswith(
        "v1/Ant_maze_medium_noisy_multistart_True_multigoal_True_sparse.hdf5"
    )
    assert d4rl.FILES["walker2d-medium-replay-v0"] == "gym_mujoco/walker_mixed.hdf5"
    assert d4rl.FILES["halfcheetah-medium-expert-v2"] == "gym_mujoco_v2/halfcheetah_medium_expert-v2.hdf5"
    assert d4rl.FILES["pen-cloned-v0"] == "hand_dapg/pen-demos-v0-bc-combined.hdf5"
    assert d4rl.FILES["kitchen-complete-v0"] == "kitchen/mini_kitchen_microwave_kettle_light_slider-v0.hdf5"
    assert len(d4rl.FILES) == len(set(d4rl.FILES.values())) == 4 * (6 + 6 + 5) + 6 * 3 + 4 * 3 * 2 + 3
    assert all(any(name.startswith(f"{family}-") for family in d4rl.FAMILIES) for name in d4rl.FILES)


def test_a_policy_for_a_file_is_evaluated_in_its_environment(write):
    write(rows(20))
    _, env = d4rl.load(f"d4rl/{NAME}")
    assert (env.env_id, env.time_limit, env.by_success, env.maze) == ("Hopper-v4", 1000, False, None)
    env = registry.of_user("gtp/D4RLAntMaze-large-v0")
    assert (env.time_limit, env.by_success, env.maze, env.position) == (1000, True, MAZES["large"], slice(0, 2))


# ---- built-in data
