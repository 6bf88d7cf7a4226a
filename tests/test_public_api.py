"""What other codebases rely on: the public names, and that importing them costs nothing heavy."""

import ast
import inspect
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gtp_jax
import gtp_jax.losses as losses

NAMES = {
    "Schedule",
    "Times",
    "TrajectoryLosses",
    "adjacent_times",
    "advantage_weights",
    "consistency_loss",
    "curriculum",
    "edm_velocity",
    "expectile_loss",
    "field_loss",
    "mean_flow_loss",
    "self_consistency_loss",
    "soft_consistency_loss",
    "td_loss",
    "trajectory_losses",
}


def test_the_names_of_losses_are_pinned():
    """A name that goes away breaks somebody's code: the changelog must say so."""
    assert {name for name in vars(losses) if not name.startswith("_")} == NAMES


def test_every_public_name_is_documented():
    for name in NAMES:
        assert inspect.getdoc(getattr(losses, name)), name


def test_losses_holds_no_code():
    body = ast.parse(inspect.getsource(losses)).body
    assert all(isinstance(node, ast.ImportFrom | ast.Expr) for node in body)


@pytest.mark.parametrize("module", ["gtp_jax", "gtp_jax.losses", "gtp_jax.flow_map"])
def test_importing_loads_nothing_heavy(module):
    """Neither networks nor optimisers, environments, data sets, checkpoints or pictures; and no device is touched."""
    heavy = "flax optax orbax minari gymnasium gymnasium_robotics mujoco h5py matplotlib scipy rich ml_collections"
    program = textwrap.dedent(f"""
        import sys, {module}
        print(sorted(set("{heavy}".split()) & set(sys.modules)))
        if "jax" in sys.modules:
            from jax._src import xla_bridge
            print(xla_bridge.backends_are_initialized())
        else:
            print(False)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_lazy_names_of_the_package():
    assert gtp_jax.losses is losses
    assert callable(gtp_jax.load_policy)
    assert gtp_jax.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gtp_jax.nothing


def test_the_example_of_the_docstring_trains():
    """The text of the module's docstring, run as it stands around a network in plain JAX."""
    example = losses.__doc__.split("\n\n", 1)[1]

    def my_network(params, obs, x, t, s):
        return jnp.concatenate([obs, x, t[:, None], s[:, None]], axis=-1) @ params

    scope = {"my_network": my_network}
    exec(example, scope)
    obs, action = (np.random.default_rng(i).normal(size=(64, 3)).astype(np.float32) for i in range(2))

    @jax.jit
    def step(params, key):
        value, gradient = jax.value_and_grad(scope["loss"])(params, key, obs, action)
        return params - 1e-3 * jnp.clip(gradient, -1, 1), value

    params, values = jnp.zeros((8, 3)), []
    for i in range(200):
        params, value = step(params, jax.random.key(i))
        values.append(value)
    assert np.mean(values[-20:]) < np.mean(values[:20])
