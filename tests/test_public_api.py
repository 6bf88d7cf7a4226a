"""What other codebases rely on: the public names, and that importing them costs nothing heavy."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gtp_jax
import gtp_jax.losses as losses
from gtp_jax import policies, types

ROOT = Path(__file__).parents[1]

LOSSES = """
    Chain LINEAR Path Schedule Times TrajectoryLosses VARIANCE_EXPLODING Velocity adjacent_times advantage_weights
    anchor_loss angular_times balanced_weight consistency_loss curriculum denoising_loss dyadic_times edm_velocity
    edm_weight effective_sample_share expectile_loss exponential_weights field_loss filter_weights follow jump
    log_normal_times mean_flow_loss moving_filter_weights negative_log_likelihood noise_prediction_loss
    normalised_q_loss ordered_times renoising_sampler self_consistency_loss soft_consistency_loss td_loss
    trajectory_losses unnormalised_weights variance_preserving_chain
"""


def test_public_names_are_pinned():
    """A name that goes away breaks somebody's code: the changelog must say so."""
    assert sorted(losses.__all__) == sorted(LOSSES.split()) and all(hasattr(losses, name) for name in losses.__all__)


def test_every_public_name_is_documented():
    """In its docstring, and on the reference page: by name, or with the whole module that it lies in."""
    page = (ROOT / "docs" / "reference" / "losses.md").read_text()
    for name in losses.__all__:
        home = getattr(getattr(losses, name), "__module__", "gtp_jax.flow.paths")  # the paths themselves have none
        assert re.search(rf"\b{name}\b", page) or re.search(rf"^::: {re.escape(home)}$", page, re.MULTILINE), name
        described = inspect.getdoc(getattr(losses, name))
        assert described, name
        if name.endswith(("_loss", "_losses", "_weights")):  # the source and the shapes
            shapes = ("[*B]", "[B]", "any shape", "as in `")
            assert "arXiv" in described and any(words in described for words in shapes), name


def test_every_member_has_its_loss_among_them():
    """A policy class's own loss is public: the name of a function of its file, or of flow/map.py for the field's."""
    shared = {"flow_matching": "field_loss", "diffusion": "denoising_loss"}
    for member in policies.FAMILY.names():
        module = importlib.import_module(f"gtp_jax.policies.{member}")
        own = [name for name in losses.__all__ if getattr(getattr(losses, name), "__module__", "") == module.__name__]
        assert shared.get(member) in losses.__all__ or any(
            name.endswith(("_loss", "_losses", "_likelihood")) for name in own
        )


def test_losses_holds_no_code():
    kinds = ast.ImportFrom | ast.Expr | ast.Assign | ast.AugAssign  # imports, the docstring, __all__
    assert all(isinstance(node, kinds) for node in ast.parse(inspect.getsource(losses)).body)


def type_errors(folder, *paths):
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--level", "error"]
    return subprocess.run([*command, *map(str, paths)], cwd=folder, text=True, capture_output=True).stdout


def test_types_are_right(tmp_path):
    """Of a client of the losses; a wrong one is found. (.ci/run checks the package itself.)"""
    client = """
import jax
import jax.numpy as jnp

from gtp_jax import losses


def velocity(x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    return x


x = jnp.zeros((4, 2))
loss: jax.Array = losses.field_loss(velocity, losses.LINEAR, x, x, jnp.ones(4))
times: losses.Times = losses.adjacent_times(jax.random.key(0), (4,), losses.Schedule(), 80)
terms: losses.TrajectoryLosses = losses.trajectory_losses(velocity, lambda x, t, s: x, x, x, times)
total: jax.Array = terms.consistency + losses.advantage_weights(loss, 0.5) * terms.flow
"""
    (tmp_path / "good.py").write_text(client)
    (tmp_path / "bad.py").write_text(client + 'losses.field_loss(losses.LINEAR, velocity, x, x, "now")\n')
    found = type_errors(ROOT, tmp_path / "good.py", tmp_path / "bad.py")
    assert "\n3 errors, 0 warnings" in found and "good.py" not in found, found


@pytest.mark.slow
def test_no_argument_of_a_protocol_can_be_deleted(tmp_path):
    """The package no longer passes the type checker then: each last argument is used, or implemented."""
    shutil.copytree(ROOT / "gtp_jax", tmp_path / "gtp_jax", ignore=shutil.ignore_patterns("*.npz", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    parts = [tmp_path / "gtp_jax" / name for name in ("types.py", "flow", "policies", "critics")]
    parts += [tmp_path / "gtp_jax" / "agent" / f"{name}.py" for name in ("update", "guidance", "networks", "hierarchy")]
    source = inspect.getsource(types)
    clean = re.compile("^0 errors", re.MULTILINE)  # not 10 of them
    assert clean.search(type_errors(tmp_path, *parts))
    for place, node in enumerate(ast.parse(source).body):
        if not isinstance(node, ast.ClassDef) or "Protocol" not in map(ast.unparse, node.bases):
            continue
        tree = ast.parse(source)
        call = next(part for part in tree.body[place].body if isinstance(part, ast.FunctionDef)).args
        if call.vararg:
            call.vararg = None
        else:
            call.posonlyargs.pop()
            call.defaults = []
        (tmp_path / "gtp_jax" / "types.py").write_text(ast.unparse(tree))
        assert not clean.search(type_errors(tmp_path, *parts)), node.name


@pytest.mark.parametrize("module", ["gtp_jax", "gtp_jax.losses", "gtp_jax.flow.map"])
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
