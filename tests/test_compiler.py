import platform

import jax
import jax.numpy as jnp
import pytest

from gtp_jax.parallel import compiler


class Device:
    def __init__(self, platform):
        self.platform = platform


OPTIONS = (compiler.update_options, compiler.acting_options)


@pytest.mark.parametrize("options", OPTIONS)
def test_only_x86_processors_are_told_anything(options, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert options(Device("cpu")) and not options(Device("gpu"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not options(Device("cpu"))


@pytest.mark.parametrize("options", OPTIONS)
def test_this_version_of_jax_knows_the_options(options):
    """An unknown option is refused by XLA; the programs are told them wherever the tests run."""
    lowered = jax.jit(jnp.sin).lower(1.0)
    lowered.compile(options(jax.devices()[0]))
    with pytest.raises(Exception, match="no_such_option"):
        lowered.compile({"no_such_option": 1})
