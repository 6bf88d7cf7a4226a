"""A run's directory: one process at a time, one configuration for good."""

import pytest

from gtp_jax import files
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.runs import directory


def settle(directory, **changes):
    settings = directory.settle(directory, DEFAULTS | changes)
    files.write_json(directory / "config.json", settings)
    return settings


def test_a_directory_belongs_to_one_run(tmp_path):
    settle(tmp_path, num_updates=100)
    assert settle(tmp_path, num_updates=100)["curriculum_updates"] == 100
    with pytest.raises(ValueError, match="seed_offset: 0 there, 5 now"):
        directory.settle(tmp_path, DEFAULTS | {"num_updates": 100, "seed_offset": 5})
    with pytest.raises(ValueError, match="guidance.eta: 1.0 there, 0.5 now"):
        directory.settle(tmp_path, DEFAULTS | {"num_updates": 100, "guidance": {"name": "advantage", "eta": 0.5}})
    with pytest.raises(ValueError, match="100 updates; num_updates = 50 would shorten it"):
        directory.settle(tmp_path, DEFAULTS | {"num_updates": 50})
    assert directory.settle(tmp_path, DEFAULTS | {"num_updates": 100, "devices": 2})["devices"] == 2


def test_a_run_from_before_a_setting_was_added_goes_on(tmp_path):
    """What its file does not say stands at its default."""
    settings = settle(tmp_path)
    policy = {name: value for name, value in settings["policy"].items() if not name.startswith("subgoal_")}
    files.write_json(tmp_path / "config.json", settings | {"policy": policy})
    assert directory.settle(tmp_path, DEFAULTS) == settings
    with pytest.raises(ValueError, match="policy.subgoal_steps: 0 there, 20 now"):
        directory.settle(tmp_path, DEFAULTS | {"policy": DEFAULTS["policy"] | {"subgoal_steps": 20}})


def test_a_longer_run_keeps_the_first_ones_curriculum(tmp_path):
    settle(tmp_path, num_updates=100)
    assert settle(tmp_path, num_updates=300)["curriculum_updates"] == 100
    assert settle(tmp_path, num_updates=400)["curriculum_updates"] == 100


def test_finished_means_as_many_updates_as_are_asked_for(tmp_path):
    assert directory.finished(tmp_path, {"num_updates": 10}) is None
    files.write_json(tmp_path / "summary.json", {"num_updates": 10})
    assert directory.finished(tmp_path, {"num_updates": 10}) == {"num_updates": 10}
    assert directory.finished(tmp_path, {"num_updates": 20}) is None


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
    settle(tmp_path, num_updates=100)
    files.write_json(tmp_path / "summary.json", {"num_updates": 100})
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3] + b"\xff")
    with pytest.raises(ValueError, match=f"{name} is damaged .*; delete it, and the same command writes it again"):
        directory.finished(tmp_path, directory.settle(tmp_path, DEFAULTS | {"num_updates": 100}))
