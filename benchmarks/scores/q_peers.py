"""FQL and GFP by their authors' code, on the arrays that our methods are trained on.

Their losses, networks' kinds and published hyperparameters of a task are theirs; the widths, the number of updates, the
batches' size and the evaluator are ours. All seeds are trained side by side by `jax.vmap`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.datasets.loading import Dataset

# Checkouts: seohongpark/fql, and ZhangJL16/FQLbaseline, which holds GFP (arXiv 2512.03973).
MODULES = {"fql": ("agents.fql", "FQLAgent"), "gfp": ("agents.gfp", "GFPAgent")}
BATCH = 256
COMMON = {"lr": 3e-4, "layer_norm": True, "actor_layer_norm": False, "discount": 0.99, "tau": 0.005, "q_agg": "mean"}
COMMON |= {"flow_steps": 10, "encoder": None}
OWN = {
    "fql": {"normalize_q_loss": False},
    "gfp": {
        "normalize_q_loss": True,
        "target_agg": "actor",
        "guidance_agg": "actor",
        "guidance_fn": "softmax",
        "target_use_next": False,
        "encode_time_dim": 64,
        "eta_temperature_online": None,
        "log_metrics": False,
    },
}
# Those published for a task: hyperparams/*_params.csv of ZhangJL16/FQLbaseline. There is none of FQL on noisy data, for
# which the coefficient of the play data stands.
OF_TASK = {
    "fql": {
        "cube-single-noisy": {"alpha": 300.0},
        "cube-single-play": {"alpha": 300.0},
        "scene-play": {"alpha": 300.0},
        "puzzle-3x3-play": {"alpha": 1000.0},
    },
    "gfp": {
        "cube-single-noisy": {"alpha": 10.0, "eta_temperature": 1e-3, "target_agg": "mean"},
        "cube-single-play": {"alpha": 10.0, "eta_temperature": 0.1, "target_agg": "mean"},
        "scene-play": {"alpha": 10.0, "eta_temperature": 1e-3},
        "puzzle-3x3-play": {"alpha": 3.0, "eta_temperature": 1e-3},
    },
}


def agent_class(peer: str, checkout: Path) -> Any:
    """The class of a peer's agent in a checkout; both peers name their packages alike, so that each replaces the other.

    Raises:
      SystemExit: where the checkout does not hold it.
    """
    for name in [name for name in sys.modules if name.split(".")[0] in ("agents", "utils")]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    try:
        module, name = MODULES[peer]
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{peer}={checkout}: {error}; name a checkout of the peer, and install its packages") from None
    finally:
        sys.path.remove(str(checkout))


def hyperparameters(peer: str, task: str) -> dict[str, Any]:
    """Those of a peer on a task of `guidance_table.TASKS`. Raises SystemExit where none were published."""
    if task not in OF_TASK[peer]:
        raise SystemExit(f"{peer} has no hyperparameters for {task}; choose other --tasks or --methods")
    return COMMON | OWN[peer] | OF_TASK[peer][task]


def columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """A dataset as the peers name its columns."""
    batch = dataset.batch
    found = {"observations": batch.obs, "actions": batch.action, "rewards": batch.reward, "masks": batch.discount}
    return {name: np.asarray(column) for name, column in (found | {"next_observations": batch.next_obs}).items()}


def trainer(made: Any, config: Mapping[str, Any], data: Mapping[str, np.ndarray], seeds: range) -> Callable[[int], Any]:
    """A function that trains an agent of class `made` for each seed on random batches, from where it stopped.

    It maps a number of updates to the agents as one, with arrays [S, ...].
    """
    first, *others = (made.create(seed, data["observations"][:1], data["actions"][:1], dict(config)) for seed in seeds)
    leaves = zip(*(jax.tree.leaves(each) for each in (first, *others)), strict=True)
    agents, done = jax.tree.unflatten(jax.tree.structure(first), [jnp.stack(each) for each in leaves]), 0

    @jax.jit
    def updates(agents: Any, keys: jax.Array, data: Mapping[str, jax.Array]) -> Any:
        def update(agents: Any, keys: jax.Array) -> tuple[Any, None]:
            def one(agent: Any, key: jax.Array) -> Any:
                rows = jax.random.randint(key, (BATCH,), 0, len(data["rewards"]))
                return agent.update({name: column[rows] for name, column in data.items()})[0]

            return jax.vmap(one)(agents, keys), None

        return jax.lax.scan(update, agents, keys)[0]

    placed = jax.device_put(dict(data))

    def advance(num_updates: int) -> Any:
        nonlocal agents, done
        end, chunk = done + num_updates, min(500, num_updates)
        while done < end:
            roots = jnp.stack([jax.random.fold_in(jax.random.key(seed), done) for seed in seeds])
            keys = jax.vmap(lambda root: jax.random.split(root, chunk))(roots).swapaxes(0, 1)
            agents, done = updates(agents, keys[: end - done], placed), min(done + chunk, end)
        return jax.block_until_ready(agents)

    return advance


def acting(agents: Any, seeds: range) -> Callable[[int, np.ndarray], jax.Array]:
    """The one-step actors of trained agents: (step, obs [S, n, O]) -> [S, n, A]."""

    @jax.jit
    @jax.vmap
    def act(agent: Any, key: jax.Array, obs: jax.Array) -> jax.Array:
        return agent.sample_actions(obs, seed=key)

    roots = [jax.random.key(seed) for seed in seeds]
    return lambda step, obs: act(agents, jnp.stack([jax.random.fold_in(root, step) for root in roots]), obs)
