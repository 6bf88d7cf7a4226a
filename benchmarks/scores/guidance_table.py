"""Cloning, the paper's weights and the Q-guided jump where cloning cannot succeed, each at K = 1, 2 and 5.

FQL and GFP stand beside them, by their authors' code, where --peers=fql=CHECKOUT,gfp=CHECKOUT tells where it is. Cells
go to RESULTS/guidance_table/TASK_METHOD_UPDATES.json; a cell that is there is not run again, and one that was ended
goes on from its last checkpoint. Settings were chosen on other tasks and with seeds from 100 on.

OGBench's size, on a GPU: --num_updates=1000000 --num_seeds=8 --layers=4 --width=512.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gtp_jax
from benchmarks import shared
from benchmarks.scores import q_peers
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings
from gtp_jax.datasets.loading import Dataset
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.runs import scores
from gtp_jax.serving.policy import LoadedPolicy

TASKS = {
    "cube-single-noisy": "ogbench.py:gtp/ogbench/cube-single-noisy-singletask-task3-500k-v0",
    "cube-single-play": "ogbench.py:gtp/ogbench/cube-single-play-singletask-task3-500k-v0",
    "scene-play": "ogbench.py:gtp/ogbench/scene-play-singletask-task2-500k-v0",
    "puzzle-3x3-play": "ogbench.py:gtp/ogbench/puzzle-3x3-play-singletask-task1-500k-v0",
    "antmaze-large-navigate": "ogbench.py:gtp/ogbench/antmaze-large-navigate-singletask-task1-1m-v0",
    "umaze": "d4rl.py:gtp/d4rl-antmaze/umaze-v0",
    "medium-play": "d4rl.py:gtp/d4rl-antmaze/medium-play-v0",
    "hopper-medium": "gym.py:hopper-medium",
    "walker2d-medium-replay": "gym.py:walker2d-medium-replay",
    "halfcheetah-medium": "gym.py:halfcheetah-medium",
}
# A method of the presets, and what is changed in it.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "gtp-bc": ("gtp-bc", {}),
    "gtp-paper": ("gtp-paper", {}),
    "expectile": ("gtp", {}),
    "iql-weights": ("gtp", {"guidance.name": "unnormalised"}),
    "gtp-q": ("gtp-q", {}),
    "gtp-q-unfiltered": ("gtp-q", {"guidance.filter_temperature": 0.0}),
    "flow-matching-q": ("flow-matching-q", {}),
    "diffusion-q": ("diffusion-q", {}),
}


class Sizes(NamedTuple):
    """What is the same for all cells of a table."""

    num_updates: int = 100_000
    num_seeds: int = 3
    episodes: int = 50
    layers: int = 3
    width: int = 256

    @property
    def network(self) -> tuple[int, ...]:
        """Widths of the hidden layers of policies and critics, ours and the peers'."""
        return self.layers * (self.width,)

    def facts(self) -> dict[str, Any]:
        """What a cell tells of them."""
        told = {name: getattr(self, name) for name in ("num_updates", "num_seeds", "episodes")}
        return told | {"network": self.network}


def settings_of(task: str, method: str, sizes: Sizes) -> Settings:
    """The settings of a cell."""
    base, changes = METHODS[method]
    log_every = min(500, sizes.num_updates)
    every = {"log_every": log_every, "checkpoint_every": 20 * log_every, "eval.every": 20 * log_every}
    widths = {"policy.hidden": sizes.network, "critic.hidden": sizes.network, "eval.num_episodes": 0}
    counts = {"num_updates": sizes.num_updates, "num_seeds": sizes.num_seeds}
    return preset(f"{TASKS[task]},{base}").replace(changes | every | widths | counts)


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


def cell(task: str, method: str, directory: Path, told: str, sizes: Sizes) -> dict[str, Any]:
    """Trains and scores one of our methods on one task."""
    settings = settings_of(task, method, sizes)
    dataset, started = gtp_jax.datasets.load(settings.dataset), time.perf_counter()
    result = gtp_jax.train(settings, directory=directory, dataset=dataset)
    seconds, policy = time.perf_counter() - started, result.policy
    assert policy is not None
    facts = {"dataset": settings.dataset, "method": method, "algorithm": result.summary["algorithm"]}
    facts |= sizes.facts() | {"seconds": seconds, "fingerprint": dataset.fingerprint}
    found = scores_by_steps(dataset, policy.seeds, acting_by_steps(policy), sizes.episodes)
    return shared.source(told) | facts | {"scores": found}


def peer_cell(task: str, peer: str, checkout: Path, told: str, sizes: Sizes) -> dict[str, Any]:
    """Trains and scores a peer on one task; its observations are not standardised, as its authors have them."""
    settings = settings_of(task, "gtp-bc", sizes)
    dataset, config = gtp_jax.datasets.load(settings.dataset, standardise=False), q_peers.hyperparameters(peer, task)
    config |= {"actor_hidden_dims": sizes.network, "value_hidden_dims": sizes.network}
    made, seeds, started = q_peers.agent_class(peer, checkout), range(sizes.num_seeds), time.perf_counter()
    agents = q_peers.trainer(made, config, q_peers.columns(dataset), seeds)(sizes.num_updates)
    seconds = time.perf_counter() - started
    facts = {"dataset": settings.dataset, "method": peer, "algorithm": f"{peer}, alpha = {config['alpha']:g}"}
    facts |= sizes.facts() | {"seconds": seconds, "fingerprint": dataset.fingerprint}
    facts |= {"hyperparameters": config, "peer_commit": shared.revision(checkout)}
    found = scores_by_steps(dataset, seeds, {1: q_peers.acting(agents, seeds)}, sizes.episodes)
    return shared.source(told) | facts | {"scores": found}


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are missing; those of peers where their checkouts are given."""
    options = {"results": shared.RESULTS / "scores", "runs": Path("runs/guidance_table"), "tasks": TASKS}
    sizes = Sizes()._asdict()
    options |= {"methods": {**METHODS, **q_peers.MODULES}, "peers": ""}
    given = vars(shared.parse(__doc__ or "", argv, **options, **sizes))
    sizes = Sizes(**{name: given[name] for name in sizes})
    checkouts, cells = shared.checkouts(given["peers"], q_peers.MODULES), {}
    for peer in checkouts.keys() & given["methods"]:  # what is missing is missed before the first cell
        q_peers.agent_class(peer, checkouts[peer])
        for task in given["tasks"]:
            q_peers.hyperparameters(peer, task)
    for task in given["tasks"]:
        for method in given["methods"]:
            name, told = f"{task}_{method}_{sizes.num_updates}", {"tasks": task, "methods": method} | sizes._asdict()
            if method in METHODS:
                command = shared.command(__file__, **told)
                cells[name] = partial(cell, task, method, given["runs"] / name, command, sizes)
            elif method in checkouts:
                command = shared.command(__file__, **told, peers=f"{method}={checkouts[method]}")
                cells[name] = partial(peer_cell, task, method, checkouts[method], command, sizes)
    shared.run_cells(given["results"] / "guidance_table", cells)
