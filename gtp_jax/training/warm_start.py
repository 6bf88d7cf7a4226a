"""Starting a run from another run's last checkpoint, in a directory of its own and with other settings."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from gtp_jax.config.settings import is_cloning, structural, uses_labels
from gtp_jax.files import user_path
from gtp_jax.runs.checkpoints import Checkpoints, RunInfo, Saved
from gtp_jax.runs.directory import differences

T = TypeVar("T")


def check_source(directory: str, info: RunInfo) -> None:
    """Checks that the new run of `info` can continue the run in `directory`, before any compute is spent.

    Raises FileNotFoundError where that has no checkpoint, and ValueError for other networks, observations, actions or
    seeds, every difference named, or where no update is left to do.
    """
    step, there = _newest(directory, lambda checkpoints, step: checkpoints.info(step))
    if different := differences(_must_agree(there), _must_agree(info)):
        raise ValueError(f"continue_from = {directory!r} cannot be continued so. " + "; ".join(different))
    if info.settings.num_updates <= step:
        made = f"the run in {directory} has made so many, and the new one continues its count"
        raise ValueError(f"num_updates = {info.settings.num_updates} must be above {step}: {made}")


def read_source(directory: str, like: Saved) -> tuple[int, RunInfo, Saved]:
    """The step, the info and the arrays of the newest sound checkpoint of the run that is continued.

    The hyperparameters are those of `like`, the new run's; the rest, optimisers included, is the other's. Raises
    ValueError where an array has another shape or type than in `like`, or no checkpoint is sound.
    """
    step, (there, saved) = _newest(directory, lambda made, step: (made.info(step), made.restore(step, like)))
    return step, there, saved._replace(training=saved.training | {"hparams": like.training["hparams"]})


def source_record(directory: str, step: int, there: RunInfo, info: RunInfo) -> dict[str, Any]:
    """The new run's record of its source: the directory, its updates and data, and which settings differ."""
    return {
        "directory": directory,
        "num_updates": step,
        "fingerprint": there.fingerprint,
        "versions": there.versions,
        "settings": differences(*(each.settings.flat() | {"continue_from": ""} for each in (there, info))),
        "continued_from": there.continued_from,
    }


def _newest(directory: str, read: Callable[[Checkpoints, int], T]) -> tuple[int, T]:
    checkpoints = Checkpoints(user_path(directory) / "checkpoints", read_only=True)
    if not checkpoints.directory.is_dir() or not checkpoints.steps():
        raise FileNotFoundError(f"continue_from = {directory!r} is no directory of a run with a finished checkpoint")
    with contextlib.closing(checkpoints):
        found = checkpoints.newest(lambda step: read(checkpoints, step), lambda *_: None)
    if found is None:
        raise ValueError(f"continue_from = {directory!r}: its checkpoints are damaged; start it again to mend it")
    return found


def _must_agree(info: RunInfo) -> dict[str, Any]:
    """What must be the same for the parameters to mean the same, by name for messages."""
    observer = info.observer
    statistics = json.dumps([observer["mean"], observer["std"]])
    return {
        **structural(info.settings),
        "critic": "none" if is_cloning(info.settings) else "trained",
        "optimality label": "observed" if uses_labels(info.settings) else "none",
        "seeds": [trial.seed for trial in info.trials],
        "observation": observer["transform"],
        "numbers of an observation": len(observer["mean"]),
        "statistics of the observations": hashlib.sha256(statistics.encode()).hexdigest()[:8],
        "action_low": info.action_low,
        "action_high": info.action_high,
    }
