"""Every benchmark task by its name: its hosted and built-in datasets, published hyperparameters and scores.

Hosted data are Minari's, built-in ones are collected here; both differ from D4RL's, for which the hyperparameters and
scores were published.
"""

import re
from typing import NamedTuple

from gtp_jax.names import there_are


class Published(NamedTuple):
    """The hyperparameters that a method's authors tuned for a task."""

    learning_rate: float
    eta: float
    max_grad_norm: float
    backup_samples: int = 1  # next actions of which the critic takes the best (max-Q backup)
    num_steps: int = 5  # K


class Family(NamedTuple):
    """What the tasks of one kind share: the published scores' protocol, and IQL's settings (arXiv 2110.06169, B)."""

    episodes: int
    expectile: float
    inverse_temperature: float
    iql_reward: str  # a name of `transforms.REWARDS`, as is the next
    q_reward: str  # of Diffusion-QL and Consistency-AC


class Task(NamedTuple):
    """One task. `diffusion_ql` and `consistency_ac` are None where nothing was published."""

    name: str
    family: Family
    builtin: str | None
    hosted: str | None  # in Minari
    diffusion_ql: Published | None = None
    consistency_ac: Published | None = None
    scores: dict[str, float] = {}  # on D4RL's own data, by method


GYM = Family(10, 0.7, 3.0, "return-range", "none")
ANTMAZE = Family(100, 0.9, 10.0, "minus-one", "minus-half-times-four")
ADROIT = Family(100, 0.7, 0.5, "none", "standardise")
KITCHEN = Family(100, 0.7, 0.5, "none", "none")

