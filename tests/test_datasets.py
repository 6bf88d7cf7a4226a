"""Loading Minari datasets: exact transitions, the checks, the allow-list, and what happens without a network."""

import json
import os
import pickle
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import gtp_jax.datasets as datasets
from gtp_jax.datasets import hosted
from gtp_jax.datasets.folder import datasets_root, environment
from gtp_jax.envs import registry

UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]


def env_spec(env_id="AntMaze_UMaze-v4", **kwargs):
    """As in metadata.json. The entry point is hostile throughout: nothing may ever follow it."""
    fields = {"reward_threshold": None, "nondeterministic": False, "max_episode_steps": 700, "additional_wrappers": []}
    return json.dumps(
        {"id": env_id, "entry_point": "os:system", "kwargs": kwargs, **fields, "vector_entry_point": None}
    )


def antmaze_episode(first, steps, rewards=None, terminated=False):
    """Observation numbers count up from `first`, so that every row can be recognised."""
    rows = first + np.arange(steps + 1.0)[:, None]
    return dict(
        observations={
            "observation": rows + np.zeros(27),
            "achieved_goal": rows + [0.25, 0.5],
            "desired_goal": np.full((steps + 1, 2), 50.0),
        },
        actions=((rows[:-1] + np.arange(8)) % 10 / 10).astype(np.float32),
        rewards=np.zeros(steps) if rewards is None else np.array(rewards, float),
        terminations=np.arange(steps) == (steps - 1 if terminated else -1),
        truncations=np.arange(steps) == (-1 if terminated else steps - 1),
    )


def box_episode(first, steps, rewards, terminated=False):
    episode = antmaze_episode(first, steps, rewards, terminated)
    return {
        **episode,
        "observations": episode["observations"]["observation"][:, :11],
        "actions": episode["actions"][:, :3],
    }


def write(root, dataset_id, episodes, **metadata):
    import minari
    from gymnasium import spaces
    from minari.data_collector.episode_buffer import EpisodeBuffer

    def box(array):
        return spaces.Box(-np.inf, np.inf, array.shape[1:], array.dtype)

    observations = episodes[0]["observations"] if episodes else np.zeros((2, 11))
    is_goal = isinstance(observations, dict)
    space = spaces.Dict({k: box(v) for k, v in observations.items()}) if is_goal else box(observations)
    num_actions = episodes[0]["actions"].shape[1] if episodes else 3
    with environment(MINARI_DATASETS_PATH=str(root)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the metadata lack
        minari.create_dataset_from_buffers(
            dataset_id,
            [EpisodeBuffer(**episode) for episode in episodes],
            observation_space=space,
            action_space=spaces.Box(-1, 1, (num_actions,), np.float32),
        )
    path = root / dataset_id / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **metadata}))


@pytest.fixture
def antmaze(tmp_path):
    episodes = [
        antmaze_episode(100, 3, [0, 0, 1], terminated=True),
        antmaze_episode(200, 2),
        antmaze_episode(300, 5, [0, 1, 1, 0, 1]),  # goes on at the goal
    ]
    write(tmp_path, "test/ant-v0", episodes, env_spec=env_spec(maze_map=UMAZE))
    return tmp_path


