"""Collecting built-in data: the same bytes whatever the number of cores, exact sizes, and no way to get stuck."""

import dataclasses
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from oracles import assert_trees_equal

from gtp_jax import datasets
from gtp_jax.datasets.builtin import ant, antmaze, ids, rollouts
from gtp_jax.datasets.builtin.collect import collect
from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.datasets.folder import install

ID = "gtp/antmaze/umaze-600-v0"
LEFT = [".umaze-600-v0.lock", "umaze-600-v0"]  # in the family's folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root into which `ID` was collected by one worker."""
    root = tmp_path_factory.mktemp("minari")
    before, progress = dict(os.environ), []
    collect(ids.parse_id(ID), root, 1, lambda *counts: progress.append(counts))
    assert progress[-1] == (600, 600) and dict(os.environ) == before
    return root


@pytest.fixture(scope="module")
def data(root):
    return datasets.load(ID, root=root, observation="goal-scales", standardise=False)


def test_two_workers_make_the_same_bytes_as_one(data, tmp_path):
    collect(ids.parse_id(ID), tmp_path, 2)
    assert datasets.load(ID, root=tmp_path).fingerprint == data.fingerprint


def first_step(collection, seed, index):
    """An episode of one step of no torque but the noise."""
    with collection.eval_env().make_env() as env:
        rollout = rollouts.Rollout(collection, env, seed, index)
        rollout.inputs()
        rollout.step(np.zeros(8))
    return rollout.episode()


# Start, goal, reset seed and first two noises of episode 5 of every dataset, as they were first published: the draws do
# not depend on the machine, as the physics after them does.
PUBLISHED = {
    "umaze": ((3, 1), (1, 1), 1495516105, [-0.1864, -0.0177]),
    "umaze-diverse": ((3, 1), (1, 3), 1785938609, [-0.3358, -0.1345]),
    "medium-play": ((5, 1), (2, 4), 1785938609, [-0.0177, 0.0492]),
    "medium-diverse": ((5, 3), (3, 2), 1785938609, [-0.1384, -0.1864]),
    "large-play": ((5, 8), (3, 5), 1785938609, [-0.1384, -0.1864]),
    "large-diverse": ((5, 9), (3, 4), 1785938609, [0.3321, 0.3240]),
    "umaze-noisy": ((3, 1), (1, 1), 1495516105, [-0.5593, -0.0531]),
    "umaze-mixed": ((3, 1), (1, 1), 1495516105, [-0.1864, -0.0177]),
}


@pytest.mark.parametrize("name", antmaze.ANTMAZE)
def test_published_datasets_draw_what_they_always_drew(name):
    episode = first_step(antmaze.ANTMAZE[name], seed=0, index=5)
    assert (*map(tuple, episode.options.values()), episode.seed) == PUBLISHED[name][:3]
    np.testing.assert_allclose(episode.actions[0, :2], PUBLISHED[name][3], atol=6e-5)


def test_another_seed_or_index_draws_another_episode():
    umaze = antmaze.ANTMAZE["umaze"]
    drawn = {(each.seed, *each.actions[0]) for each in (first_step(umaze, *at) for at in ((0, 5), (1, 5), (0, 6)))}
    assert len(drawn) == 3


def test_every_episode_is_walked_by_one_controller_drawn_evenly():
    """What is stored is the drawn controller's action; which one it was is a function of the episode alone."""
    collection = dataclasses.replace(antmaze.ANTMAZE["umaze-mixed"], noise=0.0, max_episode_steps=2)
    simulator = rollouts.Simulator(collection, seed=0)
    for walk, name in zip(simulator.controllers, antmaze.STAGES, strict=True):
        assert_trees_equal(walk.args[0], Controller.load(name, ant.FEATURE_DIM, ant.ACTION_DIM))
    torques = np.array([-0.5, 0.0, 0.5], np.float32)
    simulator.controllers = [lambda *_, torque=torque: np.full((8, 8), torque, np.float32) for torque in torques]
    episodes = [episode for index in range(12) for episode in simulator.block(index)]
    drawn = np.array([episode.actions[0, 0] for episode in episodes])
    assert all((episode.actions == first).all() for episode, first in zip(episodes, drawn, strict=True))
    assert np.bincount(np.searchsorted(torques, drawn), minlength=3).min() > 20
    again = simulator.block(5)
    np.testing.assert_array_equal([episode.actions[0, 0] for episode in again], drawn[40:48])


def test_size_and_ends_are_exact(data):
    last = np.append(np.flatnonzero(np.diff(data.episode)), 599)
    assert data.batch.obs.shape == (600, 36) and data.summary["transitions_stored"] == 600
    # Whole episodes end at the goal or at the limit; only the last one is cut, and not terminated.
    lengths = np.bincount(data.episode)
    ends = data.batch.discount[last] == 0
    assert (ends | (lengths == 700))[:-1].all() and not ends[-1]
    assert (np.delete(data.batch.discount, last) == 1).all()
    np.testing.assert_array_equal(data.batch.reward, 1 - data.batch.discount)
    inside = np.setdiff1d(np.arange(600), last)
    np.testing.assert_array_equal(data.batch.next_obs[inside], data.batch.obs[inside + 1])
    assert data.summary["behaviour_success"] == ends[:-1].mean()
    assert np.abs(data.batch.obs[np.append(0, last[:-1] + 1), :2] - data.maze.start_xy).max() <= 1


