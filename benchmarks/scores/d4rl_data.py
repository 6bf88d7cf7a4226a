"""What the built-in data under D4RL's protocol hold, how fast they are collected, and how well a clone of them walks.

Writes RESULTS/d4rl_data.json; collects the data and trains the clone unless they are there.
"""

import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import shared
from gtp_jax import datasets
from gtp_jax.datasets.builtin.d4rl_antmaze import D4RL_ANTMAZE, D4RLAntMazeCollection
from gtp_jax.datasets.builtin.rollouts import Episode, Simulator

CLONE = "d4rl.py:gtp/d4rl-antmaze/umaze-v0,gtp-bc"


def statistics(name: str, size: str) -> dict[str, Any]:
    """How the episodes of a dataset end and what they pass; the last one, cut to size, counts in the rows alone."""
    data = datasets.load(f"gtp/d4rl-antmaze/{name}-{size}-v0")
    assert data.env is not None and data.env.time_limit is not None
    length = np.bincount(data.episode)
    rewarded = np.bincount(data.episode, weights=data.batch.reward)
    return {
        "fingerprint": data.fingerprint,
        "transitions": len(data.episode),
        "episodes": len(length) - 1,
        "length": float(length[:-1].mean()),
        "arrived": float((length[:-1] < data.env.time_limit).mean()),  # nothing else ends an episode early
        "passed": float((rewarded[:-1] > 0).mean()),
        "rewarded": 1e6 * float(data.batch.reward.mean()),
        "error": 1e6 * float(rewarded.std()) * len(length) ** 0.5 / len(data.episode),  # as episodes are independent
    }


def speed(name: str, rounds: int) -> dict[str, float]:
    """Steps a second of CPU time: a block of episodes, and the environment that takes the same actions; the medians."""
    collection = D4RL_ANTMAZE[name]
    simulator, env, indices = Simulator(collection, 0), collection.eval_env().make_env(), itertools.count()
    rates: dict[str, list[float]] = {"collecting": [], "alone": []}
    for _ in range(rounds):
        started = time.process_time()
        episodes = simulator.block(next(indices))
        between = time.process_time()
        replay(collection, env, episodes)
        ended, steps = time.process_time(), sum(len(each.actions) for each in episodes)
        rates["collecting"].append(steps / (between - started))
        rates["alone"].append(steps / (ended - between))
    share = np.divide(rates["collecting"], rates["alone"])
    return {each: float(np.median(found)) for each, found in rates.items()} | {"share": float(np.median(share))}


def replay(collection: D4RLAntMazeCollection, env: Any, episodes: Sequence[Episode]) -> None:
    """Steps the environment alone through the same states."""
    for episode in episodes:
        given = {key: cell for key, cell in episode.options.items() if key == "reset_cell"}
        env.reset(seed=episode.seed, options=given | {"goal": collection.maze.goal_xy})
        observed = [env.step(action)[0] for action in episode.actions]
        np.testing.assert_array_equal(observed[-1].astype(np.float32), episode.observations[-1])


def measure(names: list[str], size: str, rounds: int, runs: Path) -> dict[str, Any]:
    """Statistics and speed of each dataset, and the scores of one clone."""
    rows = {name: statistics(name, size) | {"speed": speed(name, rounds)} for name in names}
    clone = shared.train(CLONE, runs, {})
    kept = ("dataset", "fingerprint", "seeds", "num_updates", "num_steps", "temperature", "eval_episodes", "score")
    return {"rows": rows, "clone": {"run": clone["run"]} | {name: clone["summary"][name] for name in kept}}


main = partial(
    shared.measure, __file__, __doc__, measure, names=tuple(D4RL_ANTMAZE), size="100k", rounds=5, runs=Path("runs/d4rl")
)
