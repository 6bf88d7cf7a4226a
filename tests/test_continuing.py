"""A run that goes on from another one in a directory of its own: as resuming would, or with other settings."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from oracles import assert_trees_equal, settings_with
from runs import RUN, SHRUNK, UPDATES, final_arrays, state_like, summary_of

from gtp_jax import files
from gtp_jax.runs.checkpoints import SCHEMA, Checkpoints, Saved
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training import warm_start

MORE = UPDATES + 20


def arrays(directory, step):
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    saved = checkpoints.restore(step, state_like(directory))
    checkpoints.close()
    return jax.tree.map(np.asarray, saved)


@pytest.fixture(scope="module")
def source(whole, runner):
    """A copy of the whole run, and how it and its files are."""
    directory = runner.folder / "source"
    shutil.copytree(whole[0], directory)
    return directory


def test_equal_settings_end_as_resuming_does(source, runner, whole):
    """More updates in the old directory, and in a new one: parameters, optimisers and the new rows bit for bit."""
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    new, resumed = runner.folder / "continued", runner.folder / "resumed"
    output = runner(f"--workdir={new}", num_updates=MORE, continue_from=source)
    assert f"resuming after {UPDATES} of {MORE} updates" in output
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
    shutil.copytree(source, resumed)
    runner(f"--workdir={resumed}", num_updates=MORE)
    assert_trees_equal(final_arrays(new), final_arrays(resumed))
    rows = read_rows(resumed / "metrics.jsonl")
    assert read_rows(new / "metrics.jsonl") == [row for row in rows if row["step"] > UPDATES]
    assert json.loads((new / "config.json").read_text())["curriculum_updates"] == UPDATES

    found = summary_of(new)["continued_from"]
    assert found["directory"] == str(source) and found["num_updates"] == UPDATES
    assert found["fingerprint"] == summary_of(source)["fingerprint"] and found["continued_from"] is None
    assert found["settings"] == [] and found["versions"] == summary_of(source)["versions"]
    assert summary_of(resumed)["continued_from"] is None


def test_another_eta_starts_from_the_same_state_and_stands_alone(source, runner):
    """The first checkpoint is the other run's last, but for the hyperparameters; then its directory may go."""
    lent = runner.folder / "lent"
    shutil.copytree(source, lent)
    directory = runner.folder / "other-eta"
    changes = {"num_updates": UPDATES + 40, "continue_from": lent, "guidance.eta": 4.0, "critic.discount": 0.9}
    child = runner.start(f"--workdir={directory}", **changes)
    while not (directory / "checkpoints" / str(UPDATES)).is_dir():
        assert child.poll() is None, child.communicate()[0]
    child.kill()
    child.communicate()
    own, other = arrays(directory, UPDATES), final_arrays(source)
    shutil.rmtree(lent)
    runner(f"--workdir={directory}", **changes)
    found = summary_of(directory)["continued_from"]
    assert found["settings"] == [
        "critic.discount: 0.99 there, 0.9 now",
        "guidance.eta: 1.0 there, 4.0 now",
    ]
    hparams = own.training.pop("hparams")
    assert_trees_equal(own, other._replace(training={k: v for k, v in other.training.items() if k != "hparams"}))
    np.testing.assert_array_equal(hparams["eta"], np.float32([4, 4]))
    np.testing.assert_array_equal(hparams["discount"], np.float32([0.9, 0.9]))
    later = final_arrays(directory)
    assert (later.training["step"] == UPDATES + 40).all()
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (later.policy, own.policy)), strict=True))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"policy.hidden": "(9,)", "critic.ensemble": 3, "num_seeds": 1, "policy.name": "ctm"},
            [
                *("policy.hidden: [8] there, [9] now", "critic.ensemble: 2 there, 3 now"),
                *("seeds: [0, 1] there, [0] now", "policy.name: 'gtp' there, 'ctm' now"),
            ],
        ),
        ({"guidance.eta": 0.0}, ["critic: 'trained' there, 'none' now"]),
        ({"data.observation": "ant"}, ["observation: 'maze-scales' there, 'ant' now", "60 there, 29 now"]),
        ({"dataset": "gtp/antmaze/umaze-700-v0"}, ["statistics of the observations"]),
        ({"num_updates": UPDATES}, [f"num_updates = {UPDATES} must be above {UPDATES}"]),
        ({"continue_from": "nowhere"}, ["continue_from = 'nowhere'", "no directory of a run"]),
    ],
    ids=["networks", "critic", "observation", "data", "updates", "nowhere"],
)
def test_what_cannot_be_continued_is_refused_by_name(source, runner, tmp_path, changes, says):
    given = SHRUNK | {"num_updates": MORE, "continue_from": source} | changes
    words = [f"--config.{name}={value}" for name, value in given.items()]
    command = [sys.executable, str(RUN), "--config=antmaze.py:tiny", *words, "--workdir=new"]
    done = subprocess.run(command, cwd=tmp_path, env=runner.env, text=True, capture_output=True)
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in says), done.stderr
    assert not (tmp_path / "new").exists()


# The checks alone, on a checkpoint that was made for them.

