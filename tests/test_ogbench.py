"""OGBench's data: names, files that another program wrote, its own loader's arrays, and data made again."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import gymnasium
import numpy as np
import pytest
from ogbench_data import GOAL, NAME, POINT, assert_equals_ogbench, columns, parts

from gtp_jax import datasets
from gtp_jax.datasets import hosted, ogbench
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.ogbench import single_task


def test_every_single_task_environment_of_the_package_has_its_names():
    with_states = {each for each in gymnasium.registry if "-singletask" in each and "visual" not in each}
    of_names = {single_task(*parts(name)).env_id for name in ogbench.NAMES}
    assert of_names == with_states and len(ogbench.NAMES) == 312


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
        with pytest.raises(hosted.DatasetUnavailable, match="the download failed: HTTPError: 404"):
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


def test_an_episode_goes_on_where_its_task_is_met(tmp_path, monkeypatch):
    arrays = columns(NAME)
    arrays["qpos"][[2, 9]] = GOAL
    path = saved(tmp_path, arrays)
    monkeypatch.setattr(ogbench, "download", lambda *_: path)
    data = datasets.load(NAME)
    assert len(data.batch.reward) == 20 and np.flatnonzero(data.batch.discount == 0).tolist() == [2, 8]
    assert data.summary["behaviour_success"] == 0.5


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
