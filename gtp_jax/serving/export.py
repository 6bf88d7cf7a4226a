"""A trained policy as one file that works without this package: a StableHLO program, an ONNX model, or its weights.

docs/export.md describes the files and how they are read.
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
from gtp_jax.names import by_path
from gtp_jax.runs import provenance
from gtp_jax.serving.policy import LoadedPolicy, load_policy
from gtp_jax.types import Array, Key

FORMAT = 7  # of the weights' metadata
PLATFORMS = ("cpu", "cuda", "tpu")
# The formats, which are the files' suffixes, each with the package that writes it and the extra that installs that.
FORMATS = {
    "stablehlo": ("flatbuffers", "export"),
    "onnx": ("onnx", "onnx"),
    "safetensors": ("safetensors.numpy", "export"),
}


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


def onnx_model(
    policy: LoadedPolicy, *, num_steps: int | None = None, temperature: float | None = None, trial: int = 0
) -> Any:
    """The program of `program` as an ONNX model (onnx.ModelProto), with noise in place of the key.

    Its inputs are the parts of the observation [B, ...] by name, `observation` for an array, and `noise` [B, N]: the
    standard normal numbers of all of the policy's draws, one after another. Its output is `action` [B, A]. Arguments
    and errors as in `program`; ValueError also for a policy class that does what is not translated.
    """
    from gtp_jax.serving.onnx_graph import Untranslated, convert  # which import onnx

    params, (steps, scale) = jax.tree.map(np.asarray, policy.params_of(trial)), policy.resolve(num_steps, temperature)
    sizes = policy.observe.sizes()

    def act(key: Key, *parts: Array) -> Array:
        return policy.act(params, key, jax.tree.unflatten(jax.tree.structure(sizes), parts), steps, scale)

    inputs = {path or "observation": size for path, size in by_path(sizes).items()}
    about = {**_provenance(policy, trial), "num_steps": steps, "temperature": scale}
    try:
        return convert(act, inputs, {"gtp_jax": json.dumps(about)})
    except Untranslated as error:
        name = policy.settings.policy.name
        raise ValueError(f"policy.name = {name!r} has no ONNX form, since {error}; write FILE.stablehlo") from error


def _provenance(policy: LoadedPolicy, trial: int) -> dict[str, Any]:
    settings = policy.settings
    about = {"policy": settings.to_json()["policy"], "dataset": settings.dataset, "updates": policy.step}
    return files.plain(about | {"trial": policy.trials[trial].label(), "versions": provenance.versions()})


def weights(policy: LoadedPolicy, *, trial: int = 0) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A trial's averaged parameters by name, `params/Dense_0/kernel`, and, as JSON, all else that acting needs."""
    leaves, settings, levels = jax.tree.leaves_with_path(policy.params_of(trial)), policy.settings, None
    if settings.policy.subgoal_steps and policy.info.layout:
        layout = policy.info.layout.to_json()
        levels = {"unit": hierarchy.UNIT, "farthest": hierarchy.FARTHEST, **{n: layout[n] for n in ("body", "heading")}}
    metadata = {
        "format": FORMAT,
        "time_scale": build.time_scale(settings.policy.name),
        "observer": policy.observe.spec(),
        "hierarchy": levels,
        "label": 1.0 if uses_labels(settings) else None,
        "action_low": policy.action_low,
        "action_high": policy.action_high,
        **_provenance(policy, trial),
    }
    arrays = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    return arrays, {"gtp_jax": json.dumps(files.plain(metadata))}


def export(
    directory: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    num_steps: int | None = None,
    temperature: float | None = None,
    trial: int = 0,
) -> Path:
    """Writes the policy of a run's last checkpoint to the file `out` and returns `out`.

    `format` is one of FORMATS, by default the suffix of `out`. The other arguments are those of `program`.

    Raises:
      ValueError: for another format, an impossible argument, a package that is missing, or a policy class that ONNX
        cannot express.
      FileNotFoundError: where there is no checkpoint, or no folder to write to.
    """
    if isinstance(directory, LoadedPolicy):
        raise ValueError(
            "the policy is read from the directory of its run; train with directory=DIRECTORY, and pass that"
        )
    out = files.user_path(out)
    kind, source = (out.suffix[1:], "the suffix") if format is None else (format, f"format = {format!r:.100}")
    if kind not in FORMATS:
        raise ValueError(f"{out}: {source} must say what to write, {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}")
    files.check_output(out)
    package = _package(*FORMATS[kind])
    chosen = {"num_steps": num_steps, "temperature": temperature}
    if kind == "safetensors":
        if num_steps is not None or temperature is not None:
            raise ValueError(f"{out}: weights have no num_steps and no temperature; whoever reads them chooses")
        data = package.save(*weights(load_policy(directory), trial=trial))
    elif kind == "onnx":
        data = onnx_model(load_policy(directory), **chosen, trial=trial).SerializeToString()
    else:
        data = program(load_policy(directory), **chosen, trial=trial).serialize()
    with files.replacing(out) as file:
        file.write(data)
    return out


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ValueError(f"this needs the package {package}: pip install 'gtp_jax[{extra}]'") from None
