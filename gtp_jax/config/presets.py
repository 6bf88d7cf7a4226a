"""Presets: the settings of a benchmark task and a method by name, `antmaze:umaze,gtp-bc`."""

import re
from typing import Any

from gtp_jax.config import methods, tasks
from gtp_jax.config.settings import Settings
from gtp_jax.names import there_are

# The settings of each family of tasks, where they are not the defaults. How they were chosen: docs/method.md.
PRESETS: dict[str, dict[str, Any]] = {
    "antmaze": {
        "num_seeds": 5,
        "num_updates": 20_000,
        "policy.learning_rate": 1e-3,
        "policy.num_steps": 2,
        "policy.temperature": 0.5,
        "guidance.eta": 0.3,
    },
    "gym": {
        "num_seeds": 3,
        "num_updates": 20_000,
        "data.observation": "auto",
        "policy.learning_rate": 1e-3,
        "policy.num_steps": 2,
        "policy.temperature": 0.5,
        "eval.num_envs": 10,
        "eval.progress_episodes": 5,
    },
    "adroit": {"num_seeds": 3, "num_updates": 100_000, "data.observation": "identity", "policy.num_steps": 5},
    "kitchen": {"num_seeds": 3, "num_updates": 100_000, "data.observation": "observation", "policy.num_steps": 5},
    "d4rl-antmaze": {
        "num_seeds": 3,
        "num_updates": 20_000,
        "data.observation": "auto",
        "policy.learning_rate": 1e-3,
        "guidance.eta": 0.3,
    },
    "ogbench": {
        "num_seeds": 3,
        "num_updates": 100_000,
        "data.observation": "auto",
        "policy.learning_rate": 1e-3,
        "policy.num_steps": 2,
        "critic.name": "expectile",
        "critic.expectile": 0.9,
        "critic.n_step": 3,
        "critic.discount": 0.995,
        "critic.layer_norm": True,
        "critic.learning_rate": 1e-3,
        "guidance.name": "exponential",
        "guidance.eta": 3.0,
        "eval.num_envs": 10,
        "eval.progress_episodes": 10,
    },
}
# The files that --config knows, and the task where none is named.
DEFAULT_TASKS = {
    "antmaze": "umaze",
    "gym": "hopper-medium",
    "adroit": "pen-human",
    "kitchen": "kitchen-partial",
    "d4rl": "gtp/d4rl-antmaze/umaze-v0",
    "ogbench": "pointmaze-medium-navigate-singletask-task1-100k-v0",
}
DEFAULT_METHODS = {"antmaze": "gtp-hierarchical"}
# `antmaze:tiny` is GTP by the paper's weights, small enough for a first look.
TINY_TASKS = {
    "antmaze": "gtp/antmaze/umaze-5k-v0",
    "d4rl": "gtp/d4rl-antmaze/umaze-5k-v0",
    "ogbench": "pointmaze-medium-navigate-singletask-task1-5k-v0",
}
TINY = {
    "num_seeds": 2,
    "num_updates": 400,
    "log_every": 50,
    "checkpoint_every": 100,
    "policy.hidden": (32, 32),
    "critic.hidden": (32, 32),
    "eval.num_episodes": 4,
    "eval.every": 200,
    "eval.progress_episodes": 2,
    "eval.num_envs": 4,
}


def preset(name: str) -> Settings:
    """The settings of FILE[:TASK[,METHOD]], such as `antmaze`, `gym:hopper-medium` or `antmaze:umaze,gtp-bc`.

    Args:
      name: FILE is a key of `DEFAULT_TASKS`, also with ".py" behind it; TASK the name of one of its tasks, `tiny` for
        the smallest run of a key of `TINY_TASKS`, a dataset's id, or nothing for the file's default task; METHOD a key
        of `methods.METHODS`.

    Raises:
      ValueError: for a file, task or method that does not exist, or that do not go together.
    """
    file, _, variant = name.partition(":")
    file = file.removesuffix(".py")
    if file not in DEFAULT_TASKS:
        raise ValueError(f"unknown preset {name!r}; {there_are(file, DEFAULT_TASKS)}{_as_method(file, 'gym')}")
    task, _, method = variant.partition(",")
    tiny = task == "tiny" and file in TINY_TASKS
    found, dataset = find(file, TINY_TASKS[file] if tiny else task or DEFAULT_TASKS[file])
    method = method or ("gtp" if tiny else DEFAULT_METHODS.get(file, "gtp"))
    values = {"dataset": dataset, "eval.num_episodes": tasks.TASK_FAMILIES[found.family].episodes}
    return Settings.of(values | PRESETS[found.family] | dict(methods.overrides(method, found)) | (TINY if tiny else {}))


def _as_method(name: str, file: str) -> str:
    """The end of a sentence about an unknown name that is a method's."""
    return f"; {name!r} is a method, and stands behind a comma: '{file}:,{name}'" if name in methods.METHODS else ""


def find(file: str, name: str) -> tuple[tasks.Task, str]:
    """The task that TASK of a preset's FILE names, and the id of the dataset.

    Names of `ogbench` and `d4rl` are those of these benchmarks and mean their original files; one of `ogbench` that
    states a size means data that are made again here. Raises ValueError as `tasks.find` does.
    """
    if file == "ogbench":
        made_here = re.search(r"-\d+[km]?(-seed\d+)?-v0$", name)
        dataset = name if "/" in name else f"{'gtp/' if made_here else ''}ogbench/{name}"
        return tasks.Task(name, "ogbench", None, dataset), dataset
    if file == "d4rl":
        dataset = name if "/" in name else f"d4rl/{name}"
        short = tasks.VARIANT.sub("", dataset.replace("d4rl-antmaze/", "antmaze-").rpartition("/")[2])
        family = "d4rl-antmaze" if short.startswith("antmaze-") else "gym"
        known = tasks.TASKS.get(short, tasks.Task(name, family, None, dataset))
        return known._replace(family=family if known.family == "antmaze" else known.family), dataset
    if not tasks.is_id(name) and name not in tasks.of_family(file):
        known = (*tasks.of_family(file), *["tiny"] * (file in TINY_TASKS))
        unknown = f"unknown task {name!r} (a dataset may also be named by its id)"
        raise ValueError(f"{unknown}; {there_are(name, known)}{_as_method(name, file)}")
    return tasks.find(file, name)
