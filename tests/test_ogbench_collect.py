"""OGBench's environments, and its datasets made again by them and their oracles."""

import dataclasses
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ogbench_data import NAME, POINT, assert_equals_ogbench, columns

from gtp_jax.datasets import ogbench
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.collect import collect
from gtp_jax.datasets.builtin.controller import CONTROLLERS
from gtp_jax.datasets.builtin.ogbench import OGBENCH, single_task
from gtp_jax.datasets.builtin.ogbench_episodes import Simulator, _is_on_table

package = pytest.importorskip("ogbench")  # which Python 3.13 and newer cannot install


def rollout(env, seed, steps=40):
    """The observations of an episode of actions that the seed draws."""
    actions, (first, _) = np.random.default_rng(seed), env.reset(seed=seed)
    return [first] + [env.step(actions.uniform(-1, 1, 2))[0] for _ in range(steps)]


def test_an_episode_depends_on_its_seed_alone_in_threads_too():
    make_env = pickle.loads(pickle.dumps(single_task("pointmaze-teleport-navigate", "singletask").make_env))
    before, envs = np.random.get_state()[1].tobytes(), [make_env() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(rollout, envs, range(4)))
    for seed, episode in enumerate(found):
        np.testing.assert_array_equal(episode, rollout(envs[0], seed))
    assert np.random.get_state()[1].tobytes() == before and len({each[0].tobytes() for each in found}) == 4


def test_an_arm_resets_by_its_seed_alone_and_reports_success_and_its_time_limit():
    env_id, make_env, *_ = single_task("cube-single-play", "singletask-task2")
    one, other = make_env(), make_env()
    other.reset(seed=7)
    np.testing.assert_array_equal(one.reset(seed=5)[0], other.reset(seed=5)[0])
    for _ in range(3):
        after, theirs = one.step(np.ones(5)), other.step(np.ones(5))
        np.testing.assert_array_equal(after[0], theirs[0])
    assert after[4]["success"] is False and after[1] == -1.0
    assert one.spec.max_episode_steps == 200 == single_task("cube-single-play", "singletask-task2").time_limit
    assert env_id == "cube-single-singletask-task2-v0"


# Data made again


QUICK = ("pointmaze", "antmaze-large-navigate")


def same(one, other):
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.startswith(QUICK) else pytest.mark.slow) for name in OGBENCH],
)
def test_an_episode_is_a_function_of_seed_part_and_index(name):
    collection = dataclasses.replace(OGBENCH[name], steps=200)
    simulator, again = Simulator(collection, 0), Simulator(collection, 0)
    episode, validation = simulator.episode("train", 3), simulator.episode("val", 3)
    again.episode("val", 1)
    assert same(again.episode("train", 3), episode)  # whatever was played before
    others = (validation, again.episode("train", 2), Simulator(collection, 1).episode("train", 3))
    assert not any(same(episode, each) for each in others)
    assert np.flatnonzero(episode["terminals"]).tolist() == [200] and np.abs(episode["actions"]).max() <= 1
    types = {key: each.dtype.name for key, each in episode.items()}
    expected = {key: "float32" for key in ("observations", "actions", "qpos", "qvel")} | {"terminals": "bool"}
    assert types == expected | ({"button_states": "int64"} if "scene" in name or "puzzle" in name else {})


def test_published_draws_stay():
    """The first episode's start, two actions and position after 1,000 steps: a change here is another dataset."""
    episode = Simulator(OGBENCH[POINT], 0).episode("train", 0)
    np.testing.assert_allclose(episode["observations"][[0, 1000]], PUBLISHED["observations"], atol=1e-4)
    np.testing.assert_allclose(episode["actions"][:2], PUBLISHED["actions"], atol=1e-4)


PUBLISHED = {"observations": [[0.8867, 3.7624], [12.6011, 7.7179]], "actions": [[0.6271, -0.1832], [0.9408, 0.2122]]}


def test_navigation_reaches_goal_after_goal_and_stitching_stays_at_one():
    far = {}
    for kind in ("navigate", "stitch"):
        positions = Simulator(OGBENCH[f"pointmaze-large-{kind}"], 0).episode("train", 1)["qpos"]
        cells = {tuple(cell) for cell in np.round(positions / 4).astype(int)}
        far[kind] = len(cells)
    assert far["navigate"] > 15 and 2 <= far["stitch"] <= 7  # cells visited in 1,000 and in 200 steps


