"""What guidance does where the data aim elsewhere: a clone and a guided policy on OGBench's point maze, from nothing.

Writes RESULTS/ogbench_tour.json and docs/ogbench_METHOD.png, the paths of the last evaluation.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import gtp_jax
from benchmarks import shared
from benchmarks.scores.guidance_table import acting_by_steps, scores_by_steps
from gtp_jax import datasets
from gtp_jax.config.presets import preset

TASK = "pointmaze-medium-navigate-singletask-task1-300k-v0"
SIZES = {"policy.hidden": (128, 128, 128), "critic.hidden": (128, 128, 128)}
METHODS = ("gtp-bc", "gtp")


def measure(runs: Path, num_updates: int, num_seeds: int, episodes: int) -> dict[str, Any]:
    """Trains both methods, and scores each at K = 1, 2 and 5."""
    rows: dict[str, Any] = {}
    changes = SIZES | {"num_updates": num_updates, "num_seeds": num_seeds, "eval.num_episodes": episodes}
    changes |= {"eval.every": num_updates, "checkpoint_every": num_updates, "log_every": min(250, num_updates)}
    dataset, started = None, time.perf_counter()
    for method in METHODS:
        settings = preset(f"ogbench:{TASK},{method}").replace(changes)
        dataset = dataset or datasets.load(settings.dataset)
        begun, directory = time.perf_counter(), runs / method
        result = gtp_jax.train(settings, directory=directory, dataset=dataset)
        seconds, policy = time.perf_counter() - begun, result.policy
        assert policy is not None
        each = scores_by_steps(dataset, policy.seeds, acting_by_steps(policy), episodes)
        rows[method] = {"algorithm": result.summary["algorithm"], "seconds": seconds, "scores": each}
        if (runs / method / "maze.png").exists():
            shutil.copy(runs / method / "maze.png", shared.ROOT / "docs" / f"ogbench_{method}.png")
    facts = {"dataset": f"gtp/ogbench/{TASK}", "transitions": 300_000, "seconds": time.perf_counter() - started}
    assert dataset is not None
    facts |= {"num_updates": num_updates, "episodes": episodes, "behaviour": dataset.summary["behaviour_success"]}
    return facts | {"num_seeds": num_seeds, "rows": rows}


main = partial(
    shared.measure,
    __file__,
    __doc__,
    measure,
    runs=Path("runs/ogbench_tour"),
    num_updates=20_000,
    num_seeds=2,
    episodes=50,
)
