"""What the files of experiments/configs/ share: from TASK[,METHOD] to a complete configuration."""

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gtp_jax.config import methods, tasks
from gtp_jax.config.settings import DEFAULTS


def configure(
    family: str,
    variant: str,
    defaults: Mapping[str, Any],
    sizes: Mapping[str, Any] | None = None,
    method: str = "gtp",
) -> ConfigDict:
    """The configuration of a task and a method.

    Args:
      family: a key of `tasks.FAMILIES`.
      variant: TASK[,METHOD]: a task's name or a dataset's id; a key of `methods.METHODS`.
      defaults: the family's settings, by dotted name, where they are not settings.DEFAULTS.
      sizes: settings that override even the method's.
      method: where the variant names none.

    Raises:
      ValueError: for a task or a method that there is not, or that do not go together.
    """
    name, _, named = variant.partition(",")
    task, dataset = tasks.find(family, name)
    config = ConfigDict(copy.deepcopy(DEFAULTS))
    config.dataset = dataset
    config.eval.num_episodes = task.family.episodes
    for settings in (defaults, methods.overrides(named or method, task), sizes or {}):
        config.update_from_flattened_dict(dict(settings))
    return config
