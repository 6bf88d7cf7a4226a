"""Cloning, the paper's weights and the Q-guided jump where cloning cannot succeed, each at K = 1, 2 and 5.

Cells go to RESULTS/guidance_table/TASK_METHOD.json; a cell that is there is not run again. Settings were chosen on
other tasks and with seeds from 100 on.
"""

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import gtp_jax
from benchmarks import shared
from gtp_jax.config.presets import preset
from gtp_jax.datasets.loading import Dataset
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.runs import scores
from gtp_jax.training.train import TrainResult

NETWORK = (256, 256, 256)
TASKS = {
    "cube-single-noisy": "ogbench.py:gtp/ogbench/cube-single-noisy-singletask-task3-500k-v0",
    "cube-single-play": "ogbench.py:gtp/ogbench/cube-single-play-singletask-task3-500k-v0",
    "scene-play": "ogbench.py:gtp/ogbench/scene-play-singletask-task2-500k-v0",
    "puzzle-3x3-play": "ogbench.py:gtp/ogbench/puzzle-3x3-play-singletask-task1-500k-v0",
}
METHODS = {"gtp-bc": "gtp-bc", "gtp-paper": "gtp-paper", "expectile": "gtp", "gtp-q": "gtp-q"}


def scores_by_steps(result: TrainResult, dataset: Dataset, episodes: int) -> dict[str, dict[str, Any]]:
    """The scores of a trained policy at K = 1, 2 and 5, one sample per action at temperature 1."""
    assert dataset.env is not None and result.policy is not None
    found, scale = {}, scores.scale(dataset.env)
    with contextlib.closing(
        Evaluator(dataset.make_env, dataset.observe, result.policy.seeds, num_envs=10)
    ) as evaluator:
        for num_steps in (1, 2, 5):
            played = evaluator(result.policy.acting(num_steps=num_steps, temperature=1.0, noise_seed=1), episodes)
            score = scores.of_episodes(scale, played.returns, played.success)
            found[str(num_steps)] = scores.summarise(score, played.success)
    return found


def cell(task: str, method: str, directory: Path, told: str, num_updates: int, num_seeds: int, episodes: int) -> dict:
    """Trains and scores one method on one task."""
    config = f"{TASKS[task]},{METHODS[method]}"
    changes = {"policy.hidden": NETWORK, "critic.hidden": NETWORK, "num_updates": num_updates, "num_seeds": num_seeds}
    changes |= {"eval.num_episodes": 0, "checkpoint_every": num_updates, "eval.every": num_updates}
    settings = preset(config).replace(changes | {"log_every": min(500, num_updates)})
    dataset, started = gtp_jax.datasets.load(settings.dataset), time.perf_counter()
    result = gtp_jax.train(settings, directory=directory, dataset=dataset)
    facts = {"config": config, "dataset": settings.dataset, "method": method, "seconds": time.perf_counter() - started}
    facts |= {"algorithm": result.summary["algorithm"], "network": NETWORK, "num_updates": num_updates}
    facts |= {"fingerprint": dataset.fingerprint, "num_seeds": num_seeds, "episodes": episodes}
    return shared.source(told) | facts | {"scores": scores_by_steps(result, dataset, episodes)}


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are missing."""
    options = {"results": shared.RESULTS / "scores", "runs": Path("runs/guidance_table"), "tasks": TASKS}
    sizes = {"num_updates": 100_000, "num_seeds": 3, "episodes": 50}
    given = vars(shared.parse(__doc__ or "", argv, **options, methods=METHODS, **sizes))
    results, runs, tasks, methods = (given.pop(name) for name in ("results", "runs", "tasks", "methods"))
    cells = {}
    for task in tasks:
        for method in methods:
            told = shared.command(__file__, tasks=task, methods=method, **given)
            name = f"{task}_{method}"
            cells[name] = partial(cell, task, method, runs / name, told, **given)
    shared.run_cells(results / "guidance_table", cells)