# arXiv 2208.06193, table 6 and the authors' code: learning rate, eta, gradient norm, backup samples.
_DIFFUSION_QL = {
    "halfcheetah-medium": (3e-4, 1.0, 9.0),
    "hopper-medium": (3e-4, 1.0, 9.0),
    "walker2d-medium": (3e-4, 1.0, 1.0),
    "halfcheetah-medium-replay": (3e-4, 1.0, 2.0),
    "hopper-medium-replay": (3e-4, 1.0, 4.0),
    "walker2d-medium-replay": (3e-4, 1.0, 4.0),
    "halfcheetah-medium-expert": (3e-4, 1.0, 7.0),
    "hopper-medium-expert": (3e-4, 1.0, 5.0),
    "walker2d-medium-expert": (3e-4, 1.0, 5.0),
    "antmaze-umaze": (3e-4, 0.5, 2.0),
    "antmaze-umaze-diverse": (3e-4, 2.0, 3.0, 10),
    "antmaze-medium-play": (1e-3, 2.0, 2.0, 10),
    "antmaze-medium-diverse": (3e-4, 3.0, 1.0, 10),
    "antmaze-large-play": (3e-4, 4.5, 10.0, 10),
    "antmaze-large-diverse": (3e-4, 3.5, 7.0, 10),
    "pen-human": (3e-5, 0.15, 7.0),
    "pen-cloned": (3e-5, 0.1, 8.0),
    "kitchen-complete": (3e-4, 0.005, 9.0),
    "kitchen-partial": (3e-4, 0.005, 10.0),
    "kitchen-mixed": (3e-4, 0.005, 10.0),
}
# arXiv 2309.16984, table 6 and the authors' code, likewise, and K. Where their eta weighs a consistency loss scaled in
# another way than ours, it is not comparable.
_CONSISTENCY_AC = {
    "halfcheetah-medium": (3e-4, 1.0, 9.0, 1, 2),
    "hopper-medium": (3e-4, 0.1, 9.0, 1, 2),
    "walker2d-medium": (3e-4, 1.0, 1.0, 1, 5),
    "halfcheetah-medium-replay": (3e-4, 1.0, 2.0, 1, 2),
    "hopper-medium-replay": (3e-4, 0.1, 4.0, 1, 2),
    "walker2d-medium-replay": (3e-4, 0.1, 4.0, 1, 5),
    "halfcheetah-medium-expert": (3e-4, 1.0, 7.0, 1, 2),
    "hopper-medium-expert": (3e-4, 1.0, 5.0, 1, 2),
    "walker2d-medium-expert": (3e-4, 1.0, 5.0, 1, 2),
    "antmaze-umaze": (3e-4, 0.01, 2.0, 1, 2),
    "antmaze-umaze-diverse": (3e-4, 0.01, 3.0, 10, 2),
    "antmaze-medium-play": (1e-3, 0.01, 2.0, 10, 2),
    "antmaze-medium-diverse": (3e-4, 0.01, 1.0, 10, 2),
    "antmaze-large-play": (3e-4, 4.5, 10.0, 10, 2),
    "antmaze-large-diverse": (3e-4, 3.5, 2.0, 10, 2),
    "pen-human": (3e-5, 0.01, 7.0, 1, 2),
    "pen-cloned": (3e-5, 0.01, 8.0, 1, 2),
    "kitchen-complete": (3e-4, 0.5, 2.0, 1, 2),
    "kitchen-partial": (3e-4, 0.5, 2.0, 1, 2),
    "kitchen-mixed": (3e-4, 0.5, 2.0, 1, 2),
}
# arXiv 2510.11499, table 2 (GTP with K = 5; the others as quoted there), and table 1 for GTP-BC.
_METHODS = ("CQL", "IQL", "X-QL", "IDQL-A", "D-QL", "QGPO", "C-AC", "GTP", "GTP-BC")
_SCORES: dict[str, tuple[float | None, ...]] = {
    "halfcheetah-medium": (44.0, 47.4, 48.3, 51.0, 51.1, 54.1, 69.1, 53.9),
    "hopper-medium": (58.5, 66.3, 74.2, 65.4, 90.5, 98.0, 80.7, 90.3),
    "walker2d-medium": (72.5, 78.3, 84.2, 82.5, 87.0, 86.0, 83.1, 89.5),
    "halfcheetah-medium-replay": (45.5, 44.2, 45.2, 45.9, 47.8, 47.6, 58.7, 50.8),
    "hopper-medium-replay": (95.0, 94.7, 100.7, 92.1, 101.3, 96.9, 99.7, 101.7),
    "walker2d-medium-replay": (77.2, 73.9, 82.2, 85.1, 95.5, 84.4, 79.5, 94.2),
    "halfcheetah-medium-expert": (91.6, 86.7, 94.2, 95.9, 96.8, 93.5, 84.3, 93.8),
    "hopper-medium-expert": (105.4, 91.5, 111.2, 108.6, 111.1, 108.0, 100.4, 112.2),
    "walker2d-medium-expert": (108.8, 109.6, 112.7, 112.7, 110.1, 110.7, 110.4, 114.2),
    "antmaze-umaze": (74.0, 87.5, 93.8, 94.0, 93.4, 96.4, 75.8, 100.0, 84.2),
    "antmaze-umaze-diverse": (84.0, 62.2, 82.0, 80.2, 66.2, 74.4, 77.6, 81.9, 79.2),
    "antmaze-medium-play": (61.2, 71.2, 76.0, 84.2, 76.6, 83.6, 56.8, 83.3, 74.4),
    "antmaze-medium-diverse": (53.7, 70.0, 73.6, 84.8, 78.6, 83.8, None, 94.2, 85.0),
    "antmaze-large-play": (15.8, 39.6, 46.5, 63.5, 46.4, 66.6, None, 53.5, 34.4),
    "antmaze-large-diverse": (14.9, 47.5, 49.0, 67.9, 56.6, 64.8, None, 71.0, 40.8),
}


# Cloning on D4RL's data, arXiv 2110.06169, table 1: how good the behaviour there is, about.
_CLONED = {
    "halfcheetah-medium": 42.6,
    "hopper-medium": 52.9,
    "walker2d-medium": 75.3,
    "halfcheetah-medium-replay": 36.6,
    "hopper-medium-replay": 18.1,
    "walker2d-medium-replay": 26.0,
    "halfcheetah-medium-expert": 55.2,
    "hopper-medium-expert": 52.5,
    "walker2d-medium-expert": 107.5,
}


