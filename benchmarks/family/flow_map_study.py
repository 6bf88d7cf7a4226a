"""One family, one difference: every policy class and ablation of GTP on the same network, data, updates and batch.

Behaviour cloning of two-dimensional data by vmapped seeds. A cell is a task and a row; a finished one is
RESULTS/TASK-ROW.json and is not run again. figures.py draws samples of the policy classes, which their cells keep.

density: four modes 0.8 from the origin, standard deviation 0.05; observations are zeros.
goals: the multi-goal task of arXiv 2510.11499, unit steps from the origin to one of four goals 5 away.
pentagon, moons: five unequal modes, and two arcs, on which settings are chosen, with other seeds and half the updates.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import shared
from gtp_jax.agent import build
from gtp_jax.config import methods
from gtp_jax.config.settings import Settings
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.types import Batch

RESULTS = shared.RESULTS / "family" / "flow_map_study"
STEPS = (1, 2, 3, 5, 10)
NUM_SAMPLES = 2000
DIRECTIONS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
DRAWN_STEPS = (1, 5)  # K of the samples that figures.py draws

# The policy settings of each policy class and ablation.
MEMBERS = shared.ROWS["members"]
PAPER_TIMES = {name.removeprefix("policy."): value for name, value in methods.PAPER_TIMES.items()}
SHARED_TIMES = {name: PAPER_TIMES[name] for name in ("sigma_max", "sigma_data", "sampling")}
ROWS = MEMBERS | {"gtp-paper-times": PAPER_TIMES} | shared.ROWS["ablations"]
ROWS |= {f"{name}-paper-times": {"name": name} | SHARED_TIMES for name in ("consistency", "ctm", "diffusion")}
# Policy classes that sample in a fixed number of steps.
FIXED_STEPS = {"vp_diffusion": (5,), "gaussian": (1,)}


def policy_settings(row: str) -> dict[str, Any]:
    """A row's policy settings by dotted name."""
    return {f"policy.{name}": value for name, value in ROWS[row].items()}


class Task(NamedTuple):
    """The data, obs and action [N, 2] of (rng, N), and the numbers by seed of (act(key, obs [S, N, 2]), rng)."""

    data: Callable
    measure: Callable
    seeds: range = range(5)
    updates: int = 20_000


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples [N, 2] and [M, 2], as a V-statistic."""

    def mean_distance(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).mean()

    return float(2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y))


def density_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Actions around the four modes; observations of zeros."""
    action = 0.8 * DIRECTIONS[rng.integers(4, size=n)] + 0.05 * rng.standard_normal((n, 2))
    return np.zeros((n, 2)), action


def pentagon_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Actions around five modes of shares 0.1 to 0.3, and observations of zeros."""
    angle = 2 * np.pi * rng.choice(5, size=n, p=[0.1, 0.15, 0.2, 0.25, 0.3]) / 5 + 0.3
    return np.zeros((n, 2)), 0.7 * _on_circle(angle) + 0.07 * rng.standard_normal((n, 2))


def moons_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Actions along two interlocking half circles, and observations of zeros."""
    angle, second = np.pi * rng.random(n), rng.integers(2, size=n)[:, None]
    points = np.where(second, [1, 0.5] - _on_circle(angle), _on_circle(angle)) - [0.5, 0.25]
    return np.zeros((n, 2)), 0.6 * points + 0.04 * rng.standard_normal((n, 2))


def _on_circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def distance_measure(data: Callable, act: Callable, rng: np.random.Generator) -> dict[str, Any]:
    """Energy distance to held-out data."""
    _, held_out = data(rng, NUM_SAMPLES)
    samples = act(jax.random.key(1), np.zeros((NUM_SAMPLES, 2)))
    return {"energy_distance": [energy_distance(x, held_out) for x in samples]}


def numbers(samples, held_out, ends, centres: np.ndarray, radius: float, drawn: np.ndarray) -> dict[str, Any]:
    """Energy distances, and the shares of `ends` near each centre and near none, by seed; some samples to draw."""
    near = [np.linalg.norm(x[:, None] - centres[None], axis=-1) < radius for x in ends]
    return {
        "energy_distance": [energy_distance(x, held_out) for x in samples],
        "mode_shares": [each.mean(0).tolist() for each in near],
        "off_every_mode": [float(1 - each.any(1).mean()) for each in near],
        "samples": np.round(drawn.astype(float), 3).tolist(),
    }


