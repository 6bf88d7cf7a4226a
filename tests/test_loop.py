"""The training loop: what it writes and when; evaluations beside the updates, kills and signals change no bit."""

import contextlib
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import toy
from runs import differences, steps_in
from toy import UPDATES, Killed, Run

from gtp_jax.datasets import Observer
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.runs.checkpoints import Checkpoints
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training.playing import EvaluationFailed

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose evaluations are between the updates, and its summary."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    return run, run()


def saved_steps(directory):
    with contextlib.closing(Checkpoints(directory / "checkpoints", read_only=True)) as checkpoints:
        return checkpoints.steps()


def held_evaluations(monkeypatch):
    """The event that evaluations wait for."""
    go, evaluate = threading.Event(), Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", lambda *given: go.wait(60) and evaluate(*given))
    return go


def test_a_run_leaves_what_it_promises(whole):
    run, _ = whole
    files = {
        "config.json",
        "metrics.jsonl",
        "metrics.csv",
        "curves.png",
        "checkpoints",
        "episodes.json",
        "summary.json",
    }
    assert {path.name for path in run.workdir.iterdir()} == files
    assert (run.workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = read_rows(run.workdir / "metrics.jsonl")
    assert [(row["step"], row["seed"]) for row in rows] == [(s, i) for s in (5, 10, 15, 20) for i in (0, 1)]
    assert {row["step"] for row in rows if "score" in row} == {10, 20}
    assert all({"policy/loss", "critic/loss", "guidance/effective_share"} <= row.keys() for row in rows)
    assert saved_steps(run.workdir) == [10, 15, 20]  # the last two, and the best evaluated one before them


def test_the_summary_has_what_a_reader_must_know(whole):
    run, summary = whole
    assert json.loads((run.workdir / "summary.json").read_text()) == summary
    assert summary.keys() == {
        *("schema", "dataset", "fingerprint", "behaviour", "env", "algorithm", "seeds", "num_updates", "eval_episodes"),
        *("num_steps", "temperature", "matmul_precision", "score", "score_of", "diverged", "continued_from", "device"),
        *("commit", "timing", "versions"),
    }
    assert (summary["seeds"], summary["num_updates"], summary["eval_episodes"]) == ([0, 1], UPDATES, 3)
    score, timing = summary["score"], summary["timing"]
    assert score.keys() == {"per_seed", "mean", "std", "iqm", "ci95"} and len(score["per_seed"]) == 2
    assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]
    assert summary["device"]["platform"] == "cpu" and len(summary["device"]["used"]) == 1
    assert {"python", "jax", "gtp_jax"} <= summary["versions"].keys()
    assert timing["seed_updates_per_second"] == pytest.approx(2 * timing["updates_per_second"])
    assert {"compile_seconds", "wall_seconds", "finished"} <= timing.keys()
    last = [row["score"] for row in read_rows(run.workdir / "metrics.jsonl") if row["step"] == UPDATES]
    episodes = json.loads((run.workdir / "episodes.json").read_text())
    assert episodes["trials"] == [{"seed": 0}, {"seed": 1}] and episodes["success"] is None
    assert [np.mean(each) for each in episodes["score"]] == score["per_seed"] == last


def test_chunks_wait_for_their_evaluation_and_are_written_in_order(whole, tmp_path, monkeypatch):
    """An evaluation beside the updates that takes longer than they do: every file is the same, bit for bit."""
    go, saved, save = held_evaluations(monkeypatch), [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda self, step, *given: (saved.append(step), save(self, step, *given)))

    def before(step, state):
        if step == 15:
            assert steps_in(tmp_path) == [5, 5] and saved == [5, 10]
            go.set()
        return state

    run, written = Run(tmp_path, before=before, eval__overlap="always"), []
    run.training.progress = lambda step, metrics: written.append(step)
    run()
    assert written == saved == [5, 10, 15, 20]
    assert differences(tmp_path, whole[0].workdir, but=("config.json",)) == []


def resumes(directory, whole, step, **given):
    """Checks that the same run goes on after `step` and leaves the files of a whole one; returns the summary."""
    run = Run(directory, **given)
    summary = run()
    assert f"resuming after {step} of 20 updates" in run.output.getvalue()
    assert differences(directory, whole[0].workdir) == []
    return summary


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_while_chunks_wait_ends_the_same(whole, tmp_path, monkeypatch, number):
    """Killed, the chunks that wait are lost, but for the state that is evaluated; a signal leaves all written."""
    go, deadline = held_evaluations(monkeypatch), time.monotonic() + 60

    def before(step, state):
        if step == 10 and number != signal.SIGKILL:
            os.kill(os.getpid(), number)
            while f"{number.name}: stopping once all is saved" not in run.output.getvalue():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            go.set()
        if step == 15:
            go.set()
            raise Killed
        return state

    run = Run(tmp_path, before=before, eval__overlap="always")
    if number == signal.SIGKILL:
        with pytest.raises(Killed):
            run()
        assert steps_in(tmp_path) == [5, 5]
    else:
        assert run(expect=128 + number) is None and "stopped and saved" in run.output.getvalue()
        assert steps_in(tmp_path) == [5, 5, 10, 10, 15, 15]
    assert not (tmp_path / "summary.json").exists()
    resumes(tmp_path, whole, 10 if number == signal.SIGKILL else 15)


@pytest.mark.parametrize(("fails", "overlap"), [("reset", "always"), ("step", "never"), ("observe", "never")])
def test_a_failing_evaluation_loses_no_update(whole, tmp_path, monkeypatch, fails, overlap):
    """The state is saved before the first environment is stepped; the next start evaluates it, and trains on."""

    def fail(*_, **__):
        raise (SystemExit if fails == "step" else AssertionError)("no such\nactuator")

    with monkeypatch.context() as patch:
        patch.setattr(*((toy.ThreeSteps, fails) if fails != "observe" else (Observer, "__call__")), fail)
        run = Run(tmp_path, eval__overlap=overlap)
        with pytest.raises(EvaluationFailed, match=r"failed with \w+: no such actuator \(.*.py, line \d+\)"):
            run()
    assert steps_in(tmp_path) == [5, 5] and saved_steps(tmp_path) == [5, 10]
    policy, updates = run.training.policy(), []
    assert policy.step >= 10
    resumes(tmp_path, whole, 10, before=lambda step, state: (updates.append(step), state)[1])
    assert updates == [10, 15]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_run_that_ended_in_its_last_evaluation_is_only_evaluated(whole, tmp_path, monkeypatch, rows):
    """Also where the kill left the rows of some trials, or all rows and no summary."""
    evaluate = Evaluator.__call__

    def die(self, act, num_episodes):
        if num_episodes == 3 and rows < 2:
            raise Killed
        return evaluate(self, act, num_episodes)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", die)
        run = Run(tmp_path)
        patch.setattr(run.training.results, "write", lambda *_: None)
        with contextlib.nullcontext() if rows == 2 else pytest.raises(EvaluationFailed, match="Killed"):
            run()
    if rows == 1:
        path = tmp_path / "metrics.jsonl"
        path.write_text(path.read_text() + json.dumps({"step": UPDATES, "seed": 0}) + "\n")
    summary = resumes(tmp_path, whole, UPDATES, before=lambda step, state: pytest.fail("an update"))
    assert summary["timing"]["updates_per_second"] is None


def test_an_environment_that_cannot_be_made_is_refused_before_any_update(tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluator, "prepare", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="toy cannot be made .ZeroDivisionError: division by zero.; mend it, or train"):
        Run(tmp_path)()
