"""What a run survives, end to end: kills at any moment, a full disk, a damaged checkpoint, a second process."""

import os
import resource
import signal
import time

import numpy as np
import pytest
import toy
from runs import benchmark, differences, steps_in, wait_until_step

from gtp_jax.runs.checkpoints import Checkpoints, FailedSave
from gtp_jax.runs.directory import UNSAVED
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training.playing import EvaluationFailed


@pytest.mark.slow
def test_five_kills_leave_no_trace(whole, runner, tmp_path, monkeypatch):
    """In the collection, before the first checkpoint, in a save, with rows past a checkpoint, among the last files.

    Evaluations run beside the updates: that order on the disk is the harder one to keep.
    """
    soak, directory, data = benchmark("trust/soak"), runner.folder / "kills", tmp_path / "minari"
    monkeypatch.setitem(runner.env, "MINARI_DATASETS_PATH", str(data))
    at = lambda phase: lambda since: soak.phase(directory, data, since) == phase
    row = lambda step: lambda since: max(steps_in(directory), default=0) >= step
    for reached in (at(soak.COLLECTING), row(10), at(soak.WRITING), row(35), at(soak.ENDING)):
        since, child = time.time(), runner.start(f"--workdir={directory}", **{"eval.overlap": "always"})
        while not reached(since):
            assert child.poll() is None, child.communicate()[0]
            time.sleep(0.002)
        child.kill()
        output = child.communicate()[0]
        assert child.returncode == -signal.SIGKILL, output
    runner(f"--workdir={directory}", **{"eval.overlap": "always"})
    assert differences(directory, whole[0], but=("config.json",)) == []


@pytest.mark.slow
def test_a_full_disk_loses_nothing(whole, runner):
    """No byte can be written after update 25; then there is room, but the newest checkpoint is damaged.

    A limit on the size of files is a full disk that root meets, too.
    """
    damages, directory = benchmark("trust/damages"), runner.folder / "full"
    child = runner.start(f"--workdir={directory}")
    wait_until_step(child, directory, 25, checkpoint=25)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    second = runner(f"--workdir={directory}", expect=2)
    assert f"error: {directory} is in use by another process" in second
    output = child.communicate(timeout=200)[0]
    assert child.returncode == UNSAVED, output
    assert f"error: {directory} cannot be written: " in output and "Traceback" not in output
    assert "the state after 60 updates is not saved" in output and "after 25" in output
    assert "60 updates  score" in output  # the training went on
    assert max(steps_in(directory)) < 40 and not (directory / "summary.json").exists()
    (directory / "episodes.json").mkdir()  # as good as no permission to write it
    damages.damage("flip a bit of an array", directory / "checkpoints" / "25", np.random.default_rng(0))
    output = runner(f"--workdir={directory}", expect=UNSAVED)
    assert all(text in output for text in ("damaged checkpoint", "checkpoints/25", "resuming after 20 of 60 updates"))
    assert "error: [Errno 21] Is a directory" in output and "Traceback" not in output
    (directory / "episodes.json").rmdir()
    assert "resuming after 60 of 60 updates" in runner(f"--workdir={directory}")
    assert differences(directory, whole[0]) == []
    assert "checkpoints/25" in (directory / "run.log").read_text()


def test_a_checkpoint_follows_its_rows_and_holds_those_that_wait_for_scores(tmp_path, monkeypatch):
    """Also where they come late, since the evaluation runs beside the updates; the scores before it are known."""
    save, found, known = Checkpoints.save, {}, {}

    def watch(self, step, saved, info):
        found[step] = max(steps_in(tmp_path), default=0), info.unwritten
        known[step] = dict(self.scores)
        save(self, step, saved, info)

    monkeypatch.setattr(Checkpoints, "save", watch)
    toy.Run(tmp_path, eval__overlap="always")()
    rows = read_rows(tmp_path / "metrics.jsonl")
    of = lambda step, name: [row[name] for row in rows if row["step"] == step]
    names = set(rows[0]) - {"step", "seed"}
    assert found == {
        step: (step - 5, {name: of(step, name) for name in names}) if step in (10, 20) else (step, None)
        for step in (5, 10, 15, 20)
    }
    assert known == {5: {}, 10: {}, 15: {10: np.mean(of(10, "score"))}, 20: {10: np.mean(of(10, "score"))}}


def test_a_signal_saves_where_no_checkpoint_is_due(tmp_path):
    def before(step, state):
        if step == 10:
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 10
            while "SIGTERM: stopping" not in run.output.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        return state

    rarely = {"checkpoint_every": toy.UPDATES, "eval__every": toy.UPDATES}
    run = toy.Run(tmp_path, before=before, **rarely)
    assert run.training.run() == (None, 143)
    run.training.close()
    assert max(steps_in(tmp_path)) == 15
    again = toy.Run(tmp_path, **rarely)
    again()
    assert "resuming after 15 of 20 updates" in again.output.getvalue()


@pytest.mark.parametrize("has_directory", [True, False])
def test_a_failing_environment_costs_no_training(tmp_path, monkeypatch, has_directory):
    """From Python the trained policy is in the error; a directory has it too, and the same call evaluates again."""
    directory = tmp_path / "run" if has_directory else None
    with monkeypatch.context() as patch:
        patch.setattr(toy.ThreeSteps, "step", lambda *_: 1 / 0)
        with pytest.raises(EvaluationFailed, match="failed with ZeroDivisionError: division by zero") as failed:
            toy.train(directory)
    assert failed.value.policy.step == 10 and failed.value.policy(np.zeros(3)).shape == (2,)
    if directory:
        again = f"the same command evaluates again: --workdir={directory}"
        assert again in (directory / "run.log").read_text().splitlines()[-1]
        assert toy.train(directory).policy.step == toy.UPDATES


def test_a_run_whose_last_state_is_not_saved_is_not_finished(tmp_path, monkeypatch):
    """Though everything else could be written: there must be no summary of parameters that are nowhere."""

    def refuse_the_last(self, step, *saved, save=Checkpoints.save):
        if step == toy.UPDATES:
            raise FailedSave(f"{step} could not be saved: No space left on device")
        save(self, step, *saved)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", refuse_the_last)
        run = toy.Run(tmp_path)
        assert run.training.run() == (None, UNSAVED)
        run.training.close()
    printed = run.output.getvalue()
    assert f"the state after {toy.UPDATES} updates is not saved" in printed and printed.count("No space left") == 1
    assert not (tmp_path / "summary.json").exists()
    toy.Run(tmp_path)()
    assert (tmp_path / "summary.json").exists()