def density_measure(act: Callable, rng: np.random.Generator) -> dict[str, Any]:
    """Energy distance to held-out data, share of each mode within 4 standard deviations, share off all of them."""
    _, held_out = density_data(rng, NUM_SAMPLES)
    samples = act(jax.random.key(1), np.zeros((NUM_SAMPLES, 2)))
    return numbers(samples, held_out, samples, 0.8 * DIRECTIONS, 0.2, samples[0, :500])


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
    first = act(jax.random.key(99), np.zeros((NUM_SAMPLES, 2)))
    position = np.broadcast_to(0.1 * rng.standard_normal((walks, 2)), (len(first), walks, 2))
    paths = [position]
    for i in range(6):
        position = position + act(jax.random.key(i), position / 5)
        paths.append(position)
    held_out = DIRECTIONS[rng.integers(4, size=NUM_SAMPLES)] + 0.05 * rng.standard_normal((NUM_SAMPLES, 2))
    return numbers(first, held_out, position, 5 * DIRECTIONS, 0.5, np.stack(paths)[:, 0, :100].swapaxes(0, 1))


TASKS = {"density": Task(density_data, density_measure), "goals": Task(goals_data, goals_measure)}
CHOSEN_ON = {
    name: Task(data, partial(distance_measure, data), seeds=range(100, 104), updates=10_000)
    for name, data in (("pentagon", pentagon_data), ("moons", moons_data))
}
TASKS |= CHOSEN_ON


def run_cell(task_name: str, row: str, updates: int) -> dict[str, Any]:
    """Trains and measures one cell; without `updates`, those of the task."""
    task, seeds = TASKS[task_name], TASKS[task_name].seeds
    command = shared.command(__file__, tasks=task_name, rows=row, updates=updates)
    about, updates, started = shared.source(command), updates or task.updates, time.perf_counter()
    changes = {"num_updates": updates, "curriculum_updates": updates, "num_seeds": len(seeds), "guidance.name": "none"}
    changes |= {"policy.hidden": (128, 128, 128), "policy.learning_rate": 1e-3} | policy_settings(row)
    settings = Settings.of(changes)
    obs, action = task.data(np.random.default_rng(0), 100_000)
    zero = np.zeros(len(obs), np.float32)
    batch = Batch(obs.astype(np.float32), action.astype(np.float32), zero, zero, obs.astype(np.float32))
    bound = np.full(2, 2.0, np.float32)
    agent, hparams = build.build_unscaled_agent(settings, -bound, bound, None)
    example = jax.tree.map(lambda column: column[:1], batch)
    engine = Seeds(
        lambda key: agent.init(key, example, hparams),
        agent.update,
        batch,
        seeds=seeds,
        batch_size=settings.batch_size,
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
            obs = jnp.broadcast_to(jnp.asarray(obs, jnp.float32), (len(seeds), *obs.shape[-2:]))
            return np.asarray(sample(params, jax.random.split(key, len(seeds)), obs))

        by_steps[num_steps] = task.measure(act, np.random.default_rng(1))
        if row not in MEMBERS or num_steps not in DRAWN_STEPS:
            by_steps[num_steps].pop("samples", None)
    kept = {name: value for name, value in settings.flat().items() if name.startswith("policy.")}
    return {
        "task": task_name,
        "row": row,
        **about,
        "num_updates": updates,
        "batch_size": settings.batch_size,
        "settings": kept,
        "seeds": list(seeds),
        "loss": loss,
        "seconds_training": trained,
        "num_steps": by_steps,
    }


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are not there yet."""
    arguments = shared.parse(__doc__, argv, tasks=TASKS, rows=ROWS, updates=0, results=RESULTS)
    cells = [(task, row) for task in arguments.tasks for row in arguments.rows]
    shared.run_cells(arguments.results, {"-".join(cell): partial(run_cell, *cell, arguments.updates) for cell in cells})
