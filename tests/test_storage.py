"""A run's rows and checkpoints on a disk that refuses, and checkpoints of another run."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from toy import full_disk

from gtp_jax.runs import loggers, metrics
from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.loggers import Metrics
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows
from gtp_jax.training.saving import Storage

STATE = Saved({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, (), {"step": np.zeros(2, np.int32)})
ABOUT = {
    "settings": {"dataset": "gtp/x-v0", "num_updates": 50, "guidance": {"eta": 1.0}},
    "fingerprint": "aa",
    "versions": {"jax": "1", "numpy": "2"},
}


LABELS = [{"seed": 0}, {"seed": 1}]


def losses(step):
    return {"loss": np.array([step, step + 0.5])}


def rows(step):
    return to_rows(step, LABELS, losses(step))


class Run:
    """A storage and what it said."""

    def __init__(self, workdir):
        self.said = []
        metrics = Metrics(workdir, LABELS, {"tensorboard": False, "wandb": ""}, {})
        self.storage = Storage(workdir, metrics, self.said.append)
        self.workdir = workdir

    def go(self, step):
        self.storage.write(step, losses(step))
        self.storage.save(step, STATE, ABOUT)

    def written(self):
        return sorted({row["step"] for row in read_rows(self.workdir / "metrics.jsonl")})


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
        assert not run.storage.holds(30)
    assert run.written() == [10]
    cause, end = run.said  # the same cause is said once
    assert "metrics.jsonl cannot be written" in cause and "No space left on device" in cause
    assert "the state after 30 updates is not saved" in end and "goes on after 10" in end
    run.go(40)
    assert run.storage.holds(40) and len(run.said) == 2
    expected = "".join(json.dumps(row) + "\n" for step in (10, 20, 30, 40) for row in rows(step))
    assert (run.workdir / "metrics.jsonl").read_text() == expected


def test_what_repeats_the_rows_ends_nothing(run, monkeypatch):
    """The table, the pictures: made again at the next evaluation."""
    run.go(10)
    drawn = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        run.storage.publish(drawn.append)
    assert "cannot be written" in run.said[0] and not drawn
    run.storage.publish(drawn.append)
    assert drawn == [rows(10)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        run.storage.close()


def test_a_disk_that_takes_half_a_row_keeps_none_of_it(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    append_rows(path, rows(10))
    before = path.read_bytes()

    class HalfFull(io.FileIO):
        def write(self, data):
            return super().write(data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", lambda path, mode, buffering: HalfFull(path, mode), raising=False)
        with pytest.raises(OSError, match="No space left"):
            append_rows(path, rows(20))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["mkdir", "rename"])
def test_a_failed_save_is_another_attempt_at_the_next(run, monkeypatch, name):
    """Whether it fails before it begins or in the background."""
    run.go(10)
    assert run.storage.holds(10)
    with monkeypatch.context() as patch:
        for owner in (os, Path):
            patch.setattr(owner, name, full_disk)
        run.go(20)
        assert not run.storage.holds(20)
    assert "checkpoints/20 could not be saved" in run.said[0] and "No space left on device" in run.said[0]
    run.go(30)
    assert run.storage.holds(30) and len(run.said) == 2
    assert Run(run.workdir).storage.restore(STATE, ABOUT)[0] == 30


def saved(workdir, *steps):
    run = Run(workdir)
    for step in steps:
        run.go(step)
    assert run.storage.holds(steps[-1])
    return Run(workdir)


def test_closing_waits_for_the_last_save(run):
    """As the end of a run by an error does; half a step is none."""
    run.go(10)
    run.storage.close()
    assert [path.name for path in (run.workdir / "checkpoints").iterdir()] == ["10"]


def test_rows_past_the_restored_step_are_dropped(run):
    saved(run.workdir, 10, 20)
    run.storage.write(30, losses(30))
    step, about, state = run.storage.restore(STATE, ABOUT)
    assert (step, about) == (20, ABOUT) and run.written() == [10, 20]
    np.testing.assert_array_equal(state.policy["w"], STATE.policy["w"])


def test_damaged_steps_are_named_and_set_aside(run):
    saved(run.workdir, 10, 20)
    folder = run.workdir / "checkpoints"
    (folder / "20" / "digest" / "metadata").unlink()
    (folder / "25").mkdir()
    assert run.storage.restore(STATE, ABOUT)[0] == 10
    assert run.written() == [10]
    assert [path.name for path in sorted(folder.iterdir())] == ["10", "damaged-20-1", "damaged-25-1"]
    assert all(name in "\n".join(run.said) for name in ("checkpoints/25", "checkpoints/20", "damaged-20-1"))
    run.go(15)  # lower than what was there
    assert run.storage.holds(15)
    run.go(20)
    assert run.storage.holds(20)


def test_without_a_sound_step_it_starts_again_and_says_so(run):
    saved(run.workdir, 10)
    (run.workdir / "checkpoints" / "10" / "digest" / "metadata").write_text("{}")
    assert run.storage.restore(STATE, ABOUT) is None
    assert run.said[-1] == "no sound checkpoint is left: training starts again" and run.written() == []


def test_another_run_is_refused_with_every_difference(run):
    """Where config.json was lost, too; nothing is touched."""
    saved(run.workdir, 10)
    run.storage.write(20, losses(20))
    other = ABOUT | {"fingerprint": "bb", "settings": ABOUT["settings"] | {"guidance": {"eta": 0.5}}}
    with pytest.raises(
        ValueError, match="guidance.eta: 1.0 there, 0.5 now.*|dataset: .*content aa.*content bb"
    ) as refused:
        run.storage.restore(STATE, other)
    assert "guidance.eta: 1.0 there, 0.5 now" in str(refused.value)
    assert "dataset: 'gtp/x-v0 of content aa' there, 'gtp/x-v0 of content bb' now" in str(refused.value)
    assert run.written() == [10, 20]


def test_other_versions_are_said_in_one_line(run):
    saved(run.workdir, 10)
    about = ABOUT | {"versions": {"jax": "1", "numpy": "3"}}
    assert run.storage.restore(STATE, about)[0] == 10
    (line,) = run.said
    assert "last bits may differ: numpy: '2' there, '3' now" in line and "jax" not in line


def test_reading_beside_a_run_finds_what_it_keeps(run):
    saved(run.workdir, 10, 20, 30)
    reader = Checkpoints(run.workdir / "checkpoints", read_only=True)
    assert reader.steps() == [20, 30]
    reader.close()
