"""Presets: the settings of a benchmark task and a method by name, `antmaze:umaze,gtp-bc`."""

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
        "data.observation": "identity",
        "policy.learning_rate": 1e-3,
        "policy.num_steps": 2,
        "policy.temperature": 0.5,
        "eval.num_envs": 10,
        "eval.progress_episodes": 5,
    },
    "adroit": {"num_seeds": 3, "num_updates": 100_000, "data.observation": "identity", "policy.num_steps": 5},
    "kitchen": {"num_seeds": 3, "num_updates": 100_000, "data.observation": "observation", "policy.num_steps": 5},
}
# The task and the method where a preset names none.
DEFAULT_TASKS = {"antmaze": "umaze", "gym": "hopper-medium", "adroit": "pen-human", "kitchen": "kitchen-partial"}
DEFAULT_METHODS = {"antmaze": "gtp-hierarchical"}
# `antmaze:tiny` is GTP by the paper's weights, small enough for a first look.
TINY = {
    "dataset": "gtp/antmaze/umaze-5k-v0",
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
    """The settings of FAMILY[:TASK[,METHOD]], such as `antmaze`, `gym:hopper-medium` or `antmaze:umaze,gtp-bc`.

    Args:
      name: FAMILY is a key of `PRESETS`, also with ".py" behind it; TASK the name of one of its tasks, `tiny` for
        AntMaze's smallest run, or a dataset's id; METHOD a key of `methods.METHODS`.

    Raises:
      ValueError: for a family, task or method that does not exist, or that do not go together.
    """
    family, _, variant = name.partition(":")
    family = family.removesuffix(".py")
    if family not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {there_are(family, PRESETS)}")
    task, _, method = variant.partition(",")
    tiny = family == "antmaze" and task == "tiny"
    known = (*tasks.of_family(family), *["tiny"] * (family == "antmaze"))
    if task and "/" not in task and task not in known:
        raise ValueError(f"unknown task {task!r} (a dataset may also be named by its id); {there_are(task, known)}")
    found, dataset = tasks.find(family, "umaze" if tiny else task or DEFAULT_TASKS[family])
    method = method or ("gtp" if tiny else DEFAULT_METHODS.get(family, "gtp"))
    values = {"dataset": dataset, "eval.num_episodes": tasks.TASK_FAMILIES[family].episodes, **PRESETS[family]}
    return Settings.of(values | dict(methods.overrides(method, found)) | (TINY if tiny else {}))
