"""Where along the noise a denoiser of actions is good, and how far samples at temperature 0 are from the data.

Takes the runs of umaze_study.py. The error by noise level is that of the rows that differ in the times and weights of
their instantaneous loss. Held-out data are 20,000 transitions collected with another seed. Writes
RESULTS/denoising.json.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import shared
from benchmarks.family.flow_map_study import FIXED_STEPS, ROWS, STEPS
from gtp_jax import datasets, load_policy
from gtp_jax.agent import build, networks
from gtp_jax.datasets.builtin import ids
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.paths import VARIANCE_EXPLODING, interpolate

COMPARED = ("diffusion", "diffusion-edm", "diffusion-edm-times", "diffusion-edm-weights", "gtp", "gtp-edm-flow")
NOISE_LEVELS = np.geomspace(0.01, 80.0, 14)
BATCH = 2000


def held_out(policy, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Observations as `policy` sees them and actions, of a dataset that was standardised by its own statistics."""
    own, theirs = dataset.observe, policy.observe
    features = np.asarray(dataset.batch.obs) * own.std + own.mean
    return (features - theirs.mean) / theirs.std, np.asarray(dataset.batch.action)


def errors(policy, obs: np.ndarray, action: np.ndarray) -> list[list[float]]:
    """Mean squared error of the denoiser per number of the action, [noise level][seed]."""
    settings = policy.settings.policy
    network = networks.flow_network(action.shape[1], settings.hidden, settings.activation)

    @jax.jit
    def error(params, key, obs, action, level):
        velocity = flow_map.edm_velocity(lambda x, t, s: network.apply(params, obs, x, t, s), settings.own.sigma_data)
        t = jnp.full(len(obs), level)
        x_t = interpolate(VARIANCE_EXPLODING, action, jax.random.normal(key, action.shape), t)
        return jnp.mean((action - flow_map.extrapolate(velocity, x_t, t, t)) ** 2)

    def mean(level, seed):
        params = jax.tree.map(lambda leaf: leaf[seed], policy.params)
        parts = [slice(i, i + BATCH) for i in range(0, len(obs) - BATCH + 1, BATCH)]
        each = [error(params, jax.random.key(p.start), obs[p], action[p], jnp.float32(level)) for p in parts]
        return float(np.mean(each))

    return [[mean(level, seed) for seed in range(len(policy.seeds))] for level in NOISE_LEVELS]


def deterministic_errors(policy, obs: np.ndarray, action: np.ndarray, num_steps: int) -> list[float]:
    """Mean squared error per number of the action of samples at temperature 0, [seed]."""
    bound = np.ones(action.shape[1], np.float32)
    made = build.build_policy(policy.settings, -bound, bound, None)
    sample = jax.jit(jax.vmap(lambda params: made.sample(params, jax.random.key(0), obs, num_steps, 0.0)))
    return jnp.mean((sample(policy.params) - action) ** 2, axis=(1, 2)).tolist()


def measure(runs: Path) -> dict[str, Any]:
    """The errors of every row that has been run."""
    there = [row for row in ROWS if (runs / row).exists()]
    if not there:
        raise SystemExit(f"{runs} holds no run; python benchmarks/run.py umaze_study leaves them there")
    rows, deterministic, dataset = {}, {}, None
    for row in there:
        policy = load_policy(runs / row)
        other, transforms = ids.parse_id(policy.settings.dataset, 20_000, seed=1).id, asdict(policy.settings.data)
        dataset = dataset or datasets.load(other, **transforms)
        obs, action = held_out(policy, dataset)
        steps = [k for k in FIXED_STEPS.get(row, STEPS) if k in (1, 5)]
        deterministic[row] = {k: deterministic_errors(policy, obs, action, k) for k in steps}
        if row in COMPARED:
            rows[row] = errors(policy, obs, action)
        print({row: {k: round(float(np.mean(e)), 4) for k, e in deterministic[row].items()}}, flush=True)
    levels = NOISE_LEVELS.tolist()
    return {"dataset": dataset.id, "noise_levels": levels, "rows": rows, "deterministic": deterministic}


main = partial(shared.measure, __file__, __doc__, measure, runs=shared.ROOT / "runs" / "umaze_study")
