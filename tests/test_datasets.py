"""Loading Minari datasets: exact transitions, the checks, the allow-list, and what happens without a network."""

import functools
import json
import pickle
import socket
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
import stored
from stored import antmaze, counting, refusal, write

from gtp_jax import datasets
from gtp_jax.commands import run
from gtp_jax.config import presets
from gtp_jax.datasets import hosted
from gtp_jax.datasets.folder import datasets_root

UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
BODY = slice(2, 29)


def env_spec(env_id="AntMaze_UMaze-v4", **kwargs):
    """As in metadata.json. The entry point is hostile throughout: nothing may ever follow it."""
    return stored.spec(env_id, entry_point="os:system", kwargs=kwargs, max_episode_steps=700, additional_wrappers=[])


@pytest.fixture
def root(tmp_path):
    """Three AntMaze episodes, of which the last goes on at the goal."""
    episodes = [antmaze(100, 3, [0, 0, 1], terminated=True), antmaze(200, 2), antmaze(300, 5, [0, 1, 1, 0, 1])]
    write(tmp_path, "test/ant-v0", episodes, env_spec=env_spec(maze_map=UMAZE))
    return tmp_path


def load(root, dataset_id="test/ant-v0", **options):
    return datasets.load(dataset_id, root=root, **options)


def test_transitions_are_exact_and_end_at_the_first_success(root):
    data = load(root, observation="goal-scales", standardise=False, reward="minus-one")
    starts = np.array([100, 101, 102, 200, 201, 300, 301])
    np.testing.assert_array_equal(data.batch.obs[:, BODY], np.repeat(starts[:, None], 27, 1))
    np.testing.assert_array_equal(data.batch.next_obs[:, BODY], np.repeat(starts[:, None] + 1, 27, 1))
    np.testing.assert_array_equal(data.batch.obs[:, :2], starts[:, None] + [0.25, 0.5])
    np.testing.assert_allclose(data.batch.action, (starts[:, None] + np.arange(8)) % 10 / 10, rtol=1e-6)
    np.testing.assert_array_equal(data.batch.reward, [-1, -1, 0, -1, -1, -1, 0])
    np.testing.assert_array_equal(data.batch.discount, [1, 1, 0, 1, 1, 1, 0])  # time-outs bootstrap
    np.testing.assert_array_equal(data.episode, [0, 0, 0, 1, 1, 2, 2])
    assert {array.dtype for array in data.batch[:5]} == {np.dtype(np.float32)} and data.episode.dtype == np.int32
    np.testing.assert_array_equal([data.action_low, data.action_high], [[-1] * 8, [1] * 8])
    stated = {"transitions": 7, "transitions_stored": 10, "episodes": 3, "behaviour_success": 2 / 3}
    stated |= {"mean_return": 2 / 3, "mean_episode_length": 7 / 3}
    assert data.summary.items() >= stated.items() and json.loads(json.dumps(data.summary)) == data.summary


def test_positions_are_metres_whatever_is_standardised(root):
    data = load(root, observation="maze-egocentric")
    here = np.float32([100, 101, 102, 200, 201, 300, 301])[:, None] + np.float32([0.25, 0.5])
    np.testing.assert_array_equal(data.positions.here, here)
    np.testing.assert_array_equal(data.positions.next, here + 1)
    np.testing.assert_array_equal(data.positions.goal_offset, 50 - here)
    assert data.layout == data.observe.layout is not None
    plain = load(root, observation="observation")
    assert plain.layout is plain.positions is None and plain.batch.obs.shape == (7, 27)


def test_only_successful_episodes(root):
    """Those that reach the goal are left, whole; scales and behaviour are those of all the data."""
    every, data = (load(root, reward="minus-one", episodes=episodes) for episodes in ("all", "successful"))
    columns = jax.tree.leaves((data.batch, data.positions)), jax.tree.leaves((every.batch, every.positions))
    for column, of_all in zip(*columns, strict=True):
        np.testing.assert_array_equal(column, of_all[[0, 1, 2, 5, 6]])
    np.testing.assert_array_equal(data.episode, [0, 0, 0, 1, 1])
    assert data.episode.dtype == np.int32 and data.observe.spec() == every.observe.spec()
    assert data.summary == every.summary | {"transitions": 5, "episodes_used": "successful"}
    with pytest.raises(ValueError, match="no choice of episodes 'best'; there are all, successful"):
        load(root, episodes="best")
    write(root, "test/lost-v0", [antmaze(100, 3)], env_spec=env_spec(maze_map=UMAZE))
    with pytest.raises(ValueError, match='episodes = "successful", but none reaches the goal'):
        load(root, "test/lost-v0", episodes="successful")


def test_what_the_policy_sees_is_the_same_in_data_and_environment(root):
    data = load(root)
    assert data.batch.obs.shape == (7, 60) and data.summary["observation"] == "maze-scales"
    third = data.observe({path[13:]: array[2] for path, array in antmaze(100, 3).items() if "/" in path})
    np.testing.assert_array_equal([third, third], [data.batch.obs[2], data.batch.next_obs[1]])
    np.testing.assert_allclose(data.batch.obs.mean(0), 0, atol=1e-5)


hopper = functools.partial(counting, size=11, actions=3)


