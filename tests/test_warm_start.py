"""A run that goes on from another one in a directory of its own: as resuming would, or with other settings."""

import json
import shutil

import jax
import numpy as np
import pytest
import toy
from oracles import assert_trees_equal
from runs import arrays, final_arrays, run_info, summary_of, times

from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training import warm_start

pytestmark = pytest.mark.usefixtures("quick_compilation")
MORE = toy.UPDATES + 10


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run of 20 updates."""
    directory = tmp_path_factory.mktemp("source") / f"a=b, (c) é {'x' * 200}"
    toy.train(directory)
    return directory


def test_equal_settings_end_as_resuming_does(source, tmp_path):
    """More updates in the old directory, and in a new one: parameters, optimisers and the new rows bit for bit."""
    before = times(source)
    new, resumed = tmp_path / "continued", shutil.copytree(source, tmp_path / "resumed")
    toy.train(new, num_updates=MORE, continue_from=str(source))
    assert times(source) == before
    toy.train(resumed, num_updates=MORE)
    assert_trees_equal(final_arrays(new), final_arrays(resumed))
    rows = read_rows(resumed / "metrics.jsonl")
    assert read_rows(new / "metrics.jsonl") == [row for row in rows if row["step"] > toy.UPDATES]
    assert json.loads((new / "config.json").read_text())["curriculum_updates"] == 16  # the source's own

    found = summary_of(new)["continued_from"]
    assert found["directory"] == str(source) and found["num_updates"] == toy.UPDATES
    assert found["fingerprint"] == summary_of(source)["fingerprint"] and found["continued_from"] is None
    assert found["settings"] == [] and found["versions"] == summary_of(source)["versions"]
    assert summary_of(resumed)["continued_from"] is None


def test_another_eta_starts_from_the_same_state_and_stands_alone(source, tmp_path):
    """The first checkpoint is the other run's last, but for the hyperparameters; then its directory may go."""
    lent, directory = shutil.copytree(source, tmp_path / "lent"), tmp_path / "other-eta"
    changes = {"num_updates": MORE, "continue_from": str(lent), "guidance.eta": 4.0, "critic.discount": 0.9}

    def stop(step, metrics):
        raise toy.Killed

    with pytest.raises(toy.Killed):
        toy.train(directory, progress=stop, **changes)
    own, other = (arrays(path, toy.UPDATES) for path in (directory, source))
    shutil.rmtree(lent)
    toy.train(directory, **changes)
    found = summary_of(directory)["continued_from"]
    assert found["settings"] == ["critic.discount: 0.99 there, 0.9 now", "guidance.eta: 1.0 there, 4.0 now"]
    changed = {name: value for name, value in own.items() if (value != other[name]).any()}
    assert {name.partition("hparams")[2]: value.tolist() for name, value in changed.items()} == {
        "']['eta']": [4.0, 4.0],
        "']['discount']": [np.float32(0.9), np.float32(0.9)],
    }
    later = final_arrays(directory)
    assert (later["['training']['step']"] == MORE).all()
    assert any((later[name] != own[name]).any() for name in own if "['policy']" in name)


STATE = Saved({"w": np.ones(1, np.float32)}, (), {"step": np.full(1, 10, np.int32), "hparams": {"eta": np.ones(1)}})
INFO = run_info({"num_updates": 10})


def make_checkpoint(directory, info=INFO):
    made = Checkpoints(directory / "checkpoints")
    made.save(10, STATE, info)
    made.close()
    return str(directory)


@pytest.fixture
def checkpoint(tmp_path):
    """A run's directory with step 10."""
    return make_checkpoint(tmp_path)


WITH_LABELS = {"policy.subgoal_steps": 20, "guidance.name": "conditioning"}


