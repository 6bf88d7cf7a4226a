"""One family, one difference: every member and every ablation of GTP on the same network, data, updates and batch.

    python benchmarks/flow_map_study.py [--task=density,goals] [--rows=gtp,...] [--updates=20000]

Behaviour cloning of two-dimensional data by 5 vmapped seeds. A cell is (task, row); each finished cell is one file,
RESULTS/TASK-ROW.json, and is not run again. `python benchmarks/flow_map_table.py` prints the table, draws the figures.

density: four modes 0.8 from the origin, standard deviation 0.05; nothing is observed.
goals: the multi-goal task of arXiv 2510.11499, unit steps from the origin to one of four goals 5 away.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.config.settings import DEFAULTS, check
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.runs import provenance
from gtp_jax.types import Batch

STEPS = (1, 2, 3, 5, 10)
SEEDS = range(5)
NUM_SAMPLES = 2000
DIRECTIONS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

# Settings of the part "policy" that a row changes.
ROWS: dict[str, dict[str, Any]] = {
    "gtp": {},
    "consistency": {"name": "consistency"},
    "ctm": {"name": "ctm"},
    "shortcut": {"name": "shortcut"},
    "mean_flow": {"name": "mean_flow"},
    "flow_matching": {"name": "flow_matching"},
    "diffusion": {"name": "diffusion"},
    "vp_diffusion": {"name": "vp_diffusion", "num_steps": 5},
    "gaussian": {"name": "gaussian"},
    "gtp-no-consistency": {"lambda_consistency": 0.0},
    "gtp-no-flow": {"lambda_flow": 0.0},
    "gtp-tau-zero": {"tau": "zero"},
    "gtp-any-gap": {"gap": "any"},
    "gtp-fixed-grid": {"intervals": 80},
    "gtp-solver-teacher": {"teacher": "heun"},
    "gtp-ema-target": {"target": "ema"},
    "gtp-edm-flow": {"flow_times": "log-normal"},
    "gtp-small-t": {"sigma_max": 5.0},
    "diffusion-edm": {"name": "diffusion", "times": "log-normal", "weighting": "edm"},
    "diffusion-edm-times": {"name": "diffusion", "times": "log-normal"},
    "diffusion-edm-weights": {"name": "diffusion", "weighting": "edm"},
    "diffusion-edm-small-t": {"name": "diffusion", "times": "log-normal", "weighting": "edm", "sigma_max": 3.0},
    "diffusion-heun": {"name": "diffusion", "solver": "heun"},
    "flow_matching-heun": {"name": "flow_matching", "solver": "heun"},
}
# Members that sample with their own number of steps, whatever is asked.
FIXED_STEPS = {"vp_diffusion": (5,), "gaussian": (1,)}


class Task(NamedTuple):
    """A two-dimensional cloning problem."""

    data: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # -> obs [N, 2], action [N, 2]
    measure: Callable[
        [Callable, np.random.Generator], dict[str, Any]
    ]  # (act(key, obs [S, N, 2]), rng) -> numbers by seed


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples [N, 2] and [M, 2], as a V-statistic."""

    def mean_distance(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).mean()

    return float(2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y))


