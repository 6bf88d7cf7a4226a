"""One run over two processes: the files of one, and what is left when one process is lost."""

import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from runs import Runner, final_arrays, summary_of, wait_until_step

from gtp_jax.parallel import hosts
from gtp_jax.runs.metrics import read_rows


@pytest.fixture(scope="module")
def pair(runner):
    """Starts runs of two processes, beside the session's runs; returns the directory and the processes."""
    started = Runner(runner.folder)
    started.env["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = "gloo"

    def start(name):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        directory = started.folder / name
        words = [f"--distributed={address},2,{index}" for index in (0, 1)]
        return directory, [started.start(f"--workdir={directory}", word) for word in words]

    return start


def assert_same_rows(directory, other):
    """The same rows, close and not bit for bit: two seeds on one device are another program than one on each of two."""
    assert summary_of(directory)["seeds"] == [0, 1]
    rows, expected = (read_rows(path / "metrics.jsonl") for path in (directory, other))
    assert [(row["step"], row["seed"]) for row in rows] == [(row["step"], row["seed"]) for row in expected]
    for row, other_row in zip(rows, expected, strict=True):
        assert row["policy/loss"] == pytest.approx(other_row["policy/loss"], rel=1e-3)


@pytest.mark.slow
def test_losing_one_of_two_processes(runner, pair, whole):
    """The survivor prints what happened and exits 75; one process alone then finishes, no row lost and none twice."""
    directory, (first, second) = pair("lost")
    wait_until_step(first, directory, 35, checkpoint=25)
    second.kill()
    output = first.communicate(timeout=120)[0]
    assert first.returncode == hosts.LOST, output
    assert "failed or was lost" in output and str(directory) in output, output
    second.communicate()
    assert not (directory / "summary.json").exists()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}")
    assert_same_rows(directory, whole[0])


@pytest.mark.slow
def test_losing_the_first_process(runner, pair):
    """The runtime ends the other one, or that one prints why it ends: it does not hang, and what was saved is there."""
    directory, (first, second) = pair("headless")
    wait_until_step(first, directory, 35, checkpoint=25)
    first.kill()
    output = second.communicate(timeout=150)[0]
    assert second.returncode in (-signal.SIGABRT, hosts.LOST), output
    first.communicate()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}")


@pytest.mark.slow
def test_two_processes_make_one_run(pair, whole):
    directory, children = pair("both")
    outputs = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert "95 % interval" in outputs[0] and "95 % interval" not in outputs[1]
    assert_same_rows(directory, whole[0])
    one, two = ({name: leaf.shape for name, leaf in final_arrays(path).items()} for path in (directory, whole[0]))
    assert one == two
    assert {path.name for path in directory.iterdir()} == {path.name for path in whole[0].iterdir()}


@pytest.mark.parametrize("spec", ["here", "h:1,2", "h:1,2,2", "h:1,two,0", "h,2,0"])
def test_a_wrong_address_is_an_error(spec):
    with pytest.raises(ValueError, match="--distributed=" + spec):
        hosts.start(spec)


def test_one_process_needs_no_others():
    tree = {"a": np.arange(3), "none": None}
    assert hosts.gather(tree) is tree
    assert hosts.share(range(5)) == slice(0, 5) and hosts.agree(7) == 7 and hosts.first()


def test_two_processes_gather_every_bit_and_share_the_trials(monkeypatch):
    """Simulated: the other process holds the same numbers, negated."""
    from jax.experimental import multihost_utils

    tree = {"a": np.array([[1, 2**40]]), "b": np.array([0.1], np.float32), "c": np.array([True])}
    other = {"a": -tree["a"], "b": -tree["b"], "c": ~tree["c"]}
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr("jax.process_index", lambda: 1)

    def gather(message):
        theirs = np.concatenate([np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in other.values()])
        return np.stack([message, theirs])

    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    for name, leaf in hosts.gather(tree).items():
        np.testing.assert_array_equal(leaf, np.concatenate([tree[name], other[name]]), strict=True)
    assert hosts.share(range(6)) == slice(3, 6) and not hosts.first()
    with pytest.raises(ValueError, match="5 trials .* do not divide among 2 processes"):
        hosts.share(range(5))
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda message: 1 / 0)
    with pytest.raises(hosts.LostProcess, match="division"):
        hosts.gather(tree)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("JAX_PLATFORMS", "cuda", "JAX finds no device of JAX_PLATFORMS='cuda'"),
        ("JAX_PLATFORMS", "nonsense", "JAX finds no device of JAX_PLATFORMS='nonsense'"),
        ("JAX_PLATFORM_NAME", "cuda", "JAX finds no device of JAX_PLATFORM_NAME='cuda'"),
        ("JAX_ENABLE_X64", "maybe", "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
        ("XLA_FLAGS", "--xla_no", "XLA_FLAGS='--xla_no' cannot be used: Unknown flag in XLA_FLAGS: --xla_no"),
    ],
)
def test_what_jax_does_not_know_is_named_in_one_line(name, value, says):
    command = [sys.executable, "-c", "from gtp_jax.parallel import hosts; hosts.check_devices()"]
    child = subprocess.run(
        command, env={**os.environ, "JAX_PLATFORMS": "", name: value}, capture_output=True, text=True
    )
    assert child.stderr.splitlines()[-1].startswith(f"ValueError: {says}")


@pytest.mark.parametrize("cache", ["/dev/null/x", "~nosuchuser/x", "a\nb"])
def test_a_cache_that_cannot_be_written_is_left_out(monkeypatch, cache):
    said, before = [], jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    try:
        jax.config.update("jax_compilation_cache_dir", cache)
        hosts.check_devices(said.append)
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert len(said) == 1 and said[0].startswith("warning: compiled programs are not kept: ")
