"""Cloning, the paper's weights and the Q-guided jump where cloning cannot succeed, each at K = 1, 2 and 5.

FQL and GFP stand beside them, by their authors' code, where --peers=fql=CHECKOUT,gfp=CHECKOUT tells where it is. Cells
go to RESULTS/guidance_table/TASK_METHOD_UPDATES.json; a cell that is there is not run again. Settings were chosen on
other tasks and with seeds from 100 on.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gtp_jax
from benchmarks import shared
from benchmarks.scores import q_peers
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings
from gtp_jax.datasets.loading import Dataset
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.runs import scores
from gtp_jax.serving.policy import LoadedPolicy

NETWORK = (256, 256, 256)
TASKS = {
    "cube-single-noisy": "ogbench.py:gtp/ogbench/cube-single-noisy-singletask-task3-500k-v0",
    "cube-single-play": "ogbench.py:gtp/ogbench/cube-single-play-singletask-task3-500k-v0",
    "scene-play": "ogbench.py:gtp/ogbench/scene-play-singletask-task2-500k-v0",
    "puzzle-3x3-play": "ogbench.py:gtp/ogbench/puzzle-3x3-play-singletask-task1-500k-v0",
    "umaze": "d4rl.py:gtp/d4rl-antmaze/umaze-v0",
    "medium-play": "d4rl.py:gtp/d4rl-antmaze/medium-play-v0",
    "hopper-medium": "gym.py:hopper-medium",
    "walker2d-medium-replay": "gym.py:walker2d-medium-replay",
    "halfcheetah-medium": "gym.py:halfcheetah-medium",
}
METHODS = {"gtp-bc": "gtp-bc", "gtp-paper": "gtp-paper", "expectile": "gtp", "gtp-q": "gtp-q"}


def settings_of(task: str, method: str, num_updates: int, num_seeds: int) -> Settings:
    """The settings of a cell."""
    changes = {"policy.hidden": NETWORK, "critic.hidden": NETWORK, "num_updates": num_updates, "num_seeds": num_seeds}
    changes |= {"eval.num_episodes": 0, "checkpoint_every": num_updates, "eval.every": num_updates}
    return preset(f"{TASKS[task]},{method}").replace(changes | {"log_every": min(500, num_updates)})


def scores_by_steps(
    dataset: Dataset, seeds: Sequence[int], acting: Mapping[int, Callable], episodes: int
) -> dict[str, dict[str, Any]]:
    """The scores of trained policies of these seeds, each given by its number of steps K."""
    assert dataset.env is not None
    found, scale = {}, scores.scale(dataset.env)
    with contextlib.closing(Evaluator(dataset.make_env, dataset.observe, seeds, num_envs=10)) as evaluator:
        for num_steps, act in acting.items():
            played = evaluator(act, episodes)
            score = scores.of_episodes(scale, played.returns, played.success)
            found[str(num_steps)] = scores.summarise(score, played.success)
    return found


def acting_by_steps(policy: LoadedPolicy) -> dict[int, Callable]:
    """A trained policy at K = 1, 2 and 5, one sample per action at temperature 1."""
    return {k: policy.acting(num_steps=k, temperature=1.0, noise_seed=1) for k in (1, 2, 5)}


def cell(task: str, method: str, directory: Path, told: str, num_updates: int, num_seeds: int, episodes: int) -> dict:
    """Trains and scores one of our methods on one task, one sample per action at temperature 1."""
    settings = settings_of(task, METHODS[method], num_updates, num_seeds)
    dataset, started = gtp_jax.datasets.load(settings.dataset), time.perf_counter()
    result = gtp_jax.train(settings, directory=directory, dataset=dataset)
    seconds, policy = time.perf_counter() - started, result.policy
    assert policy is not None
    acting = acting_by_steps(policy)
    facts = {"dataset": settings.dataset, "method": method, "algorithm": result.summary["algorithm"]}
    facts |= {"network": NETWORK, "num_updates": num_updates, "num_seeds": num_seeds, "episodes": episodes}
    facts |= {"seconds": seconds, "fingerprint": dataset.fingerprint}
    return shared.source(told) | facts | {"scores": scores_by_steps(dataset, policy.seeds, acting, episodes)}


def peer_cell(task: str, peer: str, checkout: Path, told: str, num_updates: int, num_seeds: int, episodes: int) -> dict:
    """Trains and scores a peer on one task; its observations are not standardised, as its authors have them."""
    settings = settings_of(task, "gtp-bc", num_updates, num_seeds)
    dataset, config = gtp_jax.datasets.load(settings.dataset, standardise=False), q_peers.hyperparameters(peer, task)
    config |= {"actor_hidden_dims": NETWORK, "value_hidden_dims": NETWORK}
    made, seeds, started = q_peers.agent_class(peer, checkout), range(num_seeds), time.perf_counter()
    agents = q_peers.train(made, config, q_peers.columns(dataset), seeds, num_updates)
    seconds = time.perf_counter() - started
    facts = {"dataset": settings.dataset, "method": peer, "algorithm": f"{peer}, alpha = {config['alpha']:g}"}
    facts |= {"network": NETWORK, "num_updates": num_updates, "num_seeds": num_seeds, "episodes": episodes}
    facts |= {"seconds": seconds, "fingerprint": dataset.fingerprint, "hyperparameters": config}
    facts |= {"peer_commit": shared.revision(checkout)}
    return (
        shared.source(told)
        | facts
        | {"scores": scores_by_steps(dataset, seeds, {1: q_peers.acting(agents, seeds)}, episodes)}
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are missing; those of peers where their checkouts are given."""
    options = {"results": shared.RESULTS / "scores", "runs": Path("runs/guidance_table"), "tasks": TASKS}
    sizes = {"num_updates": 100_000, "num_seeds": 3, "episodes": 50}
    methods = {**METHODS, **q_peers.MODULES}
    given = vars(shared.parse(__doc__ or "", argv, **options, methods=methods, peers="", **sizes))
    results, runs, tasks, methods = (given.pop(name) for name in ("results", "runs", "tasks", "methods"))
    peers, cells = given.pop("peers"), {}
    checkouts = shared.checkouts(peers, q_peers.MODULES)
    for task in tasks:
        for method in methods:
            name = f"{task}_{method}_{given['num_updates']}"
            if method in METHODS:
                told = shared.command(__file__, tasks=task, methods=method, **given)
                made = partial(cell, task, method, runs / name, told, **given)
            elif method in checkouts:
                told = shared.command(
                    __file__, tasks=task, methods=method, peers=f"{method}={checkouts[method]}", **given
                )
                made = partial(peer_cell, task, method, checkouts[method], told, **given)
            else:
                continue
            cells[name] = made
    shared.run_cells(results / "guidance_table", cells)
