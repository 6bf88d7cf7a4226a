"""OGBench's data: names, files that another program wrote, its own loader's arrays, and data made again."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import gymnasium
import numpy as np
import pytest

from gtp_jax import datasets
from gtp_jax.datasets import hosted, ogbench
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.collect import collect
from gtp_jax.datasets.builtin.ogbench import OGBENCH, single_task
from gtp_jax.datasets.builtin.ogbench_episodes import Simulator, _is_on_table

package = pytest.importorskip("ogbench")  # which Python 3.13 and newer cannot install
POINT = "pointmaze-medium-navigate"
GOAL = (20.0, 20.0)  # of its first task, metres
NAME = f"ogbench/{POINT}-singletask-task1-v0"


def test_every_single_task_environment_of_the_package_has_its_names():
    with_states = {each for each in gymnasium.registry if "-singletask" in each and "visual" not in each}
    of_names = {single_task(*parts(name)).env_id for name in ogbench.NAMES}
    assert of_names == with_states and len(ogbench.NAMES) == 312


def parts(name):
    """ENVIRONMENT-TYPE and task of an id."""
    name, _, task = name.removeprefix("ogbench/").removesuffix("-v0").partition("-singletask")
    return name, f"singletask{task}"


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("ogbench/cube-singel-play-singletask-task2-v0", "ogbench/cube-single-play-singletask-task2-v0"),
        ("ogbench/cube-single-play-v0", "ogbench/cube-single-play-singletask-v0"),
        ("ogbench/scene-play-singletask", "ogbench/scene-play-singletask-v0"),
        (
            "ogbench/cube-single-navigate-singletask-task6-v0",
            "ogbench/cube-single-(play|noisy)-singletask-task[1-5]-v0",
        ),
        ("gtp/ogbench/cube-triple-play-v0", "gtp/ogbench/cube-(single|double)-play-1m-v0"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"did you mean '({near})'"):
        datasets.check_dataset(wrong)


def test_the_id_states_the_size_and_the_folder_has_no_task():
    wanted = ids.parse_id("gtp/ogbench/puzzle-3x3-noisy-singletask-task4-v0", seed=2)
    assert wanted.id == "gtp/ogbench/puzzle-3x3-noisy-singletask-task4-1m-seed2-v0" == ids.parse_id(wanted.id).id
    assert wanted.stored == "gtp/ogbench/puzzle-3x3-noisy-1m-seed2-v0" and wanted.transitions == 1_000_000
    assert ids.parse_id("gtp/ogbench/scene-play-200k-v0").stored == "gtp/ogbench/scene-play-200k-v0"
    with pytest.raises(ValueError, match="no built-in dataset"):
        ids.parse_id("gtp/antmaze/umaze-singletask-v0")


def test_without_the_package_one_line_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(ValueError, match=r"needs the package ogbench .* pip install 'gtp_jax\[ogbench\]'"):
        ogbench.check(NAME)


# Files


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name, has_collector", [(NAME, True), ("ogbench/antmaze-giant-stitch-singletask-v0", False)])
def test_a_missing_file_is_one_message(home, monkeypatch, name, has_collector):
    monkeypatch.setattr(hosted, "_unreachable", lambda host, port: f"the name {host} does not resolve")
    with pytest.raises(hosted.DatasetUnavailable) as error:
        ogbench.load(name, home)
    says = str(error.value)
    for part in (name, f"{parts(name)[0]}-v0.npz", f"{home}/.ogbench/data", "does not resolve", "download_datasets"):
        assert part in says
    assert (f"gtp-jax collect gtp/ogbench/{POINT}-singletask-task1-1m-v0" in says) == has_collector and "\n" not in says


def test_a_download_arrives_whole_or_not_at_all(home, monkeypatch):
    monkeypatch.setattr(hosted, "_unreachable", lambda host, port: None)
    answers = [
        subprocess.CompletedProcess([], 1, b"Traceback\nHTTPError: 404"),
        subprocess.CompletedProcess([], 0, b""),
    ]

    def child(command, **_):
        Path(command[-1], f"{command[-2]}.npz").write_bytes(b"data")
        return answers.pop(0)

    with mock.patch.object(subprocess, "run", child):
        with pytest.raises(ogbench.OGBenchUnavailable, match="the download failed: HTTPError: 404"):
            ogbench.download(NAME, POINT)
        assert not list(Path(home, ".ogbench/data").iterdir())
        path = ogbench.download(NAME, POINT)
    assert path.read_bytes() == b"data" and path.parent == Path(home, ".ogbench/data")
    assert ogbench.download(NAME, POINT) == path  # which asks for nothing
    path.unlink()
    path.parent.rmdir()
    path.parent.touch()
    with pytest.raises(ValueError, match=r"\.ogbench/data cannot be written \(File exists\)"):
        ogbench.download(NAME, POINT)


def columns(name, rows=24, episode=6):
    """What a file of random states holds, in the types of the published ones."""
    env, rng = single_task(*parts(name)).make_env(), np.random.default_rng(0)
    states = {"observations": env.observation_space.shape[0], "actions": env.action_space.shape[0]}
    states |= {"qpos": env.unwrapped.model.nq, "qvel": env.unwrapped.model.nv}
    arrays = {key: rng.uniform(-1, 1, (rows, size)).astype(np.float32) for key, size in states.items()}
    arrays["terminals"] = np.arange(1, rows + 1) % episode == 0
    if hasattr(env.unwrapped, "_cur_button_states"):
        arrays["button_states"] = rng.integers(2, size=(rows, len(env.unwrapped._cur_button_states)))
    return arrays


def saved(folder, arrays, name=NAME):
    """Writes the file of a name and its twin for validation, as NumPy does."""
    path = Path(folder, f"{parts(name)[0]}-v0.npz")
    for each in (path, path.with_name(f"{path.stem}-val.npz")):
        np.savez_compressed(each, **arrays)
    return path


@pytest.mark.filterwarnings("ignore:.*precision lowered", "ignore:.*is not within the observation space")
@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "ogbench/antsoccer-arena-stitch-singletask-v0",
        pytest.param("ogbench/cube-double-noisy-singletask-task2-v0", marks=pytest.mark.slow),
        pytest.param("ogbench/scene-play-singletask-task3-v0", marks=pytest.mark.slow),
        pytest.param("ogbench/puzzle-4x4-play-singletask-v0", marks=pytest.mark.slow),
    ],
)
def test_the_arrays_are_those_of_ogbench(tmp_path, name):
    arrays = columns(name)
    if name == NAME:
        arrays["qpos"][[2, 3, 9]] = GOAL  # in the middle of episodes
    path = saved(tmp_path, arrays, name)
    raw = ogbench.read(path, name, single_task(*parts(name)))
    assert_equals_ogbench(raw, name.removeprefix("ogbench/"), path)
    assert raw.step.tolist() == [*range(5)] * 4 and raw.episode.tolist() == np.repeat(range(4), 5).tolist()
    if name == NAME:
        assert np.flatnonzero(raw.terminated).tolist() == [2, 3, 8] == np.flatnonzero(raw.reward == 0).tolist()


def assert_equals_ogbench(raw, name, path):
    _, theirs, _ = package.make_env_and_datasets(name, dataset_path=str(path))
    rows = np.arange(len(raw.reward)) + raw.episode
    ours = {"observations": raw.observations[rows], "next_observations": raw.observations[rows + 1]}
    ours |= {"actions": raw.action, "rewards": raw.reward, "masks": 1 - raw.terminated.astype(np.float32)}
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype and value.tobytes() == theirs[key].tobytes(), key


def test_another_task_is_another_fingerprint(tmp_path):
    arrays = columns(NAME)
    arrays["qpos"][2] = GOAL
    path = saved(tmp_path, arrays)
    found = {ogbench.read(path, NAME, single_task(POINT, f"singletask-task{n}")).fingerprint for n in (1, 1, 2)}
    assert len(found) == 2


def put(name, index, value):
    return lambda arrays: arrays[name].__setitem__(index, value)


def become(name, change):
    return lambda arrays: arrays.update({name: change(arrays[name])})


DAMAGES = {
    "nan": (put("observations", (8, 1), np.nan), r"episode 1, first at index \[2, 1\], observations: nan"),
    "infinity": (put("qpos", (3, 0), np.inf), r"episode 0, first at index \[3, 0\], qpos: inf"),
    "nan action": (put("actions", (0, 1), np.nan), r"episode 0, first at index \[0, 1\], actions: nan"),
    "large action": (put("actions", (7, 0), 1.5), r"episode 1, first at index \[1, 0\], actions: 1.5 is outside"),
    "no qpos": (lambda arrays: arrays.pop("qpos"), "qpos: there is no such array; there are"),
    "short": (become("actions", lambda each: each[:-1]), r"actions: expected shape \(24, 2\), got \(23, 2\)"),
    "wide": (become("observations", lambda each: np.tile(each, 2)), r"expected shape \(24, 2\), got \(24, 4\)"),
    "flat": (become("qpos", np.ravel), r"qpos: expected shape \(24, 2\), got \(48,\)"),
    "number": (become("observations", lambda each: each[0, 0]), r"observations: expected shape \(0, 2\), got \(\)"),
    "text": (become("actions", lambda each: each.astype("U8")), "actions: expected numbers, got <U8"),
    "objects": (become("actions", lambda each: each.astype(object)), "actions: cannot be read .*allow_pickle=False"),
    "complex": (become("qpos", lambda each: each.astype(complex)), "qpos: expected numbers, got complex128"),
    "integers": (become("observations", lambda each: each.astype(int)), "observations: expected floats, got int64"),
    "no end": (put("terminals", -1, False), "terminals: the last of 24 rows must be 1"),
    "one row": (put("terminals", 6, True), "terminals: episode 1 has one row"),
    "no flag": (become("terminals", lambda each: each * 2), "terminals: 2 at index 5 is neither 0 nor 1"),
    "empty": (lambda arrays: arrays.update({key: each[:0] for key, each in arrays.items()}), "the last of 0 rows"),
}


@pytest.fixture(scope="module")
def point_columns():
    return columns(NAME)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_arrays_are_refused_in_one_line(tmp_path, point_columns, damage):
    arrays, (change, says) = {key: each.copy() for key, each in point_columns.items()}, DAMAGES[damage]
    change(arrays)
    with pytest.raises(ValueError, match=says) as error:
        ogbench.read(saved(tmp_path, arrays), NAME, single_task(*parts(NAME)))
    assert "\n" not in str(error.value) and (NAME in str(error.value) or str(tmp_path) in str(error.value))


def flip(data):
    return data[:150] + bytes([data[150] ^ 255]) + data[151:]


@pytest.mark.parametrize("change", [lambda data: data[:-100], lambda data: b"", lambda data: b"x" * 999, flip])
def test_damaged_files_are_refused_in_one_line(tmp_path, point_columns, change):
    path = saved(tmp_path, point_columns)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{POINT}-v0.npz.*cannot be read") as error:
        ogbench.read(path, NAME, single_task(*parts(NAME)))
    assert "\n" not in str(error.value)


# Environments


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


def same(one, other):
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.startswith("pointmaze") else pytest.mark.slow) for name in OGBENCH],
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
