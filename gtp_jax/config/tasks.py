"""Every benchmark task by its name: its hosted and built-in datasets, published hyperparameters and scores.

The table is tasks.json.

Hosted data are Minari's, built-in ones are collected here; both differ from D4RL's, for which the hyperparameters and
scores were published.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from gtp_jax.names import there_are


class Published(NamedTuple):
    """The hyperparameters that a method's authors tuned for a task."""

    learning_rate: float
    eta: float
    max_grad_norm: float
    backup_samples: int  # next actions of which the critic takes the best (max-Q backup)
    num_steps: int  # K


class TaskFamily(NamedTuple):
    """What the tasks of one kind share: the published scores' protocol, and IQL's settings."""

    episodes: int
    expectile: float
    inverse_temperature: float
    iql_reward: str  # a name of `transforms.REWARDS`, as is the next
    q_reward: str  # of Diffusion-QL and Consistency-AC


class Task(NamedTuple):
    """One task. `diffusion_ql` and `consistency_ac` are None where nothing was published."""

    name: str
    family: str  # a key of TASK_FAMILIES
    builtin: str | None
    hosted: str | None  # in Minari
    diffusion_ql: Published | None = None
    consistency_ac: Published | None = None
    scores: dict[str, float] = {}  # on D4RL's own data, by method


def _task(name: str, family: str, builtin: str | None, hosted: str | None, scores: dict | None = None, **tuned) -> Task:
    return Task(
        name, family, builtin, hosted, **{key: Published(**each) for key, each in tuned.items()}, scores=scores or {}
    )


_TABLE = json.loads(Path(__file__).with_name("tasks.json").read_text())
TASKS = {name: _task(name, **row) for name, row in _TABLE["tasks"].items()}
TASK_FAMILIES = {name: TaskFamily(**row) for name, row in _TABLE["families"].items()}
# Returns of a random and an expert policy, by environment.
REFERENCES: dict[str, tuple[float, float]] = {name: tuple(row) for name, row in _TABLE["references"].items()}

VARIANT = re.compile(r"(-\d+[km]?)?(-seed\d+)?-v\d+$")  # of a built-in dataset's id: size and seed; of any: the version


def reference(env_id: str) -> tuple[float, float] | None:
    """The returns of a random and of an expert policy in an environment of any version; None where none are known."""
    return REFERENCES.get(re.sub(r"-v\d+$", "", env_id))


def is_id(name: str) -> bool:
    """Whether a name is a dataset's id, which ends with a version; Minari's namespaces are optional."""
    return "/" in name or re.search(r"-v\d+$", name) is not None


def of_family(family: str) -> dict[str, Task]:
    """The tasks of a key of TASK_FAMILIES, by the names that presets know them by: AntMaze's are shorter."""
    return {task.name.removeprefix("antmaze-"): task for task in TASKS.values() if task.family == family}


def find(family: str, name: str) -> tuple[Task, str]:
    """The task that a name or a dataset's id names, and the dataset to use: the built-in one, where a task has both.

    An id of another size, seed or version belongs to the task of the same name; one of no known task is a task of its
    own, for which nothing was published.

    Raises:
      ValueError: for the name of no task of the family, and for the id of another family's.
    """
    known = of_family(family)
    if not is_id(name):
        if name not in known:
            raise ValueError(f"unknown task {name!r} (a dataset may also be named by its id); {there_are(name, known)}")
        return known[name], known[name].builtin or known[name].hosted or ""
    for task in TASKS.values():
        if VARIANT.sub("", name) in [VARIANT.sub("", each) for each in (task.builtin, task.hosted) if each]:
            if task.family != family:
                raise ValueError(f"{name!r} is the task {task.name} of another family than {family}: use its preset")
            return task, name
    return Task(name, family, None, None), name
