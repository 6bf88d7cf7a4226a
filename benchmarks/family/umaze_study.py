"""The family on the built-in U-Maze: behaviour cloning by every policy class and every ablation of GTP, at several K.

Same network, data, 20,000 updates and evaluation, three seeds of 100 episodes, temperature 1; only the policy's
objective changes. The rows are those of flow_map_study.py; a finished one is RESULTS/ROW.json and is not run again.
Beside the scores stand, on 20,000 transitions that were collected with another seed, the errors of samples at
temperature 0, the spread of samples at temperature 1, and the self-consistency of the map: how far a sample in K steps
lies from one in many from the same noise.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import shared
from benchmarks.family.flow_map_study import FIXED_STEPS, ROWS, STEPS, policy_settings
from gtp_jax import datasets, load_policy
from gtp_jax.agent import build
from gtp_jax.datasets.builtin import ids

RESULTS = shared.RESULTS / "family" / "umaze_study"
DRAWS = 4  # samples for each observation
MANY = 64  # steps
# Classes whose samples have one noise alone, so that any number of steps leads along one path.
PATHS = ("gtp", "ctm", "shortcut", "mean_flow", "flow_matching", "diffusion")


def beside_actions(sample: Callable, action: np.ndarray) -> tuple[list[float], list[float]]:
    """What samples [S, N, A] of (key, temperature) are like beside actions [N, A] of the data, for each seed.

    Returns:
      The mean squared error per number of the action at temperature 0, and the variance at temperature 1 for one
      observation.
    """
    error = jnp.mean((sample(jax.random.key(0), 0.0) - action[None]) ** 2, axis=(1, 2))
    drawn = jnp.stack([sample(jax.random.key(i), 1.0) for i in range(DRAWS)])
    return error.tolist(), jnp.mean(jnp.var(drawn, axis=0, ddof=1), axis=(1, 2)).tolist()


def held_out(run: Path, steps: tuple[int, ...]) -> dict[str, dict[int, list[float]]]:
    """By K, the "errors", "spread" and "distances" of samples for each seed, on data collected with another seed.

    A distance is the mean squared one, per number of the action, to the sample in MANY steps from the same noise.
    """
    policy = load_policy(run)
    other, transforms = ids.parse_id(policy.settings.dataset, 20_000, seed=1).id, asdict(policy.settings.data)
    dataset = datasets.load(other, **transforms)
    # The dataset was standardised by its own statistics.
    features = np.asarray(dataset.batch.obs) * dataset.observe.std + dataset.observe.mean
    obs, action = (features - policy.observe.mean) / policy.observe.std, np.asarray(dataset.batch.action)
    bound, found = np.ones(action.shape[1], np.float32), {"errors": {}, "spread": {}, "distances": {}}
    made = build.build_policy(policy.settings, -bound, bound, None)
    sample = jax.jit(jax.vmap(made.sample, in_axes=(0, None, None, None, None)), static_argnums=3)
    once = jax.random.key(0)
    fine = sample(policy.params, once, obs, MANY, 1.0) if policy.settings.policy.name in PATHS else None
    for k in steps:

        def draw(key, temperature, k=k):
            return sample(policy.params, key, obs, k, temperature)

        found["errors"][k], found["spread"][k] = beside_actions(draw, action)
        if fine is not None:
            found["distances"][k] = jnp.mean((draw(once, 1.0) - fine) ** 2, axis=(1, 2)).tolist()
    return found


def run_cell(row: str, workdir: Path) -> dict[str, Any]:
    """Trains one row and evaluates it at every K."""
    steps, command = FIXED_STEPS.get(row, STEPS), shared.command(__file__, rows=row)
    settings = {"num_seeds": 3, "num_updates": 20_000, "guidance.name": "none"}
    settings |= {"eval.num_episodes": 100, "eval.progress_episodes": 10}
    settings |= {"policy.temperature": 1.0, "policy.num_steps": steps[-1]} | policy_settings(row)
    trained = shared.train("antmaze.py:umaze,gtp", workdir, settings)
    evaluations = shared.evaluate(workdir, num_steps=",".join(map(str, steps)), temperature=1, episodes=100)
    found = held_out(shared.ROOT / workdir, steps)
    return {"row": row, "command": command, **trained, "evaluations": evaluations, "held_out": found}


def main(argv: list[str] | None = None) -> None:
    """Runs the rows that are not there yet."""
    arguments = shared.parse(__doc__, argv, rows=ROWS, runs=Path("runs/umaze_study"), results=RESULTS)
    shared.run_cells(arguments.results, {row: partial(run_cell, row, arguments.runs / row) for row in arguments.rows})
