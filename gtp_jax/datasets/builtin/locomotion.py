"""The embedded locomotion tasks: one table, of Gymnasium's bodies and the stages of a learner that move them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gtp_jax.config.tasks import REFERENCES
from gtp_jax.datasets.builtin.controller import Controller


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
class Task:
    """How one dataset is collected, and evaluated in the same environment.

    `noise` is the standard deviation of the Gaussian noise added to the controller's actions, which lie in [-1, 1];
    `controllers` are the weights, files in controllers/, of which each episode draws its own, uniformly.
    """

    maze = None
    requirements = ("gymnasium>=1.2",)
    card = """\
a controller, or several stages of one, drawn for each episode, with Gaussian noise on its actions. The controllers \
were trained from scratch (SAC) by the same project. Observations are float32."""

    family: str  # of BODIES
    name: str
    controllers: tuple[str, ...]
    noise: float = 0.1
    transitions: int = 200_000

    @property
    def env_id(self) -> str:
        """Of the body's environment."""
        return BODIES[self.family].env_id

    @property
    def references(self) -> tuple[float, float]:
        """D4RL's returns of a random and of an expert policy."""
        return REFERENCES[self.family]

    def controller(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """The weights of that name: observation [n, O] -> action [n, A]."""
        found = Controller.load(name, *BODIES[self.family][1:])
        return lambda observation: found.action(observation.astype(np.float32)).astype(np.float32)

    def reset_options(self, rng: np.random.Generator) -> dict[str, Any]:
        """None: where an episode begins is up to the environment's seed."""
        del rng
        return {}

    def inputs(self, first: np.ndarray, rng: np.random.Generator) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
        """What the controller is given at each step: what it observes."""
        del first, rng
        return lambda observed: (observed,)

    def definition(self) -> dict[str, Any]:
        """Nothing beyond what every embedded task has."""
        return {}


def _tasks(family: str, medium: int, expert: int, replay: tuple[int, ...]) -> dict[str, Task]:
    """The three mixtures of a body's stages, which are named by the steps of training after which they were saved."""

    def stages(*steps: int) -> tuple[str, ...]:
        return tuple(f"{family}_{each}.npz" for each in steps)

    mixtures = {"medium": stages(medium), "medium-replay": stages(*replay), "medium-expert": stages(medium, expert)}
    return {name: Task(family, name, controllers) for name, controllers in mixtures.items()}


TASKS = {
    "hopper": _tasks("hopper", 120_000, 240_000, (40_000, 100_000, 120_000, 200_000)),
    "halfcheetah": _tasks("halfcheetah", 120_000, 300_000, (20_000, 40_000, 80_000, 120_000)),
    "walker2d": _tasks("walker2d", 260_000, 280_000, (100_000, 200_000, 240_000, 260_000)),
}
