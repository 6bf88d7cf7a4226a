"""Every test sees two CPU devices and no silent broadcasting between arrays of different rank."""

import jax
import pytest

# Before anything asks for a device: the count is fixed when the backend starts.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield
