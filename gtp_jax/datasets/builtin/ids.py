"""The datasets that need no download: `gtp/FAMILY/TASK-v0`, collected on first use, and the ids that name them."""

import difflib
import functools
import re
from typing import NamedTuple

from gtp_jax.datasets.builtin import antmaze, locomotion
from gtp_jax.envs.registry import Evaluation, make_antmaze, make_gym

Task = antmaze.Task | locomotion.Task

TASKS: dict[str, dict[str, Task]] = {"antmaze": antmaze.TASKS, **locomotion.TASKS}
MOST_TRANSITIONS = 100_000_000  # of a collection, which would take ten hours
_ID = re.compile(
    r"gtp/(?P<family>[a-z0-9]+)/(?P<task>[a-z-]+?)(?:-(?P<size>\d+)(?P<thousand>k?))?(?:-seed(?P<seed>\d+))?-v0"
)
_HOSTED = re.compile(r"(?:D4RL|mujoco)/(?P<family>[a-z0-9]+)/(?P<task>[a-z-]+)-v\d+")


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
        return f"gtp/{self.task.family}/{self.task.name}{size}{f'-seed{self.seed}' if self.seed else ''}-v0"


def ids() -> list[str]:
    """Every embedded dataset of standard size and seed."""
    return [f"gtp/{family}/{name}-v0" for family, tasks in TASKS.items() for name in tasks]


def is_embedded(dataset_id: str) -> bool:
    """Whether an id is in the namespace that is collected here instead of downloaded."""
    return dataset_id.startswith("gtp/")


def parse(dataset_id: str, transitions: int | None = None, seed: int | None = None) -> Embedded:
    """The embedded dataset that an id names; `transitions` and `seed` choose a variant of it.

    Raises ValueError, with the nearest valid name, for an unknown task, and where the id and an argument disagree.
    """
    match = _ID.fullmatch(dataset_id)
    if match is None or match["task"] not in TASKS.get(match["family"], ()):
        nearest = difflib.get_close_matches(dataset_id, ids(), 1, 0) or ids()
        raise ValueError(f"no embedded dataset {dataset_id!r}; did you mean {nearest[0]!r}? There are {ids()}")
    task = TASKS[match["family"]][match["task"]]
    named_size = int(match["size"]) * (1000 if match["thousand"] else 1) if match["size"] else None
    named_seed = int(match["seed"]) if match["seed"] else None
    size = _agree(dataset_id, "transitions", named_size, transitions, task.transitions)
    if not 1 <= size <= MOST_TRANSITIONS:
        raise ValueError(f"{dataset_id}: transitions must be at least 1 and at most {MOST_TRANSITIONS}, got {size}")
    number = _agree(dataset_id, "seed", named_seed, seed, 0)
    if number >= 2**31:
        raise ValueError(f"{dataset_id}: the seed must be below {2**31}, got {number}")
    return Embedded(task, size, number)


def stand_in(dataset_id: str) -> str | None:
    """The embedded dataset of the name of a hosted one, whose data it does not hold; None where there is none."""
    match = _HOSTED.fullmatch(dataset_id)
    found = match and f"gtp/{match['family']}/{match['task']}-v0"
    return found if found in ids() else None


def _agree(dataset_id: str, what: str, named: int | None, given: int | None, default: int) -> int:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise ValueError(f"{dataset_id}: {what} must be a whole number, not negative, got {given!r}")
    if named is not None and given is not None and named != given:
        raise ValueError(f"{dataset_id!r} names {what} {named}, but {what}={given} was passed: leave one of them out")
    return next(value for value in (named, given, default) if value is not None)


def for_task(task: Task) -> Evaluation:
    """The evaluation environment of an embedded task; its data are collected in the same one."""
    if task.maze is None:
        return Evaluation(task.env_id, functools.partial(make_gym, task.env_id), None)
    make_env = functools.partial(
        make_antmaze, task.env_id, task.maze.maze_map, task.max_episode_steps, **task.env_kwargs
    )
    return Evaluation(task.env_id, make_env, task.maze)