def test_it_is_a_proper_minari_dataset_and_replays_in_its_environment(root, data, monkeypatch):
    """The stored seed and cells bring back an episode: observation for observation, from its actions."""
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    assert list(minari.list_local_datasets()) == [ID]
    dataset = minari.load_dataset(ID)
    assert (dataset.total_steps, dataset.spec.env_spec.id) == (600, "AntMaze_UMaze-v5")
    assert {space.dtype for space in dataset.observation_space.values()} == {np.dtype(np.float32)}
    stated = dataset.storage.metadata
    assert stated["author"] == {"gtp_jax contributors"} and "Apache-2.0" in stated["description"]
    assert (stated["ref_min_score"], stated["ref_max_score"]) == (0, 1)

    episode, (metadata,) = dataset[1], dataset.storage.get_episode_metadata([1])
    assert episode.actions.dtype == np.float32 and set(episode.infos) == {"success"}
    options = {key: np.array(cell) for key, cell in metadata["options"].items()}
    with data.make_env() as env:
        observation, _ = env.reset(seed=metadata["seed"], options=options)
        for t, action in enumerate(episode.actions):
            for part, value in observation.items():
                np.testing.assert_array_equal(value.astype(np.float32), episode.observations[part][t])
            observation, reward, terminated, _, _ = env.step(action)
            assert reward == episode.rewards[t] and terminated == episode.terminations[t]


def test_concurrent_starts_build_once(tmp_path):
    built = []

    def build(folder):
        time.sleep(0.2)
        (folder / "a" / "x-v0" / "data").mkdir(parents=True)
        built.append((folder / "a" / "x-v0").stat().st_ino)

    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(lambda _: install(tmp_path, "a/x-v0", build), range(4)))
    assert (folder / "data").is_dir()
    assert [folder.stat().st_ino] == built  # once; moved, since a copy would be there before it is whole
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".x-v0.lock", "x-v0"]


def test_a_failed_build_leaves_nothing_and_a_failing_child_says_why(tmp_path):
    def build(folder):
        (folder / "a" / "x-v0" / "data").mkdir(parents=True)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        install(tmp_path, "a/x-v0", build)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".x-v0.lock"]
    (tmp_path / "gtp").write_text("not a folder")
    with pytest.raises(ValueError, match=f"dataset {ID}: .*cannot be written .Not a directory.; choose another folder"):
        collect(ids.parse_id(ID), tmp_path, 1)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        collect(ids.parse_id(ID), tmp_path, 0)


@pytest.mark.slow
def test_ten_starts_collect_once_and_a_killed_collection_blocks_none(data, tmp_path):
    """SIGKILL in mid-collection: its workers end, one other start collects anew, and all others get the whole data."""
    progress = 'lambda done, total: print("collecting", flush=True)'
    program = f"from gtp_jax import datasets\nprint(datasets.load({ID!r}, root={str(tmp_path)!r}, progress={progress})"
    command = [sys.executable, "-c", f"{program}.fingerprint)"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(10)]
    (ready, _, _) = select.select([child.stdout for child in children], [], [], 120)
    first = next(child for child in children if child.stdout in ready)
    assert first.stdout.readline() == "collecting\n"
    (collecting,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(int(collecting), signal.SIGKILL)
    error = first.communicate(timeout=60)[1]  # after the end of the workers, which hold the pipe that it reads
    assert first.returncode == 1 and f"collecting {ID} failed (exit status -9)" in error
    outputs = [child.communicate(timeout=120)[0].splitlines() for child in children if child is not first]
    assert {output[-1] for output in outputs} == {data.fingerprint}
    assert sum(len(output) > 1 for output in outputs) == 1
    assert sorted(path.name for path in (tmp_path / "gtp" / "antmaze").iterdir()) == LEFT


def test_a_collected_dataset_holds_what_was_collected_or_is_refused(root, tmp_path):
    """Other sound numbers in the place of any field, or a lost digest: nothing else would tell."""
    shutil.copytree(root / ID, tmp_path / ID)
    arrays, metadata = tmp_path / ID / "data" / "main_data.hdf5", tmp_path / ID / "data" / "metadata.json"
    said = "does not hold what was collected there .*; delete it and it is collected anew"
    for path in ("observations/observation", "actions", "rewards", "terminations", "truncations"):
        with h5py.File(arrays, "r+") as file:
            array = file["episode_0"][path]
            before = array[-1]
            array[-1] = ~before if before.dtype == bool else before / 2 if before.any() else 1
        with pytest.raises(ValueError, match=said):
            datasets.load(ID, root=tmp_path)
        with h5py.File(arrays, "r+") as file:
            file["episode_0"][path][-1] = before
    datasets.load(ID, root=tmp_path)
    metadata.write_text(metadata.read_text().replace("content_sha256", "lost"))
    with pytest.raises(ValueError, match=said):
        datasets.load(ID, root=tmp_path)