STATE = Saved({"w": np.ones(1, np.float32)}, (), {"step": np.full(1, 10, np.int32), "hparams": {"eta": np.ones(1)}})


def about(changes=(), **settings):
    """What a checkpoint says of itself."""
    said = {
        "schema": SCHEMA,
        "settings": settings_with(**({"num_updates": 10} | settings)),
        "lanes": [{"seed": 0}],
        "observer": {"transform": "identity", "mean": [0.0], "std": [1.0]},
        "action_low": [-1.0],
        "action_high": [1.0],
        "fingerprint": "aa",
        "versions": {"jax": "1"},
    }
    return files.plain(said | dict(changes))


@pytest.fixture
def checkpoint(tmp_path):
    """A run's directory with step 10."""
    made = Checkpoints(tmp_path / "checkpoints")
    made.save(10, STATE, about())
    made.close()
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "settings", "says"),
    [
        ({}, {"policy__activation": "relu"}, "policy.activation: 'mish' there, 'relu' now"),
        ({}, {"policy__sigma_data": 1.0}, "policy.sigma_data: 0.5 there, 1.0 now"),
        ({}, {"critic__name": "expectile"}, "critic.name: 'twin_q' there, 'expectile' now"),
        ({}, {"critic__hidden": (9,)}, "critic.hidden: .* there, [9] now"),
        ({}, {"critic__activation": "relu"}, "critic.activation: 'mish' there, 'relu' now"),
        ({}, {"critic__layer_norm": True}, "critic.layer_norm: False there, True now"),
        ({}, {"guidance__name": "condition"}, "what the policy is told: 'nothing' there, 'what did better' now"),
        ({}, {"critic__observes": "place"}, "critic.observes: 'all' there, 'place' now"),
        ({}, {"policy__subgoal_steps": 20}, "policy.subgoal_steps: 0 there, 20 now"),
        ({"action_low": [-2.0]}, {}, "action_low: [-1.0] there, [-2.0] now"),
        ({"action_high": [2.0]}, {}, "action_high: [1.0] there, [2.0] now"),
        ({"schema": SCHEMA + 1}, {}, f"written in layout {SCHEMA}, and this version reads layout {SCHEMA + 1}"),
    ],
)
def test_all_that_must_agree_is_compared(checkpoint, changes, settings, says):
    warm_start.check(str(checkpoint), about(num_updates=20))
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        warm_start.check(str(checkpoint), about(changes, num_updates=20, **settings))


def test_equal_numbers_that_see_another_way_are_not_the_same_policy(tmp_path):
    """A vector and a direction have two numbers each, so that no shape would tell."""
    made = Checkpoints(tmp_path / "checkpoints")
    made.save(10, STATE, about(policy__subgoal_steps=20))
    made.close()
    warm_start.check(str(tmp_path), about(num_updates=20, policy__subgoal_steps=20))
    with pytest.raises(ValueError, match="policy.subgoal_way: 'vector' there, 'direction' now"):
        now = about(num_updates=20, policy__subgoal_steps=20, policy__subgoal_way="direction")
        warm_start.check(str(tmp_path), now)


def test_a_run_from_before_a_setting_was_added_goes_on(tmp_path):
    """What it does not say stands at its default."""
    made, said = Checkpoints(tmp_path / "checkpoints"), about()
    for name in ("subgoal_steps", "subgoal_hidden", "subgoal_way"):
        del said["settings"]["policy"][name]
    made.save(10, STATE, said)
    made.close()
    warm_start.check(str(tmp_path), about(num_updates=20))
    with pytest.raises(ValueError, match="policy.subgoal_steps: 0 there, 20 now"):
        warm_start.check(str(tmp_path), about(num_updates=20, policy__subgoal_steps=20))
    assert warm_start.provenance("b", 10, said, about())["settings"] == []


def test_a_run_whose_checkpoints_are_damaged_is_named(checkpoint):
    (checkpoint / "checkpoints" / "10" / "digest" / "metadata").write_text("{}")
    with pytest.raises(ValueError, match="its checkpoints are damaged; start it again"):
        warm_start.check(str(checkpoint), about(num_updates=20))


def test_a_run_that_is_saving_is_left_alone(checkpoint):
    half = checkpoint / "checkpoints" / "20.orbax-checkpoint-tmp"
    half.mkdir()
    warm_start.check(str(checkpoint), about(num_updates=20))
    step, there, saved = warm_start.adopt(str(checkpoint), jax.tree.map(np.zeros_like, STATE))
    assert (step, there) == (10, about())
    assert_trees_equal(
        jax.tree.map(np.asarray, saved),
        STATE._replace(training=STATE.training | {"hparams": {"eta": np.zeros(1)}}),
    )
    assert half.exists()


def test_a_run_says_where_it_comes_from_and_where_that_came_from():
    first = {"directory": "a"}
    there, now = about({"continued_from": first}), about({"fingerprint": "bb", "versions": {"jax": "2"}})
    assert warm_start.provenance("b", 10, there, now) == {
        "directory": "b",
        "num_updates": 10,
        "fingerprint": "aa",
        "versions": {"jax": "1"},
        "settings": [],
        "continued_from": first,
    }
