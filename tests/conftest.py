"""Every test sees two CPU devices and no silent broadcasting between arrays of different rank."""

import os

import jax
import pytest
from runs import Runner

from gtp_jax.envs import video

# Before anything asks for a device: the count is fixed when the backend starts.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    """Starts experiments/run.py; its runs share data and compiled programs."""
    return Runner(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def whole(runner):
    """An uninterrupted run, from nothing, that tests leave as it is: its directory and what it printed."""
    directory = runner.folder / "whole"
    return directory, runner(f"--workdir={directory}")


@pytest.fixture
def sentinel(tmp_path):
    """A path that nothing may come to; the one who made it looks in the end."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


@pytest.fixture(scope="session")
def renders():
    """What MuJoCo says of this machine: the backend that works without a screen, or None."""
    saved = os.environ.get("MUJOCO_GL")
    try:
        video.choose_backend()
        return os.environ.get("MUJOCO_GL", "")
    except ValueError:
        return None
    finally:
        os.environ.pop("MUJOCO_GL", None)
        if saved is not None:
            os.environ["MUJOCO_GL"] = saved