@pytest.mark.parametrize(
    ("changes", "fields", "says"),
    [  # of the settings, those that are declared as structural
        ({"num_updates": 10}, {}, ["num_updates = 10 must be above 10"]),
        (
            {"policy.hidden": (9,), "critic.ensemble": 3},
            {},
            ["policy.hidden: .* there, .*9", "ensemble: 2 there"],
        ),
        ({"policy.name": "ctm"}, {}, ["policy.name: 'gtp' there, 'ctm' now"]),
        ({"policy.sigma_data": 1.0}, {}, ["policy.sigma_data: 0.35 there, 1.0 now"]),
        ({"critic.name": "expectile"}, {}, ["critic.name: 'twin_q' there, 'expectile' now"]),
        ({"critic.layer_norm": True}, {}, ["critic.layer_norm: False there, True now"]),
        ({"guidance.eta": 0.0}, {}, ["critic: 'trained' there, 'none' now"]),
        ({"num_seeds": 2}, {}, ["seeds: .0. there, .0, 1. now"]),
        (WITH_LABELS, {}, ["policy.subgoal_steps: 0 there, 20 now", "optimality label: 'none' there, 'observed' now"]),
        ({}, {"action_low": (-2.0, -1.0)}, [r"action_low: \(-1.0, -1.0\) there, \(-2.0, -1.0\) now"]),
        ({}, {"action_high": (2.0, 1.0)}, ["action_high"]),
        (
            {},
            {"observer": INFO.observer | {"transform": "goal-scales"}},
            ["observation: 'identity' there, 'goal"],
        ),
        ({}, {"observer": INFO.observer | {"mean": [1.0] * 3}}, ["statistics of the observations"]),
        ({}, {"observer": INFO.observer | {"mean": [1.0] * 4}}, ["numbers of an observation: 3 there, 4 now"]),
    ],
)
def test_all_that_must_agree_is_compared(checkpoint, changes, fields, says):
    warm_start.check_source(checkpoint, run_info({"num_updates": 20}))
    with pytest.raises(ValueError) as error:
        warm_start.check_source(checkpoint, run_info({"num_updates": 20} | changes, **fields))
    assert "\n" not in str(error.value) and checkpoint in str(error.value)
    for each in says:
        assert error.match(each)


def test_equal_numbers_that_mean_something_else_are_not_the_same_policy(tmp_path):
    """A displacement and a direction have two numbers each, so that no shape would tell."""
    directory = make_checkpoint(tmp_path, run_info({"policy.subgoal_steps": 20}))
    egocentric = {"policy.subgoal_encoding": "egocentric", "data.observation": "maze-egocentric"}
    with pytest.raises(ValueError, match="policy.subgoal_encoding: 'displacement' there, 'egocentric' now"):
        warm_start.check_source(directory, run_info({"num_updates": 20, "policy.subgoal_steps": 20} | egocentric))


def test_a_directory_without_a_sound_checkpoint_is_named(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="continue_from = 'nowhere' is no directory of a run"):
        warm_start.check_source("nowhere", INFO)
    (tmp_path / "checkpoints" / "10" / "digest" / "metadata").write_text("{}")
    for read in (lambda: warm_start.check_source(checkpoint, INFO), lambda: warm_start.read_source(checkpoint, STATE)):
        with pytest.raises(ValueError, match="its checkpoints are damaged; start it again"):
            read()


def test_a_run_that_is_saving_is_left_alone(checkpoint, tmp_path):
    half = tmp_path / "checkpoints" / "20.orbax-checkpoint-tmp"
    half.mkdir()
    warm_start.check_source(checkpoint, run_info({"num_updates": 20}))
    step, there, saved = warm_start.read_source(checkpoint, jax.tree.map(np.zeros_like, STATE))
    assert (step, there) == (10, INFO)
    assert_trees_equal(
        jax.tree.map(np.asarray, saved),
        STATE._replace(training=STATE.training | {"hparams": {"eta": np.zeros(1)}}),
    )
    assert half.exists()


def test_a_run_records_where_it_comes_from_and_where_that_came_from():
    there = INFO._replace(continued_from={"directory": "a"})
    assert warm_start.source_record("b", 10, there, run_info({"guidance.eta": 2.0}, fingerprint="bb")) == {
        "directory": "b",
        "num_updates": 10,
        "fingerprint": "aa",
        "versions": INFO.versions,
        "settings": ["guidance.eta: 1.0 there, 2.0 now"],
        "continued_from": {"directory": "a"},
    }
