"""Where along the noise a denoiser of actions is good: held-out error by noise level, for the rows of the U-Maze study
that differ in the times and weights of their instantaneous loss; and for all rows, how far the sample from no noise at
all (temperature 0) is from the action of the data.

    python benchmarks/denoising.py [--runs=runs/umaze_study]

Takes the runs that `benchmarks/umaze_study.py` made. Held-out data are 20,000 transitions collected with another seed.
Prints one line for each row and writes results/denoising.json.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flow_map_study import FIXED_STEPS, ROWS, STEPS

from gtp_jax import datasets, files, load_policy
from gtp_jax.agent import build, networks
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.paths import VARIANCE_EXPLODING, interpolate
from gtp_jax.runs import provenance

ROOT = Path(__file__).resolve().parents[1]
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
    settings = policy.settings["policy"]
    network = networks.flow_network(action.shape[1], settings["hidden"], settings["activation"])

    @jax.jit
    def error(params, key, obs, action, level):
        velocity = flow_map.edm_velocity(lambda x, t, s: network.apply(params, obs, x, t, s), settings["sigma_data"])
        t = jnp.full(len(obs), level)
        x_t = interpolate(VARIANCE_EXPLODING, action, jax.random.normal(key, action.shape), t)
        return jnp.mean((action - flow_map.extrapolate(velocity, x_t, t, t)) ** 2)

    def mean(level, seed):
        params = jax.tree.map(lambda leaf: leaf[seed], policy.params)
        parts = range(0, len(obs) - BATCH + 1, BATCH)
        each = [
            error(params, jax.random.key(i), obs[i : i + BATCH], action[i : i + BATCH], jnp.float32(level))
            for i in parts
        ]
        return float(np.mean(each))

    return [[mean(level, seed) for seed in range(len(policy.seeds))] for level in NOISE_LEVELS]


def deterministic_errors(policy, obs: np.ndarray, action: np.ndarray, num_steps: int) -> list[float]:
    """Mean squared error per number of the action of samples at temperature 0, [seed]."""
    bound = np.ones(action.shape[1], np.float32)
    made = build.make_policy(policy.settings["policy"], -bound, bound, policy.settings["curriculum_updates"])
    sample = jax.jit(jax.vmap(lambda params: made.sample(params, jax.random.key(0), obs, num_steps, 0.0)))
    return jnp.mean((sample(policy.params) - action) ** 2, axis=(1, 2)).tolist()


def measure(runs: Path) -> dict:
    """The errors of every row that has been run."""
    rows, deterministic, dataset = {}, {}, None
    for row in (row for row in ROWS if (runs / row).exists()):
        policy = load_policy(runs / row)
        dataset = dataset or datasets.load(policy.settings["dataset"], seed=1, transitions=20_000)
        obs, action = held_out(policy, dataset)
        deterministic[row] = {
            k: deterministic_errors(policy, obs, action, k) for k in FIXED_STEPS.get(row, STEPS) if k in (1, 5)
        }
        if row in COMPARED:
            rows[row] = errors(policy, obs, action)
        print(json.dumps({row: {k: round(float(np.mean(e)), 4) for k, e in deterministic[row].items()}}), flush=True)
    if dataset is None:
        raise SystemExit(
            f"{runs} holds no run of {', '.join(ROWS)}; python benchmarks/umaze_study.py leaves them there"
        )
    levels = NOISE_LEVELS.tolist()
    return {"dataset": dataset.id, "noise_levels": levels, "rows": rows, "deterministic": deterministic}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "umaze_study")
    arguments = parser.parse_args()
    commit, result = provenance.commit(), measure(arguments.runs)
    about = {
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    sigma_data = DEFAULTS["policy"]["sigma_data"]
    result |= {"command": "python benchmarks/denoising.py", "sigma_data": sigma_data, **about}
    files.write_json(ROOT / "benchmarks" / "results" / "denoising.json", result)


if __name__ == "__main__":
    main()