def density_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Actions around the four modes; observations of zeros."""
    action = 0.8 * DIRECTIONS[rng.integers(4, size=n)] + 0.05 * rng.standard_normal((n, 2))
    return np.zeros((n, 2)), action


def modes(action: np.ndarray, centres: np.ndarray, radius: float) -> tuple[list[float], float]:
    """The share of actions [N, 2] within `radius` of each centre, and of those near none."""
    near = np.linalg.norm(action[:, None] - centres[None], axis=-1) < radius
    return near.mean(0).tolist(), float(1 - near.any(1).mean())


def density_measure(act: Callable, rng: np.random.Generator) -> dict[str, Any]:
    """Energy distance to held-out data, share of each mode within 4 standard deviations, share off all of them."""
    _, held_out = density_data(rng, NUM_SAMPLES)
    samples = act(jax.random.key(1), np.zeros((len(SEEDS), NUM_SAMPLES, 2)))
    found = [modes(x, 0.8 * DIRECTIONS, 0.2) for x in samples]
    return {
        "energy_distance": [energy_distance(x, held_out) for x in samples],
        "mode_shares": [shares for shares, _ in found],
        "off_every_mode": [off for _, off in found],
        "picture": np.round(samples[0, :500], 3).tolist(),
    }


def goals_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps of walks from near the origin towards a goal each."""
    walks = -(-n // 6)
    position, goal = 0.1 * rng.standard_normal((walks, 2)), 5 * DIRECTIONS[rng.integers(4, size=walks)]
    obs, action = [], []
    for _ in range(6):
        offset = goal - position
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        step = offset / np.maximum(distance, 1.0) + 0.05 * rng.standard_normal((walks, 2))
        obs.append(position / 5)
        action.append(step)
        position = position + step
    return np.concatenate(obs)[:n], np.concatenate(action)[:n]


def goals_measure(act: Callable, rng: np.random.Generator) -> dict[str, Any]:
    """The first step's distribution, and where walks of 6 steps end: within 0.5 of each goal, or of none."""
    walks = 500
    position = np.broadcast_to(0.1 * rng.standard_normal((walks, 2)), (len(SEEDS), walks, 2))
    paths = [position]
    for i in range(6):
        position = position + act(jax.random.key(i), position / 5)
        paths.append(position)
    first = act(jax.random.key(99), np.zeros((len(SEEDS), NUM_SAMPLES, 2)))
    held_out = DIRECTIONS[rng.integers(4, size=NUM_SAMPLES)] + 0.05 * rng.standard_normal((NUM_SAMPLES, 2))
    found = [modes(x, 5 * DIRECTIONS, 0.5) for x in position]
    return {
        "energy_distance": [energy_distance(x, held_out) for x in first],
        "mode_shares": [shares for shares, _ in found],
        "off_every_mode": [off for _, off in found],
        "picture": np.round(np.stack(paths)[:, 0, :100].swapaxes(0, 1), 2).tolist(),
    }


TASKS = {"density": Task(density_data, density_measure), "goals": Task(goals_data, goals_measure)}


def cell(task_name: str, row: str, updates: int) -> dict[str, Any]:
    """Trains and measures one cell."""
    task, started, commit = TASKS[task_name], time.perf_counter(), provenance.commit()
    settings = copy.deepcopy(DEFAULTS)
    settings |= {"num_updates": updates, "curriculum_updates": updates, "num_seeds": len(SEEDS)}
    settings["policy"] |= {"hidden": (128, 128, 128), "learning_rate": 1e-3} | ROWS[row]
    settings["guidance"]["name"] = "none"
    check(settings)
    obs, action = task.data(np.random.default_rng(0), 100_000)
    zero = np.zeros(len(obs), np.float32)
    batch = Batch(obs.astype(np.float32), action.astype(np.float32), zero, zero, obs.astype(np.float32))
    bound = np.full(2, 2.0, np.float32)
    agent, hparams = build.make(settings, -bound, bound)
    example = jax.tree.map(lambda column: column[:1], batch)
    engine = Seeds(
        lambda key: agent.init(key, example, hparams),
        agent.update,
        batch,
        seeds=SEEDS,
        batch_size=settings["batch_size"],
    )
    state = engine.init()
    for _ in range(updates // 500):
        state, metrics = engine.advance(state, 500)
    loss = engine.gather(metrics)["policy/loss"].tolist()
    trained = time.perf_counter() - started
    params = engine.gather(state.policy_ema)
    by_steps = {}
    for num_steps in FIXED_STEPS.get(row, STEPS):
        sample = jax.jit(jax.vmap(lambda p, k, o, n=num_steps: agent.act(p, k, o, n)))

        def act(key, obs, sample=sample):
            return np.asarray(sample(params, jax.random.split(key, len(SEEDS)), jnp.asarray(obs, jnp.float32)))

        by_steps[num_steps] = task.measure(act, np.random.default_rng(1))
    return {
        "task": task_name,
        "row": row,
        "command": f"python benchmarks/flow_map_study.py --task={task_name} --rows={row} --updates={updates}",
        "settings": settings,
        "seeds": list(SEEDS),
        "loss": loss,
        "num_steps": by_steps,
        "seconds_training": trained,
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }


def main() -> None:
    """Runs the cells that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default=",".join(TASKS))
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "flow_map_study")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    for task in arguments.task.split(","):
        for row in arguments.rows.split(","):
            path = arguments.results / f"{task}-{row}.json"
            if path.exists():
                continue
            result = cell(task, row, arguments.updates)
            files.write_json(path, result)
            medians = {k: round(float(np.median(v["energy_distance"])), 4) for k, v in result["num_steps"].items()}
            print(json.dumps({"cell": path.stem, "seconds": round(result["seconds_training"]), **medians}), flush=True)


if __name__ == "__main__":
    main()
