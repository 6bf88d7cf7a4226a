"""A run's directory: one process at a time, one configuration for good."""

import pytest
from oracles import settings_with

from gtp_jax import files
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
