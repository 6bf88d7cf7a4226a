import platform
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from gtp_jax.parallel import compiler


def test_operations_come_in_sequence_where_each_core_has_a_device(monkeypatch):
    """Not where a core is left; and the order of operations changes no bit."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(compiler, "cores", lambda: 3)
    cpu = SimpleNamespace(platform="cpu")
    orders = {count: compiler.update_options(cpu, count).get("xla_cpu_scheduler_type") for count in (1, 2, 3, 4)}
    assert orders[1] is orders[2] is None and orders[3] == orders[4] == compiler.acting_options(cpu).get(
        "xla_cpu_scheduler_type"
    )
    lowered, x = jax.jit(lambda x: (jnp.sin(x) @ x, jnp.cos(x) @ x)).lower(jnp.eye(40)), jnp.linspace(-1, 1, 1600)
    found = [lowered.compile(compiler.update_options(jax.devices()[0], count))(x.reshape(40, 40)) for count in (1, 3)]
    assert all((one == other).all() for one, other in zip(*found, strict=True))


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
