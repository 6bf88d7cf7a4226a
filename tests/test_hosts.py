"""One run over two processes: the files of one, and what is left when one process is lost."""

import signal
import socket

import jax
import numpy as np
import pytest
from runs import Runner, final_arrays, summary_of, wait_until_step

from gtp_jax.parallel import hosts
from gtp_jax.runs.metrics import read_rows


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    runner = Runner(tmp_path_factory.mktemp("runs"))
    runner.env["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = "gloo"
    return runner


def start_both(runner, directory, port, **changes):
    words = [f"--distributed=127.0.0.1:{port},2,{index}" for index in (0, 1)]
    return [runner.start(f"--workdir={directory}", word, **changes) for word in words]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def alone(runner):
    """The same run in one process."""
    directory = runner.folder / "alone"
    runner(f"--workdir={directory}")
    return directory


def assert_same_rows(directory, other):
    """The same rows, close and not bit for bit: two seeds on one device are another program than one on each of two."""
    assert summary_of(directory)["seeds"] == [0, 1]
    rows, expected = (read_rows(path / "metrics.jsonl") for path in (directory, other))
    assert [(row["step"], row["seed"]) for row in rows] == [(row["step"], row["seed"]) for row in expected]
    for row, other_row in zip(rows, expected, strict=True):
        assert row["policy/loss"] == pytest.approx(other_row["policy/loss"], rel=1e-3)


def test_losing_one_of_two_processes(runner, alone):
    """The survivor says what happened and exits 75; one process alone then finishes, no row lost and none twice."""
    directory = runner.folder / "lost"
    first, second = start_both(runner, directory, free_port())
    wait_until_step(first, directory, 35, checkpoint=25)
    second.kill()
    output = first.communicate(timeout=120)[0]
    assert first.returncode == hosts.LOST, output
    assert "failed or was lost" in output and str(directory) in output, output
    second.communicate()
    assert not (directory / "summary.json").exists()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}")
    assert_same_rows(directory, alone)


def test_losing_the_first_process(runner):
    """The runtime ends the other one, or that one says why it ends: it does not hang, and what was saved is there."""
    directory = runner.folder / "headless"
    first, second = start_both(runner, directory, free_port())
    wait_until_step(first, directory, 35, checkpoint=25)
    first.kill()
    output = second.communicate(timeout=150)[0]
    assert second.returncode in (-signal.SIGABRT, hosts.LOST), output
    first.communicate()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}")


def test_two_processes_make_one_run(runner, alone):
    directory = runner.folder / "both"
    children = start_both(runner, directory, free_port())
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert "95 % interval" in outputs[0] and "95 % interval" not in outputs[1]
    assert_same_rows(directory, alone)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(final_arrays(path))] for path in (directory, alone)]
    assert shapes[0] == shapes[1]
    assert {path.name for path in directory.iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.parametrize("spec", ["here", "h:1,2", "h:1,2,2", "h:1,two,0", "h,2,0"])
def test_a_wrong_address_is_refused(spec):
    with pytest.raises(ValueError, match="--distributed=" + spec):
        hosts.start(spec)


def test_one_process_needs_no_others():
    tree = {"a": np.arange(3), "none": None}
    assert hosts.gather(tree) is tree
    assert hosts.share(range(5)) == slice(0, 5) and hosts.agree(7) == 7 and hosts.first()
