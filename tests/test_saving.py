"""A run's rows and checkpoints where writes fail, and checkpoints of another run."""

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from oracles import settings_with
from runs import run_info
from toy import full_disk

from gtp_jax.runs import loggers, metrics
from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.loggers import MetricsLog
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows
from gtp_jax.training.saving import Saving

STATE = Saved({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, (), {"step": np.zeros(2, np.int32)})
INFO = run_info()
LABELS = [{"seed": 0}, {"seed": 1}]


def losses(step):
    return {"loss": np.array([step, step + 0.5])}


def rows(step):
    return to_rows(step, LABELS, losses(step))


class Run:
    """A `Saving` and what it logged."""

    def __init__(self, directory):
        self.said = []
        metrics = MetricsLog(directory, LABELS, settings_with())
        self.saving = Saving(directory, metrics, self.said.append)
        self.directory = directory

    def go(self, step):
        self.saving.write(step, losses(step))
        self.saving.save(step, STATE, INFO)

    def written(self):
        return sorted({row["step"] for row in read_rows(self.directory / "metrics.jsonl")})


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_rows_wait_for_the_disk_and_checkpoints_for_the_rows(run, monkeypatch):
    """Or a run that went on from such a checkpoint would lack them; in the end the file is that of a whole run."""
    run.go(10)
    with monkeypatch.context() as patch:
        patch.setattr(loggers, "append_rows", full_disk)
        run.go(20)
        run.go(30)
        assert not run.saving.holds(30)
    assert run.written() == [10]
    cause, end = run.said  # the same cause is logged once
    assert f"{run.directory} cannot be written" in cause and "No space left on device" in cause
    assert "the state after 30 updates is not saved" in end and "resumes after 10" in end
    run.go(40)
    assert run.saving.holds(40) and len(run.said) == 2
    expected = "".join(json.dumps(row) + "\n" for step in (10, 20, 30, 40) for row in rows(step))
    assert (run.directory / "metrics.jsonl").read_text() == expected


def test_a_row_that_lacks_at_the_end_is_no_finished_run(run, monkeypatch):
    """Its checkpoint is saved before the evaluation, and the next start knows what the row needs beside the scores."""
    run.go(10)
    waiting = INFO._replace(unwritten={"loss": [20.0, 20.5]})
    run.saving.save(20, STATE, waiting)
    with monkeypatch.context() as patch:
        patch.setattr(loggers, "append_rows", full_disk)
        run.saving.write(20, losses(20))
        assert not run.saving.holds(20)
    assert "a row after 20 updates is not saved" in run.said[-1]
    append_rows(run.directory / "metrics.jsonl", rows(20)[:1])  # of one trial only
    again = Run(run.directory)
    assert again.saving.restore(STATE, INFO)[:2] == (20, waiting) and again.written() == [10]
    again.saving.write(20, losses(20))
    assert again.saving.holds(20) and Run(run.directory).saving.restore(STATE, INFO)[1] == INFO


def test_what_repeats_the_rows_ends_nothing(run, monkeypatch):
    """The table, the pictures: made again at the next evaluation."""
    run.go(10)
    drawn = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        run.saving.publish(drawn.append)
    assert "cannot be written" in run.said[0] and not drawn
    run.saving.publish(drawn.append)
    assert drawn == [rows(10)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        run.saving.close()


def test_a_disk_that_takes_half_a_row_keeps_none_of_it(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    append_rows(path, rows(10))
    before = path.read_bytes()

    class HalfFull(io.FileIO):
        def write(self, data):
            return super().write(data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", lambda path, mode, buffering: HalfFull(path, mode), raising=False)
        with pytest.raises(OSError, match="No space left on device: .*metrics.jsonl"):
            append_rows(path, rows(20))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["mkdir", "rename"])
def test_a_failed_save_is_another_attempt_at_the_next(run, monkeypatch, name):
    """Whether it fails before it begins or in the background."""
    run.go(10)
    assert run.saving.holds(10)
    with monkeypatch.context() as patch:
        for owner in (os, Path):
            patch.setattr(owner, name, full_disk)
        run.go(20)
        assert not run.saving.holds(20)
    assert "checkpoints/20 could not be saved" in run.said[0] and "No space left on device" in run.said[0]
    run.go(30)
    assert run.saving.holds(30) and len(run.said) == 2
    assert Run(run.directory).saving.restore(STATE, INFO)[0] == 30


def saved(directory, *steps):
    run = Run(directory)
    for step in steps:
        run.go(step)
    assert run.saving.holds(steps[-1])
    return Run(directory)


def test_a_save_that_fails_in_the_background_is_said_once(run, monkeypatch):
    monkeypatch.setattr(Checkpoints, "save", lambda *_: None)  # which begins, and fails before it ends
    monkeypatch.setattr(Checkpoints, "wait", full_disk)
    for step in (1, 2, 3):
        run.saving.save(step, STATE, INFO)
    assert len(run.said) == 1 and "No space left" in run.said[0]


def test_closing_waits_for_the_last_save(run):
    """As the end of a run by an error does; half a step is none."""
    run.go(10)
    run.saving.close()
    assert [path.name for path in (run.directory / "checkpoints").iterdir()] == ["10"]


def test_rows_past_the_restored_step_are_dropped(run):
    saved(run.directory, 10, 20)
    run.saving.write(30, losses(30))
    step, info, state = run.saving.restore(STATE, INFO)
    assert (step, info) == (20, INFO) and run.written() == [10, 20]
    np.testing.assert_array_equal(state.policy["w"], STATE.policy["w"])


def test_damaged_steps_are_named_and_set_aside(run):
    saved(run.directory, 10, 20)
    folder = run.directory / "checkpoints"
    (folder / "20" / "digest" / "metadata").unlink()
    (folder / "25").mkdir()
    assert run.saving.restore(STATE, INFO)[0] == 10
    assert run.written() == [10]
    assert [path.name for path in sorted(folder.iterdir())] == ["10", "damaged-20-1", "damaged-25-1"]
    assert all(name in "\n".join(run.said) for name in ("checkpoints/25", "checkpoints/20", "damaged-20-1"))
    run.go(15)  # lower than what was there
    assert run.saving.holds(15)
    run.go(20)
    assert run.saving.holds(20)


def test_without_a_sound_step_training_starts_again(run):
    saved(run.directory, 10)
    (run.directory / "checkpoints" / "10" / "digest" / "metadata").write_text("{}")
    assert run.saving.restore(STATE, INFO) is None
    assert run.said[-1] == "no sound checkpoint is left: training starts again" and run.written() == []


def test_another_run_is_refused_with_every_difference(run):
    """Where config.json was lost, too; nothing is touched."""
    saved(run.directory, 10)
    run.saving.write(20, losses(20))
    with pytest.raises(ValueError, match="holds checkpoints of another run; choose another directory") as refused:
        other = run_info({"guidance.eta": 0.5, "log.tensorboard": True}, fingerprint="bb", environment="Hopper-v5")
        run.saving.restore(STATE, other)
    assert "guidance.eta: 1.0 there, 0.5 now" in str(refused.value) and "tensorboard" not in str(refused.value)
    assert "dataset: 'gtp/antmaze/umaze-v0 of content aa' there, '" in str(refused.value)
    assert run.written() == [10, 20] and "environment" not in str(refused.value)  # of a run that named none


@pytest.mark.parametrize(
    ("there", "now"), [("Hopper-v5, return", "Hopper-v5, success rate, %"), (None, "a"), ("a", None)]
)
def test_scores_of_two_environments_are_not_mixed(run, there, now):
    run.saving.save(10, STATE, INFO._replace(environment=there))
    run.saving.wait()
    refusal = pytest.raises(ValueError, match="environment: 'Hopper-v5, return' there, 'Hopper-v5, succ.*' now")
    with refusal if there and now else contextlib.nullcontext():
        assert run.saving.restore(STATE, INFO._replace(environment=now))[0] == 10


def test_other_versions_are_logged_in_one_line(run):
    saved(run.directory, 10)
    assert run.saving.restore(STATE, run_info(versions={"jax": "1", "numpy": "3"}))[0] == 10
    (line,) = run.said
    assert "last bits may differ: numpy: '2' there, '3' now" in line and "jax" not in line