def _task(name: str, family: Family, builtin: str | None, hosted: str | None) -> Task:
    tuned = (Published(*table[name]) if name in table else None for table in (_DIFFUSION_QL, _CONSISTENCY_AC))
    scores = dict(zip(_METHODS, _SCORES.get(name, ()), strict=False)) | {"BC": _CLONED.get(name)}
    known = {method: score for method, score in scores.items() if score is not None}
    return Task(name, family, builtin, hosted, *tuned, known)


def _all() -> dict[str, Task]:
    found = []
    for kind in ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse"):
        found.append(_task(f"antmaze-{kind}", ANTMAZE, f"gtp/antmaze/{kind}-v0", f"D4RL/antmaze/{kind}-v1"))
    for kind in ("umaze-noisy", "umaze-mixed"):
        found.append(_task(f"antmaze-{kind}", ANTMAZE, f"gtp/antmaze/{kind}-v0", None))
    for body in ("halfcheetah", "hopper", "walker2d"):
        for kind in ("medium", "medium-replay", "medium-expert"):
            hosted = f"mujoco/{body}/medium-v0" if kind == "medium" else None
            found.append(_task(f"{body}-{kind}", GYM, f"gtp/{body}/{kind}-v0", hosted))
    for hand in ("pen", "door", "hammer", "relocate"):
        for kind in ("human", "cloned", "expert"):
            found.append(_task(f"{hand}-{kind}", ADROIT, None, f"D4RL/{hand}/{kind}-v2"))
    for kind in ("complete", "partial", "mixed"):
        found.append(_task(f"kitchen-{kind}", KITCHEN, None, f"D4RL/kitchen/{kind}-v2"))
    return {task.name: task for task in found}


TASKS = _all()
FAMILIES = {"antmaze": ANTMAZE, "gym": GYM, "adroit": ADROIT, "kitchen": KITCHEN}


def of_family(name: str) -> dict[str, Task]:
    """The tasks of a key of FAMILIES, by the names that its configuration file knows them by: AntMaze's are shorter."""
    return {task.name.removeprefix("antmaze-"): task for task in TASKS.values() if task.family is FAMILIES[name]}


_VARIANT = re.compile(r"(-\d+k?)?(-seed\d+)?-v\d+$")  # of a built-in dataset's id: size and seed; of any: the version


def configuration(task: Task) -> str:
    """How experiments/run.py is asked for a task: `antmaze.py:umaze`, without a method."""
    family = next(name for name, each in FAMILIES.items() if each is task.family)
    return f"{family}.py:{task.name.removeprefix('antmaze-')}"


def find(family: str, name: str) -> tuple[Task, str]:
    """The task that a name or a dataset's id names, and the dataset to use: the built-in one, where a name has both.

    An id of another size, seed or version belongs to the task of the same name; one of no known task is a task of its
    own, for which nothing was published.

    Raises:
      ValueError: for the name of no task of the family, and for the id of another family's.
    """
    known = of_family(family)
    if "/" not in name:
        if name not in known:
            raise ValueError(f"unknown task {name!r} (a dataset may also be named by its id); {there_are(name, known)}")
        return known[name], known[name].builtin or known[name].hosted
    for task in TASKS.values():
        if _VARIANT.sub("", name) in [_VARIANT.sub("", each) for each in (task.builtin, task.hosted) if each]:
            if task.family is not FAMILIES[family]:
                raise ValueError(
                    f"{name!r} is the task {task.name} of another family than {family}: use its configuration"
                )
            return task, name
    return Task(name, FAMILIES[family], None, None), name


# (minimum, maximum) returns of a random and of an expert policy, from D4RL's d4rl/infos.py (arXiv 2004.07219). They
# were measured on D4RL's own environments, so scores of later versions are comparable, not equal.
REFERENCES = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "pen": (96.262799, 3076.8331017826877),
    "hammer": (-274.856578, 12794.134825156867),
    "door": (-56.512833, 2880.5693087298737),
    "relocate": (-6.425911, 4233.877797728884),
    "kitchen": (0.0, 4.0),
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
}