def test_the_ant_gets_around_from_its_published_draws():
    collection = dataclasses.replace(OGBENCH["antmaze-large-navigate"], steps=400)
    episode = Simulator(collection, 0).episode("train", 0)
    assert episode["observations"].shape == (401, 29) and episode["actions"].shape == (401, 8)
    assert len(set(map(tuple, np.round(episode["qpos"][:, :2] / 4)))) > 8  # cells, each of 4 m
    np.testing.assert_allclose(episode["observations"][0, :2], [20.8867, -0.2376], atol=1e-4)
    first = [0.8077, -0.0678, 0.553, -0.7745, -0.7793, -0.7461, -0.8788, 0.9681]
    np.testing.assert_allclose(episode["actions"][0], first, atol=1e-4)


@pytest.mark.parametrize(
    "cube, is_sound",
    [((0.4, 0.1, 0.02), True), ((0.4, 0.3, 0.02), False), ((0.4, -0.31, 0.02), False), ((0.4, -0.31, 0.07), True)],
)
def test_a_scene_is_sound_while_its_cube_is_in_view(cube, is_sound):
    assert _is_on_table(np.array([[0.4, 0.0, 0.02], cube])) == is_sound


TINY = f"gtp/ogbench/{POINT}-singletask-task1-12500-v0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, counts = tmp_path_factory.mktemp("minari"), []
    collect(ids.parse_id(TINY), root, 2, lambda *each: counts.append(each))
    assert counts[-1] == (12_500, 12_500) and counts == sorted(counts)
    return root


def files(root):
    """Every file of the collected dataset but the lock."""
    return {each.name: each.read_bytes() for each in Path(root).rglob("*") if each.is_file() and each.suffix != ".lock"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*precision lowered", "ignore:.*is not within the observation space")
def test_a_collection_is_read_by_ogbench_and_as_exactly_so_many_transitions(root):
    raw, env = ogbench.load(TINY, root)
    assert len(raw.reward) == 12_500 and raw.episode[-1] == 12 and env.by_success and raw.terminated.any()
    assert (env.maze.start_xy, env.maze.goal_xy, env.maze.success_radius, env.position) == (
        (0, 0),
        (20, 20),
        1,
        slice(0, 2),
    )
    stored = root / ids.parse_id(TINY).stored / "data"
    assert_equals_ogbench(raw, f"{POINT}-singletask-task1-v0", stored / f"{POINT}-v0.npz")
    _, _, validation = package.make_env_and_datasets(f"{POINT}-singletask-task1-v0", dataset_dir=str(stored))
    assert len(validation["rewards"]) == 1000  # a tenth of the episodes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*precision lowered", "ignore:.*is not within the observation space")
def test_an_ants_collection_is_the_same_on_any_workers_and_names_its_weights(tmp_path):
    name, task, weights = "antmaze-large-stitch", "singletask-task1", "ogbench_ant.npz"
    builtin = ids.parse_id(f"gtp/ogbench/{name}-{task}-2k-v0")
    folders = [collect(builtin, tmp_path / str(workers), workers) for workers in (1, 2)]
    assert files(folders[0]) == files(folders[1])
    raw, env = ogbench.load(builtin.id, tmp_path / "1")
    assert raw.observations.shape == (2010, 29) and (env.maze.success_radius, env.position) == (0.5, slice(0, 2))
    assert_equals_ogbench(raw, f"{name}-{task}-v0", folders[0] / "data" / f"{name}-v0.npz")
    versions = json.loads((folders[0] / "data" / "metadata.json").read_text())["versions"]
    assert versions[weights] == hashlib.sha256((CONTROLLERS / weights).read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_killed_collection_goes_on_and_ends_with_the_same_bytes_on_one_worker(root, tmp_path):
    command = [sys.executable, "-m", "gtp_jax.datasets.builtin.collect", ids.parse_id(TINY).stored, str(tmp_path), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        for _ in range(3):
            child.stdout.readline()
        os.killpg(child.pid, signal.SIGKILL)
    kept = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*.npz")}
    assert len(kept) >= 3
    damaged = min(kept)
    damaged.write_bytes(damaged.read_bytes()[:-9])  # made again
    counts = []
    collect(ids.parse_id(TINY), tmp_path, 1, lambda *each: counts.append(each))
    assert len(counts) == 14 - len(kept) + 1
    assert files(tmp_path) == files(root)


@pytest.mark.slow
def test_a_collection_with_another_content_than_was_sealed_is_refused(root, tmp_path):
    folder = collect(ids.parse_id(TINY), root)
    path, arrays = folder / "data" / f"{POINT}-v0.npz", columns(NAME)
    before = path.read_bytes()
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="has the SHA-256 .* was collected; delete .* and it is collected anew"):
        ogbench.load(TINY, root)
    path.write_bytes(before)
    (folder / "data" / "metadata.json").write_text("{}")
    with pytest.raises(ValueError, match="states no content_sha256"):
        ogbench.load(TINY, root)