def test_gym_data_with_return_range(tmp_path):
    episodes = [hopper(0, 2, [1, 2], terminated=True), hopper(10, 1, [1])]
    episodes[0]["actions"][1, 0] = 1 + 5e-5  # rounding beyond the bounds is clipped
    write(tmp_path, "test/hopper-v0", episodes, env_spec=env_spec("Hopper-v5", healthy_reward=9))
    data = load(tmp_path, "test/hopper-v0", reward="return-range", standardise=False)
    np.testing.assert_array_equal(data.batch.obs[:, 0], [0, 1, 10])
    np.testing.assert_array_equal(data.batch.reward, [500, 1000, 500])
    np.testing.assert_array_equal(data.batch.discount, [1, 0, 1])  # success is nothing a Hopper has
    assert data.summary["behaviour_success"] is None and data.summary["mean_return"] == 2 and data.maze is None
    assert data.batch.action[1, 0] == 1
    with data.make_env() as env:
        assert env.spec.kwargs == {"healthy_reward": 9} and data.observe(env.reset(seed=0)[0]).shape == (11,)
    with pytest.raises(ValueError, match="expects a dict"):
        load(tmp_path, "test/hopper-v0", observation="goal-scales")


def test_fingerprint_is_of_the_content(tmp_path):
    episodes = [hopper(0, 3, [1, 2, 3]), hopper(9, 2, [4, 5])]
    changed = [{**episodes[0], "rewards": np.array([1, 2, np.nextafter(3, 4)])}, episodes[1]]
    for name, some in zip("abcd", (episodes, episodes, episodes[::-1], changed), strict=True):
        write(tmp_path, f"test/{name}-v0", some, description=f"another name and time: {name}")
    a, b, c, d = (load(tmp_path, f"test/{name}-v0").fingerprint for name in "abcd")
    assert a == b and len({a, c, d}) == 3
    assert load(tmp_path, "test/a-v0", reward="minus-one", standardise=False).fingerprint == a


def test_evaluation_is_in_the_maze_of_the_data(root, tmp_path, monkeypatch):
    """And its environments leave nothing in the temporary folder."""
    data, folder = load(root), tmp_path / "temporary"
    assert (data.maze.start_xy, data.maze.goal_xy) == ((-4, -4), (-4, 4))
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pickle.loads(pickle.dumps(data.make_env))() as env:
        assert env.unwrapped.maze.maze_map == UMAZE
        assert not env.unwrapped.continuing_task and not env.unwrapped.reset_target
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "answers", "says"),
    [
        ("D4RL/antmaze/umaze-v1", True, "the name .* does not resolve.*, the built-in dataset gtp/antmaze/umaze-v0"),
        ("mujoco/ant/medium-v0", False, "did not answer within 0.3 s.*No built-in dataset stands in"),
    ],
)
def test_a_missing_hosted_dataset_is_one_message_at_once(tmp_path, monkeypatch, name, answers, says):
    def no_network(*args, **kwargs):
        time.sleep(0 if answers else 30)
        raise socket.gaierror("no network")

    assert hosted.CONNECT_SECONDS == 2  # a hub's own client gives up after 20 seconds to more than a minute
    monkeypatch.setattr(hosted, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    started = time.monotonic()
    with pytest.raises(datasets.DatasetUnavailable, match=says) as error:
        load(tmp_path, name)
    assert time.monotonic() - started < 3 and list(tmp_path.iterdir()) == []
    assert str(error.value).startswith(f"dataset {name} is not in {tmp_path / name}, and ")
    assert f"`minari download {name}`" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["http://[::1", "http://x:99999999", "http://x:y", "http://\u2100.invalid"])
def test_an_address_that_is_none_is_one_message(tmp_path, monkeypatch, value):
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(datasets.DatasetUnavailable, match="proxy in front of it, is none"):
        load(tmp_path, "mujoco/ant/medium-v0")


def test_a_folder_that_cannot_be_read_is_one_message(tmp_path):
    with pytest.raises(datasets.DatasetUnavailable, match="that folder cannot be read .File name too long"):
        load(tmp_path / ("x" * 256), "mujoco/ant/medium-v0")
    with pytest.raises(ValueError, match="^gtp/antmaze/umaze-v0: .* cannot be read .File name too long"):
        load(tmp_path / ("x" * 256), "gtp/antmaze/umaze-v0")


def test_the_command_names_the_preset_of_the_built_in_dataset(tmp_path, monkeypatch):
    unavailable = mock.Mock()
    monkeypatch.setattr("gtp_jax.training.train.run", unavailable)
    monkeypatch.setattr(run, "start_jax", lambda settings: None)
    hints = {"D4RL/antmaze/umaze-v1": "antmaze.py:umaze", "mujoco/hopper/medium-v0": "gym.py:hopper-medium"}
    for name, preset in (hints | {"mujoco/ant/medium-v0": ""}).items():
        unavailable.side_effect = hosted.unavailable(name, tmp_path, "there is no network")
        with pytest.raises(FileNotFoundError, match="no network") as error:
            run.main(["--config=antmaze.py:tiny"])
        assert str(error.value).partition(" can be used instead: --config=")[2] == preset
        assert not preset or presets.preset(preset).dataset == unavailable.side_effect.builtin


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(hosted, "_unreachable", lambda host, port: None)
    monkeypatch.setenv("MINARI_REMOTE", "nowhere://x")
    with pytest.raises(datasets.DatasetUnavailable, match="the download failed: KeyError: 'nowhere'"):
        load(tmp_path, "D4RL/antmaze/umaze-v1")
    assert [path.name for path in (tmp_path / "D4RL" / "antmaze").iterdir()] == [".umaze-v1.lock"]


def test_ids_cannot_leave_the_root(tmp_path):
    outside = ("../x-v0", "a/../../x-v0", "/etc/x-v0", "gtp/../x-v0", "gtp/antmaze/../../x-v0", "a/..-v0", "a\0b-v0")
    for bad in (*outside, "a//b-v0", "D4RL/antmaze/umaze", ""):
        assert "dataset" in refusal(lambda bad=bad: load(tmp_path / "root", bad))
    assert list(tmp_path.iterdir()) == []


def test_the_default_root_is_minaris(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert datasets_root() == Path.home() / ".minari" / "datasets"
