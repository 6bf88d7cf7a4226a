"""A run's directory: one process at a time, one configuration for good."""

import errno
import fcntl
import os
import pwd
import shutil
from pathlib import Path

import pytest
from oracles import settings_with
from toy import full_disk

from gtp_jax import files
from gtp_jax.datasets.folder import datasets_root, install
from gtp_jax.runs import directory


def resume(folder, **changes):
    """Starts a run: completes the settings and writes them."""
    settings = directory.resume_settings(
        folder, settings_with(**{"curriculum_updates": 0, "num_updates": 100} | changes)
    )
    files.write_json(folder / "config.json", settings.to_json())
    return settings


def test_a_directory_belongs_to_one_run(tmp_path):
    assert resume(tmp_path).curriculum_updates == 100
    for changes, says in (
        ({"seed_offset": 5}, "seed_offset: 0 there, 5 now"),
        ({"guidance__eta": 0.5}, "guidance.eta: 1.0 there, 0.5 now"),
        ({"num_updates": 50}, "100 updates; num_updates = 50 would shorten it"),
    ):
        with pytest.raises(ValueError, match=says):
            resume(tmp_path, **changes)
    assert resume(tmp_path, devices=2).devices == 2  # a free setting


def test_a_longer_run_keeps_the_first_ones_curriculum(tmp_path):
    """In the same directory or in one of its own."""
    resume(tmp_path)
    assert [resume(tmp_path, num_updates=updates).curriculum_updates for updates in (300, 400)] == [100, 100]
    (tmp_path / "other").mkdir()
    assert resume(tmp_path / "other", num_updates=500, continue_from=str(tmp_path)).curriculum_updates == 100


def test_a_run_from_before_a_setting_was_added_goes_on(tmp_path):
    """A setting that its file lacks has its default."""
    settings = resume(tmp_path).to_json()
    del settings["policy"]["subgoal_steps"]
    files.write_json(tmp_path / "config.json", settings)
    assert directory.resume_settings(tmp_path, settings_with(curriculum_updates=0, num_updates=100))
    with pytest.raises(ValueError, match="policy.subgoal_steps: 0 there, 20 now"):
        resume(tmp_path, policy__subgoal_steps=20)


def test_finished_means_as_many_updates_as_are_asked_for(tmp_path):
    assert directory.finished(tmp_path, settings_with(num_updates=10)) is None
    files.write_json(tmp_path / "summary.json", {"num_updates": 10})
    assert directory.finished(tmp_path, settings_with(num_updates=10)) == {"num_updates": 10}
    assert directory.finished(tmp_path, settings_with(num_updates=20)) is None


def test_a_directory_is_held_by_one_process(tmp_path):
    with (
        directory.claim(tmp_path / "run"),
        pytest.raises(ValueError, match="run is in use by another process"),
        directory.claim(tmp_path / "run"),
    ):
        pass
    with directory.claim(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()  # nothing was written


@pytest.mark.parametrize(
    "name", [".", "empty", "empty/", "link", "new", "new/", "a/b/c", "x/../y", "busy", "used", "é $1"]
)
def test_a_run_that_writes_nothing_leaves_what_was_there_and_its_own_reason(tmp_path, monkeypatch, name):
    """A busy folder, such as a mount point, too; and a folder that vanished meanwhile."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "busy", "used"):
        (tmp_path / folder).mkdir()
    (tmp_path / "used" / ".lock").touch()
    (tmp_path / "link").symlink_to("empty")
    before = sorted(tmp_path.rglob("*"))
    if name == ".":
        monkeypatch.chdir("empty")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="the reason"):
        if name == "busy":
            patch.setattr(Path, "rmdir", full_disk)
        with directory.claim(Path(name)):
            assert (Path(name) / ".lock").exists()
            raise ValueError("the reason")
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match="the reason"), directory.claim(tmp_path / "gone"):
        shutil.rmtree(tmp_path / "gone")
        raise ValueError("the reason")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("file", "File exists"),
        ("file/x", "Not a directory"),
        ("n" * 256, "File name too long"),
        ("loop", "File exists"),
    ],
)
def test_a_directory_that_cannot_be_made_is_named_and_nothing_is_made(tmp_path, name, says):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    refused = pytest.raises(ValueError, match=f"{name} cannot be made .{says}.; choose another")
    with refused, directory.claim(tmp_path / name):
        pass
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, number):
    """Runs and collections go on; what another process may be building is left alone, and who is second uses it."""

    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with directory.claim(tmp_path / "run") as warning:
        assert warning == f"{tmp_path / 'run'} is on a file system without locks: start no second process in it"
    other = tmp_path / "a" / ".x-v0.building-other"
    other.mkdir(parents=True)

    def build(folder):
        for each in (folder, tmp_path):
            (each / "a" / "x-v0" / "data").mkdir(parents=True)

    assert install(tmp_path, "a/x-v0", build) == tmp_path / "a" / "x-v0" and other.exists()
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error: '.*lock'"), directory.claim(tmp_path / "run"):
        pass


def test_a_users_path_knows_home_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MINE", "/mine")
    for text, path in {"~/x": "/home/me/x", "$MINE/a": "/mine/a", "a/${MINE}": "a//mine", "a=b,(c) $5 é": None}.items():
        assert files.user_path(text) == files.user_path(Path(text)) == Path(path or text)
    monkeypatch.setenv("ODD", "a\nb")
    for text in ("", "a\0", "a\nb", "\udcff", "x/" * 2049, "$ODD/x"):
        with pytest.raises(ValueError, match="is empty, not UTF-8, or holds control characters"):
            files.user_path(text)
    with pytest.raises(ValueError, match="the environment has no NOT_SET; set it"):
        files.user_path("${NOT_SET}/x")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}[0])  # a container's user
    with pytest.raises(ValueError, match="'~/x': Could not determine home directory.; set HOME, or write"):
        files.user_path("~/x")
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")
    with pytest.raises(ValueError, match="the folder of datasets: .* or set MINARI_DATASETS_PATH to it"):
        datasets_root()


def test_an_output_whose_name_is_too_long_is_noticed_before_it_is_computed(tmp_path):
    """A file is written under a longer name at first."""
    files.check_output(tmp_path / ("x" * 200))
    with pytest.raises(ValueError, match="x cannot be written .File name too long.; choose another name"):
        files.check_output(tmp_path / ("x" * 250))
    assert not list(tmp_path.iterdir())
    (tmp_path / "link").symlink_to("nowhere")  # which the file would replace
    with pytest.raises(ValueError, match="link is a link; name a file"):
        files.check_output(tmp_path / "link")


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    """By the name that it really has, and nothing else."""
    with files.replacing(tmp_path / "config.json") as file:
        (half,) = tmp_path.iterdir()
        kept = half.read_bytes()
        file.write(b"{}")
    half.write_bytes(kept)
    with directory.claim(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json"]


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_a_damaged_file_is_named_with_the_cure(tmp_path, name):
    settings = resume(tmp_path)
    files.write_json(tmp_path / "summary.json", {"num_updates": 100})
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3] + b"\xff")
    with pytest.raises(ValueError, match=f"{name} is damaged.*; delete it, and the same command writes it again"):
        directory.finished(tmp_path, directory.resume_settings(tmp_path, settings))
