"""A run that starts from another run's last checkpoint, in a directory of its own and with other settings."""

import hashlib
import json
from pathlib import Path
from typing import Any

from gtp_jax.config.settings import is_cloning, structural, uses_labels
from gtp_jax.runs.checkpoints import Checkpoints, RunInfo, Saved
from gtp_jax.runs.directory import differences


def check_source(directory: str, info: RunInfo) -> None:
    """Raises an error for a run that cannot be continued, before any compute is spent.

    Args:
      directory: of the run that is continued.
      info: of the new run.

    Raises:
      FileNotFoundError: where the run has no checkpoint.
      ValueError: for other networks, observations, actions or seeds, every difference named, or with nothing to do.
    """
    checkpoints = _open(directory)
    try:
        step, there = checkpoints.newest(checkpoints.info, lambda *_: None) or (0, None)
        if there is None:
            raise ValueError(f"continue_from = {directory!r}: its checkpoints are damaged; start it again to mend it")
        different = differences(_must_agree(there), _must_agree(info))
        if different:
            raise ValueError(f"continue_from = {directory!r} cannot be continued so. " + "; ".join(different))
        if info.settings.num_updates <= step:
            raise ValueError(
                f"num_updates = {info.settings.num_updates} must be above {step}: the run in {directory} has made so "
                "many, and its count goes on"
            )
    finally:
        checkpoints.close()


def read_source(directory: str, like: Saved) -> tuple[int, RunInfo, Saved]:
    """The newest sound checkpoint of the run that is continued.

    The hyperparameters are those of `like`, the new run's; the rest, optimisers included, is the other's.

    Raises:
      ValueError: where an array has another shape or type than expected, or no checkpoint is sound.
    """
    checkpoints = _open(directory)
    try:
        found = checkpoints.newest(lambda s: (checkpoints.info(s), checkpoints.restore(s, like)), lambda *_: None)
        if found is None:
            raise ValueError(f"continue_from = {directory!r}: its checkpoints are damaged; start it again to mend it")
        step, (there, saved) = found
        return step, there, saved._replace(training=saved.training | {"hparams": like.training["hparams"]})
    finally:
        checkpoints.close()


def source_record(directory: str, step: int, there: RunInfo, info: RunInfo) -> dict[str, Any]:
    """What the new run records of its source: the run, its updates and data, and which settings differ."""
    return {
        "directory": directory,
        "num_updates": step,
        "fingerprint": there.fingerprint,
        "versions": there.versions,
        "settings": differences(*(each.settings.flat() | {"continue_from": ""} for each in (there, info))),
        "continued_from": there.continued_from,
    }


def _open(directory: str) -> Checkpoints:
    checkpoints = Checkpoints(Path(directory) / "checkpoints", read_only=True)
    if not checkpoints.directory.is_dir() or not checkpoints.steps():
        raise FileNotFoundError(f"continue_from = {directory!r} is no directory of a run with a finished checkpoint")
    return checkpoints


def _must_agree(info: RunInfo) -> dict[str, Any]:
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
