"""Loading Minari datasets: exact transitions, the checks, the allow-list, and what happens without a network."""

import json
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import stored
from stored import antmaze, counting, refusal, write

from gtp_jax import datasets
from gtp_jax.datasets import hosted
from gtp_jax.datasets.folder import datasets_root
from gtp_jax.envs import registry

UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
BODY = slice(2, 29)


def env_spec(env_id="AntMaze_UMaze-v4", **kwargs):
    """As in metadata.json. The entry point is hostile throughout: nothing may ever follow it."""
    fields = {"reward_threshold": None, "nondeterministic": False, "max_episode_steps": 700, "additional_wrappers": []}
    return stored.spec(env_id, entry_point="os:system", kwargs=kwargs, **fields, vector_entry_point=None)


@pytest.fixture
def root(tmp_path):
    """Three AntMaze episodes, of which the last goes on at the goal."""
    episodes = [
        antmaze(100, 3, [0, 0, 1], terminated=True),
        antmaze(200, 2),
        antmaze(300, 5, [0, 1, 1, 0, 1]),
    ]
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
    summary = data.summary
    assert summary["behaviour_success"] == pytest.approx(2 / 3) and summary["mean_return"] == pytest.approx(2 / 3)
    assert (summary["transitions"], summary["transitions_stored"], summary["episodes"]) == (7, 10, 3)
    assert summary["mean_episode_length"] == pytest.approx(7 / 3)
    assert json.loads(json.dumps(summary)) == summary


def test_positions_are_metres_whatever_is_standardised(root):
    data = load(root, observation="maze-egocentric")
    here = np.float32([100, 101, 102, 200, 201, 300, 301])[:, None] + np.float32([0.25, 0.5])
    np.testing.assert_array_equal(data.positions.here, here)
    np.testing.assert_array_equal(data.positions.next, here + 1)
    np.testing.assert_array_equal(data.positions.goal_offset, 50 - here)
    assert data.layout == data.observe.layout is not None
    some = load(root, episodes="successful")
    np.testing.assert_array_equal(some.positions.here, here[[0, 1, 2, 5, 6]])
    plain = load(root, observation="observation")
    assert plain.layout is plain.positions is None and plain.batch.obs.shape == (7, 27)


def test_what_the_policy_sees_is_the_same_in_data_and_environment(root):
    data = load(root)
    assert data.batch.obs.shape == (7, 60) and data.summary["observation"] == "maze-scales"
    arrays = antmaze(100, 3)
    third = {path.removeprefix("observations/"): array[2] for path, array in arrays.items() if "/" in path}
    np.testing.assert_array_equal(data.observe(third), data.batch.obs[2])
    np.testing.assert_array_equal(data.observe(third), data.batch.next_obs[1])
    np.testing.assert_allclose(data.batch.obs.mean(0), 0, atol=1e-5)


def hopper(first, steps, rewards, terminated=False):
    return counting(first, steps, rewards, terminated, size=11, actions=3)


def test_gym_data_with_return_range(tmp_path):
    episodes = [hopper(0, 2, [1, 2], terminated=True), hopper(10, 1, [1])]
    write(tmp_path, "test/hopper-v0", episodes, env_spec=env_spec("Hopper-v5", healthy_reward=9))
    data = load(tmp_path, "test/hopper-v0", reward="return-range", standardise=False)
    np.testing.assert_array_equal(data.batch.obs[:, 0], [0, 1, 10])
    np.testing.assert_array_equal(data.batch.reward, [500, 1000, 500])
    np.testing.assert_array_equal(data.batch.discount, [1, 0, 1])  # success is nothing a Hopper has
    assert data.summary["behaviour_success"] is None and data.summary["mean_return"] == 2 and data.maze is None
    with data.make_env() as env:
        assert env.spec.kwargs == {} and data.observe(env.reset(seed=0)[0]).shape == (11,)
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


def test_rounding_beyond_the_bounds_is_not_an_error(tmp_path):
    episode = hopper(0, 2, [0, 0])
    episode["actions"][1, 0] = 1 + 5e-5
    write(tmp_path, "test/edge-v0", [episode])
    assert load(tmp_path, "test/edge-v0").batch.action[1, 0] == 1


