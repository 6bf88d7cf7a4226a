"""The embedded AntMaze tasks: one table, and the dataset ids that name them."""

import difflib
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from gtp_jax.datasets.maze import Cell, MazeInfo

R, G = "r", "g"
# Orientation and evaluated start and goal are those of gymnasium-robotics' and D4RL's mazes.
UMAZE = MazeInfo(
    [
        [1, 1, 1, 1, 1],
        [1, G, 0, 0, 1],
        [1, 1, 1, 0, 1],
        [1, R, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ]
)
MEDIUM = MazeInfo(
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, R, 0, 1, 1, 0, 0, 1],
        [1, 0, 0, 1, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1, 1, 1],
        [1, 0, 0, 1, 0, 0, 0, 1],
        [1, 0, 1, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 1, 0, G, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
)
LARGE = MazeInfo(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, R, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
        [1, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        [1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1],
        [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1],
        [1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1],
        [1, 0, 0, 1, 0, 0, 0, 1, 0, G, 0, 1],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]
)
# Hand-picked as D4RL's "play" data: dead ends, corners and crossings all over the maze, the evaluated cells included.
MEDIUM_PLAY = ((1, 1), (1, 6), (2, 4), (3, 3), (4, 6), (5, 1), (6, 3), (6, 6))
LARGE_PLAY = ((1, 1), (1, 4), (1, 10), (3, 5), (3, 10), (5, 2), (5, 8), (7, 1), (7, 5), (7, 9))
CONTROLLER = "ant_controller.npz"
# After 10,000, 20,000 and all 620,000 steps of its training: a learner's whole history, as in D4RL's "replay" data.
STAGES = ("ant_controller_10000.npz", "ant_controller_20000.npz", CONTROLLER)


@dataclass(frozen=True)
class Task:
    """How one dataset is collected. It is evaluated from the maze's "r" to its "g", whatever the data's cells are.

    `starts` and `goals` are the cells that an episode of the data draws from, uniformly, start and goal never the same;
    `noise` is the standard deviation of the Gaussian noise added to the controller's actions, which lie in [-1, 1];
    `controllers` are the weights, files beside this one, of which each episode draws its own, uniformly.
    """

    name: str
    env_id: str
    maze: MazeInfo
    starts: tuple[Cell, ...]
    goals: tuple[Cell, ...]
    max_episode_steps: int
    noise: float = 0.2
    controllers: tuple[str, ...] = (CONTROLLER,)
    transitions: int = 100_000
    env_kwargs: dict = field(default_factory=lambda: {"include_cfrc_ext_in_observation": False})


TASKS = {
    task.name: task
    for task in (
        Task("umaze", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700),
        Task("umaze-noisy", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700, noise=0.6),
        Task("umaze-mixed", "AntMaze_UMaze-v5", UMAZE, UMAZE.cells_of(R), UMAZE.cells_of(G), 700, controllers=STAGES),
        Task("umaze-diverse", "AntMaze_UMaze-v5", UMAZE, UMAZE.free_cells, UMAZE.free_cells, 700),
        Task("medium-play", "AntMaze_Medium-v5", MEDIUM, MEDIUM_PLAY, MEDIUM_PLAY, 1000),
        Task("medium-diverse", "AntMaze_Medium-v5", MEDIUM, MEDIUM.free_cells, MEDIUM.free_cells, 1000),
        Task("large-play", "AntMaze_Large-v5", LARGE, LARGE_PLAY, LARGE_PLAY, 1000),
        Task("large-diverse", "AntMaze_Large-v5", LARGE, LARGE.free_cells, LARGE.free_cells, 1000),
    )
}

NAMESPACE = "gtp/antmaze"
MOST_TRANSITIONS = 100_000_000  # of a collection, which would take ten hours
_ID = re.compile(rf"{NAMESPACE}/(?P<task>[a-z-]+?)(?:-(?P<size>\d+)(?P<thousand>k?))?(?:-seed(?P<seed>\d+))?-v0")
_HOSTED = re.compile(r"D4RL/antmaze/(?P<task>[a-z-]+)-v\d+")


class Embedded(NamedTuple):
    """An embedded dataset: task, size, seed of the collection. Another size or seed is another dataset and id."""

    task: Task
    transitions: int
    seed: int

    @property
    def id(self) -> str:
        """The one name of this dataset: `gtp/antmaze/umaze-v0`, `gtp/antmaze/umaze-5k-seed1-v0`."""
        thousands, rest = divmod(self.transitions, 1000)
        size = f"-{self.transitions if rest else f'{thousands}k'}" if self.transitions != self.task.transitions else ""
        return f"{NAMESPACE}/{self.task.name}{size}{f'-seed{self.seed}' if self.seed else ''}-v0"


def is_embedded(dataset_id: str) -> bool:
    """Whether an id is in the namespace that is collected here instead of downloaded."""
    return dataset_id.startswith("gtp/")


def parse(dataset_id: str, transitions: int | None = None, seed: int | None = None) -> Embedded:
    """The embedded dataset that an id names; `transitions` and `seed` choose a variant of it.

    Raises ValueError, with the nearest valid name, for an unknown task, and where the id and an argument disagree.
    """
    match = _ID.fullmatch(dataset_id)
    if match is None or match["task"] not in TASKS:
        valid = [f"{NAMESPACE}/{name}-v0" for name in TASKS]
        nearest = difflib.get_close_matches(dataset_id, valid, 1, 0) or valid
        raise ValueError(f"no embedded dataset {dataset_id!r}; did you mean {nearest[0]!r}? There are {valid}")
    task = TASKS[match["task"]]
    named_size = int(match["size"]) * (1000 if match["thousand"] else 1) if match["size"] else None
    named_seed = int(match["seed"]) if match["seed"] else None
    size = _agree(dataset_id, "transitions", named_size, transitions, task.transitions)
    if not 1 <= size <= MOST_TRANSITIONS:
        raise ValueError(f"{dataset_id}: transitions must be at least 1 and at most {MOST_TRANSITIONS}, got {size}")
    number = _agree(dataset_id, "seed", named_seed, seed, 0)
    if number >= 2**31:
        raise ValueError(f"{dataset_id}: the seed must be below {2**31}, got {number}")
    return Embedded(task, size, number)


def embedded_for(dataset_id: str) -> str | None:
    """The embedded task that stands in for a hosted dataset, by name; None where there is none."""
    match = _HOSTED.fullmatch(dataset_id)
    return match["task"] if match and match["task"] in TASKS else None


def _agree(dataset_id: str, what: str, named: int | None, given: int | None, default: int) -> int:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise ValueError(f"{dataset_id}: {what} must be a whole number, not negative, got {given!r}")
    if named is not None and given is not None and named != given:
        raise ValueError(f"{dataset_id!r} names {what} {named}, but {what}={given} was passed: leave one of them out")
    return next(value for value in (named, given, default) if value is not None)