def test_transitions_are_exact_and_never_cross_episodes(antmaze):
    data = datasets.load(
        "test/ant-v0", root=antmaze, observation="ant", standardise=False, cut_at_success=False, reward="minus-one"
    )
    starts = np.array([100, 101, 102, 200, 201, 300, 301, 302, 303, 304])
    np.testing.assert_array_equal(data.batch.obs[:, 2:], np.repeat(starts[:, None], 27, 1))
    np.testing.assert_array_equal(data.batch.next_obs[:, 2:], np.repeat(starts[:, None] + 1, 27, 1))
    np.testing.assert_array_equal(data.batch.obs[:, :2], starts[:, None] + [0.25, 0.5])
    np.testing.assert_allclose(data.batch.action, (starts[:, None] + np.arange(8)) % 10 / 10, rtol=1e-6)
    np.testing.assert_array_equal(data.batch.reward, [-1, -1, 0, -1, -1, -1, 0, 0, -1, 0])
    np.testing.assert_array_equal(data.batch.discount, [1, 1, 0, 1, 1, 1, 1, 1, 1, 1])  # time-outs bootstrap
    np.testing.assert_array_equal(data.episode, [0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    assert {array.dtype for array in data.batch[:5]} == {np.dtype(np.float32)} and data.episode.dtype == np.int32
    np.testing.assert_array_equal([data.action_low, data.action_high], [[-1] * 8, [1] * 8])


def test_cut_at_the_first_success(antmaze):
    data = datasets.load("test/ant-v0", root=antmaze, observation="ant", standardise=False)
    np.testing.assert_array_equal(data.batch.obs[:, 2], [100, 101, 102, 200, 201, 300, 301])
    np.testing.assert_array_equal(data.batch.next_obs[:, 2], [101, 102, 103, 201, 202, 301, 302])
    np.testing.assert_array_equal(data.batch.reward, [0, 0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(data.batch.discount, [1, 1, 0, 1, 1, 1, 0])
    summary = data.summary
    assert summary["behaviour_success"] == summary["mean_return"] == pytest.approx(2 / 3)
    assert (summary["transitions"], summary["transitions_stored"], summary["episodes"]) == (7, 10, 3)
    assert summary["mean_episode_length"] == pytest.approx(7 / 3)
    assert json.loads(json.dumps(summary)) == summary


def test_what_the_policy_sees_is_the_same_in_data_and_environment(antmaze):
    data = datasets.load("test/ant-v0", root=antmaze)
    assert data.batch.obs.shape == (7, 60) and data.summary["observation"] == "maze-scales"
    third = {key: value[2] for key, value in antmaze_episode(100, 3)["observations"].items()}
    np.testing.assert_array_equal(data.observe(third), data.batch.obs[2])
    np.testing.assert_array_equal(data.observe(third), data.batch.next_obs[1])
    np.testing.assert_allclose(data.batch.obs.mean(0), 0, atol=1e-5)


def test_gym_data_with_return_range(tmp_path):
    write(
        tmp_path,
        "test/hopper-v0",
        [box_episode(0, 2, [1, 2], terminated=True), box_episode(10, 1, [1])],
        env_spec=env_spec("Hopper-v5", healthy_reward=9),
    )
    data = datasets.load("test/hopper-v0", root=tmp_path, reward="return-range", standardise=False)
    np.testing.assert_array_equal(data.batch.obs[:, 0], [0, 1, 10])
    np.testing.assert_array_equal(data.batch.reward, [500, 1000, 500])
    np.testing.assert_array_equal(data.batch.discount, [1, 0, 1])  # success is nothing a Hopper has
    assert data.summary["behaviour_success"] is None and data.summary["mean_return"] == 2 and data.maze is None
    with data.make_env() as env:
        assert env.spec.kwargs == {} and data.observe(env.reset(seed=0)[0]).shape == (11,)
    with pytest.raises(ValueError, match="expects a dict"):
        datasets.load("test/hopper-v0", root=tmp_path, observation="ant")
    with pytest.raises(ValueError, match="embedded datasets only"):
        datasets.load("test/hopper-v0", root=tmp_path, transitions=5)


def test_fingerprint_is_of_the_content(tmp_path):
    episodes = [box_episode(0, 3, [1, 2, 3]), box_episode(9, 2, [4, 5])]
    hopper = env_spec("Hopper-v5")
    write(tmp_path, "test/a-v0", episodes, env_spec=hopper)
    write(tmp_path, "test/b-v0", episodes, env_spec=hopper, description="another name and time")
    write(tmp_path, "test/c-v0", episodes[::-1], env_spec=hopper)
    changed = [{**episodes[0], "rewards": np.array([1, 2, np.nextafter(3, 4)])}, episodes[1]]
    write(tmp_path, "test/d-v0", changed, env_spec=hopper)
    a, b, c, d = (datasets.load(f"test/{name}-v0", root=tmp_path).fingerprint for name in "abcd")
    assert a == b and len({a, c, d}) == 3
    assert datasets.load("test/a-v0", root=tmp_path, reward="minus-one", standardise=False).fingerprint == a


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("observations", (2, 4), np.nan, r"test/bad-v0: episode 1, first at index \[2, 4\], observations: nan"),
        ("rewards", (1,), np.inf, r"episode 1, first at index \[1\], rewards: inf"),
        ("actions", (0, 2), 1.001, r"episode 1, first at index \[0, 2\], actions: 1.00\d* is outside \[-1, 1\]"),
    ],
)
def test_bad_values_are_named(tmp_path, field, index, value, message):
    episodes = [box_episode(0, 3, [0, 0, 0]), box_episode(9, 2, [0, 0]), box_episode(20, 2, [0, 0])]
    episodes[1][field][index] = value
    write(tmp_path, "test/bad-v0", episodes, env_spec=env_spec("Hopper-v5"))
    with pytest.raises(ValueError, match=message):
        datasets.load("test/bad-v0", root=tmp_path)


def test_rounding_beyond_the_bounds_is_not_an_error(tmp_path):
    episode = box_episode(0, 2, [0, 0])
    episode["actions"][1, 0] = 1 + 5e-5
    write(tmp_path, "test/edge-v0", [episode], env_spec=env_spec("Hopper-v5"))
    assert datasets.load("test/edge-v0", root=tmp_path).batch.action[1, 0] == 1


def test_bad_files_are_named(tmp_path):
    short = box_episode(9, 2, [0, 0])
    short["observations"] = short["observations"][:-1]
    write(tmp_path, "test/short-v0", [box_episode(0, 2, [0, 0]), short], env_spec=env_spec("Hopper-v5"))
    with pytest.raises(ValueError, match=r"episode 1, observations: expected shape \(3, 11\), got \(2, 11\)"):
        datasets.load("test/short-v0", root=tmp_path)
    write(tmp_path, "test/none-v0", [], env_spec=env_spec("Hopper-v5"))
    with pytest.raises(ValueError, match="test/none-v0.*no episodes"):
        datasets.load("test/none-v0", root=tmp_path)
    write(tmp_path, "test/cut-v0", [box_episode(0, 2, [0, 0])], env_spec=env_spec("Hopper-v5"))
    file = tmp_path / "test" / "cut-v0" / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="test/cut-v0.*cannot be read.*delete it"):
        datasets.load("test/cut-v0", root=tmp_path)
    (tmp_path / "test" / "cut-v0" / "data" / "metadata.json").write_text('{"env_spec": "{}"}')
    with pytest.raises(ValueError, match="must state observation_space and action_space"):
        datasets.load("test/cut-v0", root=tmp_path)


def test_only_listed_environments_are_built(tmp_path):
    for number, spec in enumerate([env_spec("Evil-v0"), env_spec("AntMaze_UMazeDense-v4")]):
        write(tmp_path, f"test/evil{number}-v0", [box_episode(0, 2, [0, 0])], env_spec=spec)
        with pytest.raises(
            ValueError, match=f"test/evil{number}-v0: environment .* cannot be built; there are HalfCheetah-v4"
        ):
            datasets.load(f"test/evil{number}-v0", root=tmp_path)
    bad_map = env_spec(maze_map=[[1, "__import__"]])
    write(tmp_path, "test/map-v0", [antmaze_episode(0, 2)], env_spec=bad_map)
    with pytest.raises(ValueError, match=r"env_spec: maze_map\[0\]\[1\] must be"):
        datasets.load("test/map-v0", root=tmp_path)


def test_evaluation_is_in_the_maze_of_the_data(antmaze):
    data = datasets.load("test/ant-v0", root=antmaze)
    assert (data.maze.start_xy, data.maze.goal_xy) == ((-4, -4), (-4, 4))
    env = pickle.loads(pickle.dumps(data.make_env))()
    assert env.unwrapped.maze.maze_map == UMAZE
    assert not env.unwrapped.continuing_task and not env.unwrapped.reset_target
    env.close()
    # Minari issue 304: the evaluation map of umaze-diverse is mirrored; its start and goal are mirrored back.
    own = [[0 if cell in ("r", "g") else cell for cell in row] for row in UMAZE]
    mirrored = [[1, 1, 1, 1, 1], [1, 0, 0, "r", 1], [1, 0, 1, 1, 1], [1, 0, 0, "g", 1], [1, 1, 1, 1, 1]]
    metadata = {"env_spec": env_spec(maze_map=own), "eval_env_spec": env_spec(maze_map=mirrored)}
    maze = registry.for_metadata("test", metadata, 27).maze
    assert maze.walls == [[cell == 1 for cell in row] for row in own]
    assert (maze.start_xy, maze.goal_xy) == ((-4, 4), (-4, -4))


def test_antmaze_environments_leave_nothing_in_the_temporary_folder(antmaze, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    datasets.load("test/ant-v0", root=antmaze).make_env().close()
    assert list(folder.iterdir()) == []


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
    message = result.stderr.strip().splitlines()[-1]
    for part in (
        "DatasetUnavailable: dataset D4RL/antmaze/umaze-v1 is not in",
        str(tmp_path / "D4RL" / "antmaze" / "umaze-v1"),
        "does not resolve",
        "`minari download D4RL/antmaze/umaze-v1`",
        "gtp/antmaze/umaze-v0",
        "--config=antmaze.py:umaze",
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
    with pytest.raises(datasets.DatasetUnavailable, match="did not answer within 2 s.*No embedded task"):
        datasets.load("mujoco/ant/medium-v0", root=tmp_path)
    assert time.monotonic() - started < 3


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(hosted, "_unreachable", lambda host, port: None)
    monkeypatch.setenv("MINARI_REMOTE", "nowhere://x")
    with pytest.raises(datasets.DatasetUnavailable, match="the download failed: KeyError: 'nowhere'"):
        datasets.load("D4RL/antmaze/umaze-v1", root=tmp_path)
    assert [path.name for path in (tmp_path / "D4RL" / "antmaze").iterdir()] == [".umaze-v1.lock"]


def test_ids_cannot_leave_the_root(tmp_path):
    for bad in ("../x-v0", "/etc/x-v0", "a//b-v0", "D4RL/antmaze/umaze", ""):
        with pytest.raises(ValueError, match="not a dataset id"):
            datasets.load(bad, root=tmp_path)


def test_the_default_root_is_minaris(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert datasets_root() == Path.home() / ".minari" / "datasets"
    with environment(MINARI_DATASETS_PATH="elsewhere"):
        assert os.environ["MINARI_DATASETS_PATH"] == "elsewhere"
    assert "MINARI_DATASETS_PATH" not in os.environ