def test_only_listed_environments_are_built(tmp_path):
    for spec in (env_spec("Evil-v0"), env_spec("AntMaze_UMazeDense-v4")):
        write(tmp_path, "test/evil-v0", [hopper(0, 2, [0, 0])], env_spec=spec)
        with pytest.raises(ValueError, match="test/evil-v0: environment .* cannot be built; there are HalfCheetah-v4"):
            load(tmp_path, "test/evil-v0")
    write(tmp_path, "test/map-v0", [antmaze(0, 2)], env_spec=env_spec(maze_map=[[1, "__import__"]]))
    with pytest.raises(ValueError, match=r"env_spec: maze_map\[0\]\[1\] must be"):
        load(tmp_path, "test/map-v0")


def test_evaluation_is_in_the_maze_of_the_data(root, tmp_path, monkeypatch):
    """And its environments leave nothing in the temporary folder."""
    data = load(root)
    assert (data.maze.start_xy, data.maze.goal_xy) == ((-4, -4), (-4, 4))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    env = pickle.loads(pickle.dumps(data.make_env))()
    assert env.unwrapped.maze.maze_map == UMAZE
    assert not env.unwrapped.continuing_task and not env.unwrapped.reset_target
    env.close()
    assert list(folder.iterdir()) == []


def test_a_mirrored_evaluation_maze_is_mirrored_back():
    """Minari issue 304: only the start and the goal of umaze-diverse's evaluation map are used."""
    own = [[0 if cell in ("r", "g") else cell for cell in row] for row in UMAZE]
    mirrored = [[1, 1, 1, 1, 1], [1, 0, 0, "r", 1], [1, 0, 1, 1, 1], [1, 0, 0, "g", 1], [1, 1, 1, 1, 1]]
    metadata = {"env_spec": env_spec(maze_map=own), "eval_env_spec": env_spec(maze_map=mirrored)}
    maze = registry.for_metadata("test", metadata, 27).maze
    assert maze.walls == [[cell == 1 for cell in row] for row in own]
    assert (maze.start_xy, maze.goal_xy) == ((-4, 4), (-4, -4))


def test_a_missing_hosted_dataset_is_one_message_within_three_seconds(tmp_path):
    code = (
        "import socket, sys, gtp_jax.datasets as d\n"
        "def fail(*args, **kwargs): raise socket.gaierror('no network')\n"
        "socket.getaddrinfo = fail\n"
        "d.load(sys.argv[1], root=sys.argv[2])"
    )
    command = [sys.executable, "-c", code, "D4RL/antmaze/umaze-v1", str(tmp_path)]
    seconds = float("inf")
    for _ in range(3):  # on a busy machine the imports alone may take as long; waiting for a network takes 20 s
        started = time.monotonic()
        result = subprocess.run(command, capture_output=True, text=True)
        seconds = min(seconds, time.monotonic() - started)
        if seconds < 3:
            break
    message = result.stderr.strip().splitlines()[-1]
    for part in (
        "DatasetUnavailable: dataset D4RL/antmaze/umaze-v1 is not in",
        str(tmp_path / "D4RL" / "antmaze" / "umaze-v1"),
        "does not resolve",
        "`minari download D4RL/antmaze/umaze-v1`",
        "the built-in dataset gtp/antmaze/umaze-v0",
    ):
        assert part in message
    assert seconds < 3
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_never_answers_takes_no_longer(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        time.sleep(30)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", never)
    started = time.monotonic()
    with pytest.raises(datasets.DatasetUnavailable, match="did not answer within 2 s.*No built-in dataset") as error:
        load(tmp_path, "mujoco/ant/medium-v0")
    assert time.monotonic() - started < 3 and error.value.builtin is None


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(hosted, "_unreachable", lambda host, port: None)
    monkeypatch.setenv("MINARI_REMOTE", "nowhere://x")
    with pytest.raises(datasets.DatasetUnavailable, match="the download failed: KeyError: 'nowhere'") as error:
        load(tmp_path, "D4RL/antmaze/umaze-v1")
    assert error.value.builtin == "gtp/antmaze/umaze-v0"
    assert [path.name for path in (tmp_path / "D4RL" / "antmaze").iterdir()] == [".umaze-v1.lock"]


def test_ids_cannot_leave_the_root(tmp_path):
    for bad in ("../x-v0", "a/../../x-v0", "/etc/x-v0", "gtp/../x-v0", "gtp/antmaze/../../x-v0", "a/..-v0", "a\0b-v0"):
        assert "dataset" in refusal(lambda bad=bad: load(tmp_path / "root", bad))
    for bad in ("a//b-v0", "D4RL/antmaze/umaze", ""):
        assert "not a dataset id" in refusal(lambda bad=bad: load(tmp_path / "root", bad))
    assert list(tmp_path.iterdir()) == []


def test_the_default_root_is_minaris(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert datasets_root() == Path.home() / ".minari" / "datasets"
