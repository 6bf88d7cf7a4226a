"""A trial that diverges: named, with since when; the others and the run go on as if nothing had been."""

import contextlib
import json

import numpy as np
import pytest
from oracles import assert_trees_equal
from runs import differences
from toy import UPDATES, Killed, Run, arrays

from gtp_jax import load_policy
from gtp_jax.runs import plots
from gtp_jax.runs.checkpoints import Checkpoints
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training import divergence


def poisoned(directory, field, value, at, killed_at=None, **changes):
    """A run in which `field` of seed 1 becomes `value` before the update after `at`; killed after `killed_at`."""

    def before(step, state):
        if step == killed_at:
            raise Killed
        return run.poison(state, field, value) if step == at else state

    run = Run(directory, before=before, **changes)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sound(folder):
    return folder / "sound", Run(folder / "sound")()


@pytest.fixture(scope="module")
def broken(folder):
    """Seed 1 holds NaN from update 11 on."""
    run = poisoned(folder / "broken", "policy", np.nan, at=10)
    return run, run()


def rows_of(directory, seed):
    return [row for row in read_rows(directory / "metrics.jsonl") if row["seed"] == seed]


def test_the_run_names_who_diverged_and_since_when(broken):
    run, summary = broken
    record = {"seed": 1, "updates": [11, 15], "reason": "critic/loss is not finite"}
    assert summary["diverged"] == [record]
    assert json.loads((run.workdir / "summary.json").read_text()) == summary
    line = "seed = 1 diverged during updates 11 to 15: critic/loss is not finite"
    assert run.output.getvalue().count(line) == 1
    assert "*)" in run.output.getvalue()  # the mark of its score
    with contextlib.closing(Checkpoints(run.workdir / "checkpoints")) as checkpoints:
        found = {step: checkpoints.info(step).diverged for step in checkpoints.steps()}
    assert found[UPDATES] == [record] and all(found[step] == [record] * (step >= 15) for step in found)


def test_the_other_seed_ends_as_if_nothing_had_been(broken, sound):
    directory = broken[0].workdir
    one, other = ({name: leaf[0] for name, leaf in arrays(path).items()} for path in (directory, sound[0]))
    assert_trees_equal(one, other)
    kernels = [leaf[1] for name, leaf in arrays(directory).items() if "policy" in name and "kernel" in name]
    assert kernels and all(np.isnan(leaf).all() for leaf in kernels)
    assert rows_of(directory, 0) == rows_of(sound[0], 0)
    assert sound[1]["diverged"] == []


def test_numbers_that_are_not_finite_are_null_and_hide_in_no_mean(broken, sound):
    rows, expected = rows_of(broken[0].workdir, 1), rows_of(sound[0], 1)
    assert rows[:2] == expected[:2]
    assert all(row["policy/loss"] is None for row in rows[2:]) and len(rows) == 4
    assert rows[3]["score"] is None and rows[3]["length"] == 0
    assert "NaN" not in (broken[0].workdir / "metrics.jsonl").read_text()
    score = broken[1]["score"]
    assert score["per_seed"] == [sound[1]["score"]["per_seed"][0], None]
    assert (score["mean"], score["std"], score["iqm"], score["ci95"]) == (None, None, None, [None, None])


def test_a_loaded_policy_does_not_act_with_it(broken):
    policy = load_policy(broken[0].workdir)
    assert policy.info.diverged == broken[1]["diverged"]
    assert np.isfinite(policy(np.zeros(3))).all()
    with pytest.raises(ValueError, match="trial = 1: seed = 1 diverged in training.*choose another trial"):
        policy(np.zeros(3), trial=1)


def test_in_antmaze_it_scores_0(folder, monkeypatch):
    monkeypatch.setattr(plots, "maze", lambda *_, **__: None)  # the toy walks nowhere
    summary = poisoned(folder / "antmaze", "policy", np.nan, at=10, dataset="D4RL/antmaze/umaze-v1")()
    assert summary["score"]["per_seed"] == [0, 0] and summary["score"]["mean"] == 0
    assert [record["seed"] for record in summary["diverged"]] == [1]


def test_a_run_that_was_killed_after_a_seed_diverged_ends_the_same(broken, folder):
    """Bit for bit, and the record is kept."""
    with pytest.raises(Killed):
        poisoned(folder / "killed", "policy", np.nan, at=10, killed_at=15)()
    run = Run(folder / "killed")
    run()
    assert "seed = 1 diverged during updates 11 to 15" in run.output.getvalue()
    assert differences(run.workdir, broken[0].workdir) == []


def test_an_exploding_critic_is_named_and_its_policy_scored(folder):
    run = poisoned(folder / "exploding", "critic", 1e4, at=15)
    summary = run()
    (record,) = summary["diverged"]
    assert (record["seed"], record["updates"]) == (1, [16, UPDATES])
    assert record["reason"].startswith("critic/q = ") and "critic.divergence" in record["reason"]
    assert np.isfinite(summary["score"]["per_seed"]).all() and np.isfinite(summary["score"]["mean"])
    assert all(np.isfinite(leaf).all() for leaf in arrays(run.workdir).values())


def test_nan_of_the_last_update_is_found_in_the_parameters(folder):
    """No metric can show it: they are of the parameters before each update."""
    run = Run(folder / "last")
    advance = run.training.engine.advance

    def advance_and_break(state, length):
        state, metrics = advance(state, length)
        ended = run.training.engine.gather(state.step)[0] == UPDATES
        return run.poison(state, "critic_ema", np.inf) if ended else state, metrics

    run.training.engine.advance = advance_and_break
    (record,) = run()["diverged"]
    assert (record["seed"], record["updates"]) == (1, [16, UPDATES]) and record["reason"].startswith(".critic")
    assert all(value is not None for row in read_rows(run.workdir / "metrics.jsonl") for value in row.values())


def test_a_critics_bound():
    bounds = divergence.value_bounds(np.array([0.5, -2.0]), [0.9, 0.99, 1.0], factor=10)
    np.testing.assert_allclose(bounds, [200, 2000, np.inf])
    np.testing.assert_array_equal(divergence.value_bounds(np.zeros(3), [0.9, 1.0], factor=10), [10, np.inf])


def test_each_trial_is_told_apart_by_all_of_its_label():
    labels = [{"seed": seed, "eta": eta} for eta in (0.1, 1.0) for seed in (0, 1)]
    said = []
    watch = divergence.Watch(labels, np.array([1.0, 1.0, 5.0, 5.0]), said.append)
    watch.metrics(1, 5, {"policy/loss": np.array([1, 1, 1, np.inf]), "critic/q": np.array([0.5, -3.0, 3.0, 0.0])})
    watch.metrics(6, 10, {"policy/loss": np.array([1, 1, np.nan, np.nan]), "critic/value": np.array([-1.1, 0, 0, 0])})
    found = [(record["seed"], record["eta"], record["updates"]) for record in watch.found]
    assert found == [(1, 1.0, [1, 5]), (1, 0.1, [1, 5]), (0, 1.0, [6, 10]), (0, 0.1, [6, 10])]
    assert said[1] == (
        "seed = 1, eta = 0.1 diverged during updates 1 to 5: critic/q = -3 is beyond 1, critic.divergence times what "
        "rewards and discount allow"
    )
    assert watch.found[3]["reason"].startswith("critic/value = -1.1 is beyond 1")
    assert divergence.marks(labels, watch.found) == [True] * 4
