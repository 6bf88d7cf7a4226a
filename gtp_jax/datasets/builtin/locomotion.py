"""The built-in locomotion datasets: one table, of Gymnasium's bodies and the stages of a learner that move them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtp_jax.datasets.builtin.controller import Controller
from gtp_jax.envs.making import EvalEnv, make_gym

# The environment of each body, and how many numbers its observations and actions have.
BODIES = {"hopper": ("Hopper-v5", 11, 3), "halfcheetah": ("HalfCheetah-v5", 17, 6), "walker2d": ("Walker2d-v5", 17, 6)}


@dataclass(frozen=True)
class LocomotionCollection:
    """How one locomotion dataset is collected; its functions are those of AntMazeCollection."""

    maze = None
    has_goal = observes_goal = goes_on = False
    block = 8
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
        env_id, *_ = BODIES[self.family]
        return EvalEnv(env_id, functools.partial(make_gym, env_id), None)

    def make_env(self) -> Any:
        return self.eval_env().make_env()

    def controller(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        _, *sizes = BODIES[self.family]
        found = Controller.load(name, *sizes)
        return lambda observation: found.action(observation.astype(np.float32)).astype(np.float32)

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {}  # the environment's seed decides where an episode begins

    def inputs(
        self, first: np.ndarray, info: dict, rng: np.random.Generator
    ) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
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
