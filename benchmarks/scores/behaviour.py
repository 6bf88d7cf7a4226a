"""How good the built-in locomotion data are: collects what is not there, and scores its own episodes.

Writes RESULTS/behaviour.json.
"""

from functools import partial
from typing import Any

import numpy as np

from benchmarks import shared
from gtp_jax.config.tasks import TASKS
from gtp_jax.datasets import load
from gtp_jax.runs import scores


def measure_one(dataset_id: str) -> dict[str, Any]:
    """Scores of a dataset's episodes, the last one left out, which is cut to size."""
    data = load(dataset_id)
    returns = np.bincount(data.episode, weights=data.batch.reward)[:-1]
    assert data.env is not None
    each = scores.of_episodes(scores.scale(data.env), returns, returns > 0)
    return {
        "dataset": dataset_id,
        "fingerprint": data.fingerprint,
        "transitions": len(data.episode),
        "episodes": len(each),
        "score": float(each.mean()),
        "deviation": float(each.std()),
        "quarters": np.percentile(each, [0, 25, 50, 75, 100]).tolist(),
    }


def measure(datasets: list[str]) -> dict[str, Any]:
    """The scores of every dataset."""
    return {"rows": [measure_one(each) for each in datasets]}


DATASETS = tuple(task.builtin for task in TASKS.values() if task.family == "gym")
main = partial(shared.measure, __file__, __doc__, measure, datasets=DATASETS)
