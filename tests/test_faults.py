"""What a run survives, end to end: kills at any moment, a full disk, a damaged checkpoint, a second process."""

import resource

from runs import benchmark, differences, steps_in, wait_until_step

from gtp_jax.workdir import UNSAVED

OVERLAP = {"eval.overlap": "always"}
soak, damages = benchmark("soak"), benchmark("damages")


def test_five_kills_leave_no_trace(whole, runner, tmp_path, monkeypatch):
    """At random moments from the collection to the last files, as benchmarks/soak.py does a hundred times.

    With evaluations beside the updates, whose order on the disk is the harder one to keep.
    """
    monkeypatch.setitem(runner.env, "MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    directory, kills = soak.killed_run(runner, "soak", seed=0, first=0, most=5, whole=5.0, **OVERLAP)
    assert len(kills) == 5
    assert differences(directory, whole[0], but=("config.json",)) == []


def test_a_full_disk_loses_nothing(whole, runner):
    """No byte can be written after update 25: the run goes on to its end, says what is missing, exits not with 0.

    Then there is room again, and the newest checkpoint turns out damaged: the same command still ends like a run that
    nothing befell. A limit on the size of files is a full disk that root meets, too.
    """
    directory = runner.folder / "full"
    child = runner.start(f"--workdir={directory}")
    wait_until_step(child, directory, 25, checkpoint=25)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    second = runner(f"--workdir={directory}", expect=2)
    assert f"error: {directory} is in use by another process" in second
    output = child.communicate(timeout=200)[0]
    assert child.returncode == UNSAVED, output
    assert "metrics.jsonl cannot be written" in output and "Traceback" not in output
    assert "the state after 60 updates is not saved" in output and "goes on after 25" in output
    assert "60 updates  score" in output  # the training went on
    assert max(steps_in(directory)) < 40 and not (directory / "summary.json").exists()

    (directory / "episodes.json").mkdir()  # as good as no permission to write it
    damages.flip_a_bit_of_an_array(directory / "checkpoints" / "25", damages.np.random.default_rng(0))
    output = runner(f"--workdir={directory}", expect=UNSAVED)
    assert "passing over a damaged checkpoint" in output and "checkpoints/25" in output
    assert "resuming after 20 of 60 updates" in output
    assert "error: [Errno 21] Is a directory" in output and "Traceback" not in output
    assert not (directory / "summary.json").exists()
    (directory / "episodes.json").rmdir()
    assert "resuming after 60 of 60 updates" in runner(f"--workdir={directory}")
    assert differences(directory, whole[0]) == []
    assert "checkpoints/25" in (directory / "run.log").read_text()


def test_a_directory_that_cannot_be_made_ends_early(runner, tmp_path):
    (tmp_path / "file").write_text("")
    output = runner(f"--workdir={tmp_path / 'file' / 'run'}", expect=2)
    assert output == f"error: [Errno 20] Not a directory: '{tmp_path / 'file' / 'run'}'\n"
