"""The ids of the built-in datasets, `gtp/FAMILY/NAME-v0`."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gtp_jax.datasets.builtin.antmaze import ANTMAZE, AntMazeCollection
from gtp_jax.datasets.builtin.d4rl_antmaze import D4RL_ANTMAZE, D4RLAntMazeCollection
from gtp_jax.datasets.builtin.locomotion import LOCOMOTION, LocomotionCollection
from gtp_jax.datasets.builtin.ogbench import OGBENCH, OGBenchCollection
from gtp_jax.names import nearest

Collection = AntMazeCollection | D4RLAntMazeCollection | LocomotionCollection
COLLECTIONS: dict[str, Mapping[str, Collection | OGBenchCollection]] = {
    "antmaze": ANTMAZE,
    "d4rl-antmaze": D4RL_ANTMAZE,
    **LOCOMOTION,
    "ogbench": OGBENCH,
}
MOST_TRANSITIONS = 100_000_000  # of a collection, which would take ten hours
_ID = re.compile(
    r"gtp/(?P<family>[a-z0-9-]+)/(?P<name>[a-z0-9-]+?)(?:-(?P<task>singletask(?:-task[1-5])?))?"
    r"(?:-(?P<size>\d+)(?P<unit>[km]?))?(?:-seed(?P<seed>\d+))?-v0"
)


class BuiltIn(NamedTuple):
    """A built-in dataset. Another size or another seed of the collection is another dataset, with another id."""

    collection: Collection | OGBenchCollection
    transitions: int
    seed: int
    task: str = ""  # of OGBench's, "singletask" or "singletask-taskN", which decides rewards and environment

    @property
    def id(self) -> str:
        """The one name of this dataset: `gtp/antmaze/umaze-v0`, `gtp/antmaze/umaze-5k-seed1-v0`."""
        thousands, rest = divmod(self.transitions, 1000)
        size = f"-{self.transitions}" if rest else f"-{thousands}k"
        is_ogbench = isinstance(self.collection, OGBenchCollection)  # whose names always state the size
        if is_ogbench and self.transitions % 1_000_000 == 0:
            size = f"-{self.transitions // 1_000_000}m"
        size = size if self.transitions != self.collection.transitions or is_ogbench else ""
        seed, task = f"-seed{self.seed}" if self.seed else "", f"-{self.task}" if self.task else ""
        return f"gtp/{self.collection.family}/{self.collection.name}{task}{size}{seed}-v0"

    @property
    def stored(self) -> str:
        """Where the dataset lies below a root: all tasks share one folder."""
        return self._replace(task="").id


def ids() -> list[str]:
    """Every built-in dataset of standard size and seed."""
    every = [each for collections in COLLECTIONS.values() for each in collections.values()]
    return [BuiltIn(each, each.transitions, 0).id for each in every]


def is_builtin(dataset_id: str) -> bool:
    """Whether an id is in the namespace of the datasets that are collected here instead of downloaded."""
    return dataset_id.startswith("gtp/")


def parse_id(dataset_id: str, transitions: int | None = None, seed: int | None = None) -> BuiltIn:
    """The built-in dataset that an id names; `transitions` and `seed` choose a variant of it.

    Raises ValueError for an unknown dataset, with the nearest valid id, and where the id and an argument disagree.
    """
    match = _ID.fullmatch(dataset_id)
    collection = match and COLLECTIONS.get(match["family"], {}).get(match["name"])
    if match is None or collection is None or (match["task"] and not isinstance(collection, OGBenchCollection)):
        family = dataset_id.split("/")[1] if dataset_id.count("/") == 2 else ""
        names = ", ".join(COLLECTIONS.get(family, ())) or f"FAMILY one of {', '.join(COLLECTIONS)}"
        near = f"; did you mean {near!r}?" if (near := nearest(dataset_id, ids())) else ""
        form = f"gtp/{family if family in COLLECTIONS else 'FAMILY'}/NAME-v0"
        raise ValueError(f"no built-in dataset {dataset_id!r}; they are {form}, with {names}{near}")
    named_size = int(match["size"]) * {"": 1, "k": 1000, "m": 1_000_000}[match["unit"]] if match["size"] else None
    named_seed = int(match["seed"]) if match["seed"] else None
    size = _agree(dataset_id, "transitions", named_size, transitions, collection.transitions)
    if not 1 <= size <= MOST_TRANSITIONS:
        raise ValueError(f"{dataset_id}: transitions must be at least 1 and at most {MOST_TRANSITIONS}, got {size}")
    number = _agree(dataset_id, "seed", named_seed, seed, 0)
    if not 0 <= number < 2**31:
        raise ValueError(f"{dataset_id}: the seed must be below {2**31} and not negative, got {number}")
    return BuiltIn(collection, size, number, match["task"] or "")


def _agree(dataset_id: str, what: str, named: int | None, given: int | None, default: int) -> int:
    if named is not None and given is not None and named != given:
        raise ValueError(f"{dataset_id!r} names {what} {named}, but {what}={given} was passed: leave one of them out")
    return next(value for value in (named, given, default) if value is not None)


def stand_in(dataset_id: str) -> str | None:
    """The built-in dataset of the name of a hosted one, whose data it does not hold; None where there is none."""
    found = re.sub(r"^(D4RL|mujoco)/(.+)-v\d+$", r"gtp/\2-v0", dataset_id)
    return found if found in ids() else None
