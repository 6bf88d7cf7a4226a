"""A trained policy as one file that works without this package: a StableHLO program, or weights in safetensors.

docs/export.md says what is in them and how they are read.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent import build, hierarchy
from gtp_jax.config.settings import is_told
from gtp_jax.datasets.transforms import BODY, HEADING
from gtp_jax.runs import provenance
from gtp_jax.serving.policy import LoadedPolicy, load_policy
from gtp_jax.types import Array

FORMAT = 4  # of the weights' metadata
PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIXES = (".stablehlo", ".safetensors")


def program(
    policy: LoadedPolicy, *, num_steps: int | None = None, temperature: float | None = None, seed_index: int = 0
) -> jax.export.Exported:
    """A policy's whole way from observations to actions as one program: transform, statistics, sampler, bounds.

    Args:
      policy: a loaded policy.
      num_steps: K, fixed in the program; the run's own by default.
      temperature: scale of the first draw, fixed too; the run's own by default.
      seed_index: which of the run's lanes acts.

    Returns:
      (obs, key) -> action [B, A], for any B, on each of PLATFORMS. `obs` is float32: [B, O], or a dict of such arrays
      as the environment gives them; `key` is uint32 [2], the data of a JAX key.

    Raises:
      ValueError: for an argument that means nothing.
    """
    num_steps, temperature = policy.resolve(num_steps, temperature, seed_index)
    params = jax.tree.map(np.asarray, policy.params_of(seed_index))

    def act(obs: Any, key: Array) -> Array:
        seen = policy.observe.traced(obs, jnp)
        return policy.sampling(params, jax.random.wrap_key_data(key, impl="threefry2x32"), seen, num_steps, temperature)

    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.tree.map(lambda size: jax.ShapeDtypeStruct((batch, size), jnp.float32), policy.observe.sizes())
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    return jax.export.export(jax.jit(act), platforms=PLATFORMS)(obs, key)


def weights(policy: LoadedPolicy, *, seed_index: int = 0) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A lane's averaged parameters by name, `params/Dense_0/kernel`, and what else is needed to act with them.

    Raises:
      ValueError: where there is no such lane.
    """
    policy.resolve(None, None, seed_index)
    leaves = jax.tree_util.tree_leaves_with_path(policy.params_of(seed_index))
    arrays = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    about = {
        "format": FORMAT,
        "policy": policy.settings["policy"],
        "time_scale": build.time_scale(policy.settings["policy"]["name"]),
        "observer": policy.observe.spec(),
        "subgoals": _levels(policy.settings["policy"]),
        "told": 1.0 if is_told(policy.settings) else None,
        "action_low": policy.action_low,
        "action_high": policy.action_high,
        "dataset": policy.settings["dataset"],
        "updates": policy.step,
        "lane": policy.lanes[seed_index].label(),
        "versions": provenance.versions(),
    }
    return arrays, {"gtp_jax": json.dumps(files.plain(about))}


def _levels(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if not settings["subgoal_steps"]:
        return None
    return {
        "unit": hierarchy.UNIT,
        "farthest": hierarchy.FARTHEST,
        "body": [BODY.start, BODY.stop],
        "heading": [HEADING.start, HEADING.stop] if settings["subgoal_way"] == "bearing" else None,
    }


def export(
    workdir: str | Path,
    out: str | Path,
    *,
    num_steps: int | None = None,
    temperature: float | None = None,
    seed_index: int = 0,
) -> Path:
    """Writes a run's policy, of its last checkpoint, to a file.

    Args:
      workdir: the run's directory.
      out: the file; its suffix says what is written, one of SUFFIXES.
      num_steps, temperature, seed_index: see `program`.

    Returns:
      The file.

    Raises:
      ValueError: for another suffix, an argument that means nothing, or a package that is missing.
      FileNotFoundError: where there is no checkpoint, or no folder to write to.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out}: the suffix must say what to write, {' or '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}")
    if out.suffix == ".safetensors":
        if num_steps is not None or temperature is not None:
            raise ValueError(f"{out}: weights have no num_steps and no temperature; whoever reads them chooses")
        data = _require("safetensors.numpy").save(*weights(load_policy(workdir), seed_index=seed_index))
    else:
        _require("flatbuffers")
        chosen = {"num_steps": num_steps, "temperature": temperature, "seed_index": seed_index}
        data = bytes(program(load_policy(workdir), **chosen).serialize())
    with files.replacing(out) as file:
        file.write(data)
    return out


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ValueError(f"this needs the package {package}: pip install 'gtp_jax[export]'") from None
