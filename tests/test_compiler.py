import platform
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from gtp_jax.parallel import compiler


@pytest.mark.parametrize("options", [compiler.update_options, compiler.acting_options])
def test_options_are_for_x86_cpus_and_known_to_this_version_of_jax(options, monkeypatch):
    """XLA raises for an unknown option."""
    lowered = jax.jit(jnp.sin).lower(1.0)
    lowered.compile(options(jax.devices()[0]))
    with pytest.raises(Exception, match="no_such_option"):
        lowered.compile({"no_such_option": 1})
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert options(SimpleNamespace(platform="cpu")) and not options(SimpleNamespace(platform="gpu"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not options(SimpleNamespace(platform="cpu"))
