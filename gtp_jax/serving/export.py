"""A trained policy as one file that works without this package: a StableHLO program, or weights in safetensors.

docs/export.md describes both and how they are read.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent import build, hierarchy
from gtp_jax.config.settings import uses_labels
from gtp_jax.runs import provenance
from gtp_jax.serving.policy import LoadedPolicy, load_policy
from gtp_jax.types import Array

FORMAT = 5  # of the weights' metadata
PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIXES = (".stablehlo", ".safetensors")


def program(
    policy: LoadedPolicy, *, num_steps: int | None = None, temperature: float | None = None, trial: int = 0
) -> jax.export.Exported:
    """A trial's policy as one program: transform, statistics, sampler, bounds; K and temperature are fixed in it.

    It maps (obs, key) to actions [B, A], for any B, on each of PLATFORMS. `obs` is float32: [B, O], or a dict of such
    arrays as the environment gives them; `key` is uint32 [2], the data of a JAX key. Arguments and errors as in
    `LoadedPolicy.__call__`.
    """
    params = jax.tree.map(np.asarray, policy.params_of(trial))

    def act(obs: Any, data: Array) -> Array:
        key = jax.random.wrap_key_data(data, impl="threefry2x32")
        return policy.act(params, key, obs, num_steps, temperature)

    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.tree.map(lambda size: jax.ShapeDtypeStruct((batch, size), jnp.float32), policy.observe.sizes())
    return jax.export.export(jax.jit(act), platforms=PLATFORMS)(obs, jax.ShapeDtypeStruct((2,), jnp.uint32))


def weights(policy: LoadedPolicy, *, trial: int = 0) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A trial's averaged parameters by name, `params/Dense_0/kernel`, and, as JSON, all else that acting needs."""
    leaves, settings, levels = jax.tree.leaves_with_path(policy.params_of(trial)), policy.settings, None
    if settings.policy.subgoal_steps and policy.info.layout:
        layout = policy.info.layout.to_json()
        levels = {"unit": hierarchy.UNIT, "farthest": hierarchy.FARTHEST, **{n: layout[n] for n in ("body", "heading")}}
    metadata = {
        "format": FORMAT,
        "policy": settings.to_json()["policy"],
        "time_scale": build.time_scale(settings.policy.name),
        "observer": policy.observe.spec(),
        "hierarchy": levels,
        "label": 1.0 if uses_labels(settings) else None,
        "action_low": policy.action_low,
        "action_high": policy.action_high,
        "dataset": settings.dataset,
        "updates": policy.step,
        "trial": policy.trials[trial].label(),
        "versions": provenance.versions(),
    }
    arrays = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    return arrays, {"gtp_jax": json.dumps(files.plain(metadata))}


def export(
    directory: str | Path,
    out: str | Path,
    *,
    num_steps: int | None = None,
    temperature: float | None = None,
    trial: int = 0,
) -> Path:
    """Writes the policy of a run's last checkpoint to the file `out`, whose suffix is one of SUFFIXES; returns `out`.

    The other arguments are those of `program`.

    Raises:
      ValueError: for another suffix, an impossible argument, or a package that is missing.
      FileNotFoundError: where there is no checkpoint, or no folder to write to.
    """
    out = files.user_path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out}: the suffix must say what to write, {' or '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}")
    files.check_output(out)
    if out.suffix == ".safetensors":
        if num_steps is not None or temperature is not None:
            raise ValueError(f"{out}: weights have no num_steps and no temperature; whoever reads them chooses")
        data = _package("safetensors.numpy").save(*weights(load_policy(directory), trial=trial))
    else:
        _package("flatbuffers")
        data = program(load_policy(directory), num_steps=num_steps, temperature=temperature, trial=trial).serialize()
    with files.replacing(out) as file:
        file.write(data)
    return out


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ValueError(f"this needs the package {package}: pip install 'gtp_jax[export]'") from None
