"""The built-in locomotion datasets: one table, of Gymnasium's bodies and the stages of a learner that move them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.envs.registry import EvalEnv, make_gym


class Body(NamedTuple):
    """One of Gymnasium's environments, and the sizes of its spaces."""

    env_id: str
    observation_dim: int
    action_dim: int


BODIES = {
    "hopper": Body("Hopper-v5", 11, 3),
    "halfcheetah": Body("HalfCheetah-v5", 17, 6),
    "walker2d": Body("Walker2d-v5", 17, 6),
}


@dataclass(frozen=True)
class LocomotionCollection:
    """How one locomotion dataset is collected. Policies are evaluated in the same environment."""

    maze = None
    requirements = ("gymnasium>=1.2",)
    card = """\
a controller, or several stages of one, drawn for each episode, with Gaussian noise on its actions. The controllers \
were trained from scratch (SAC) by the same project. Observations are float32."""

    family: str  # of BODIES
    name: str
    controllers: tuple[str, ...]  # files in controllers/; each episode draws its own, uniformly
    noise: float = 0.1  # deviation of the Gaussian noise on the controller's actions, which lie in [-1, 1]
    transitions: int = 200_000

    def eval_env(self) -> EvalEnv:
        """The environment that the data are collected in and policies evaluated in."""
        env_id = BODIES[self.family].env_id
        return EvalEnv(env_id, functools.partial(make_gym, env_id), None)

    def controller(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """Loads a controller: observation [n, O] -> action [n, A]."""
        found = Controller.load(name, *BODIES[self.family][1:])
        return lambda observation: found.action(observation.astype(np.float32)).astype(np.float32)

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        """No options: the environment's seed decides where an episode begins."""
        return {}

    def inputs(self, first: np.ndarray, rng: np.random.Generator) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
        """Maps observations to the controller's inputs: the observation alone."""
        return lambda observed: (observed,)


def _mixtures(family: str, medium: int, expert: int, replay: tuple[int, ...]) -> dict[str, LocomotionCollection]:
    """The three mixtures of a body's stages, which are named by the steps of training after which they were saved."""
    steps = {"medium": (medium,), "medium-replay": replay, "medium-expert": (medium, expert)}
    return {
        name: LocomotionCollection(family, name, tuple(f"{family}_{each}.npz" for each in stages))
        for name, stages in steps.items()
    }


LOCOMOTION = {
    "hopper": _mixtures("hopper", 120_000, 240_000, (40_000, 100_000, 120_000, 200_000)),
    "halfcheetah": _mixtures("halfcheetah", 120_000, 300_000, (20_000, 40_000, 80_000, 120_000)),
    "walker2d": _mixtures("walker2d", 260_000, 280_000, (100_000, 200_000, 240_000, 260_000)),
}
