"""Every test sees two CPU devices and no silent broadcasting between arrays of different rank."""

import fcntl
import os
import tempfile
from unittest import mock

import jax
import pytest
from runs import Runner
from toy import Untrained

from gtp_jax import commands
from gtp_jax.envs import video

# Before anything asks for a device: the count is fixed when the backend starts.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Lets this process compile each program once; workers share no cache, since JAX locks no file."""
    starts_workers = config.getoption("numprocesses", 0) and not hasattr(config, "workerinput")
    if jax.config.jax_compilation_cache_dir or starts_workers:
        return
    folder = tempfile.TemporaryDirectory(prefix="gtp_jax-tests-")
    config.add_cleanup(folder.cleanup)
    for name, value in {
        "jax_compilation_cache_dir": folder.name,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the commands that tests start


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs of one module that take longer to compile than to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    """Starts experiments/run.py; its runs share data and compiled programs, also between the tests' workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"
    folder.mkdir(exist_ok=True)
    return Runner(folder)


@pytest.fixture(scope="session")
def whole(runner):
    """An uninterrupted run, from nothing, that tests leave as it is: its directory and what it printed."""
    directory, printed = runner.folder / "whole", runner.folder / "whole.txt"
    with open(runner.folder / "whole.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(runner(f"--workdir={directory}"))
    return directory, printed.read_text()


@pytest.fixture
def refused(capsys):
    """Runs a command line that is refused, as promised with exit code 2 and one line, and returns that line."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            commands.main(words)
        out, error = capsys.readouterr()
        assert end.value.code == 2 and not out and error.startswith("error: ") and error.count("\n") == 1, error
        return error

    return run


@pytest.fixture
def sentinel(tmp_path):
    """A path that nothing may come to; the one who made it looks in the end."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


@pytest.fixture(scope="session")
def renders():
    """What MuJoCo says of this machine: the backend that works without a screen, or None."""
    with mock.patch.dict(os.environ):
        try:
            video.choose_backend()
            return os.environ.get("MUJOCO_GL", "")
        except ValueError:
            return None


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    """An untrained policy without a critic, of the seeds 4 and 9."""
    return Untrained(tmp_path_factory.mktemp("cloned"), (4, 9), guidance__name="none")


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """An untrained policy with a critic of actions, of the seeds 4 and 9."""
    changes = {"critic__name": "expectile", "guidance__name": "unnormalised"}
    return Untrained(tmp_path_factory.mktemp("guided"), (4, 9), **changes)
