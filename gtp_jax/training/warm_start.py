"""A run that goes on from another run's last checkpoint, in a directory of its own and with other settings."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtp_jax.config.settings import completed, flatten, is_cloning, is_told
from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.directory import differences

# Settings that shape the parameters, or without which equal parameters mean something else.
_STRUCTURE = (
    *("policy.name", "policy.hidden", "policy.activation", "policy.sigma_data"),
    *("policy.subgoal_steps", "policy.subgoal_hidden", "policy.subgoal_way"),
    *("critic.name", "critic.hidden", "critic.activation", "critic.layer_norm", "critic.ensemble", "critic.observes"),
)


def check(directory: str, about: Mapping[str, Any]) -> None:
    """Refuses what cannot be continued, before anything is spent.

    Args:
      directory: of the run that is continued.
      about: what a checkpoint of the new run would say of itself.

    Raises:
      FileNotFoundError: where the run has no checkpoint.
      ValueError: for other networks, observations, actions or seeds, every difference named, or with nothing to do.
    """
    checkpoints = _open(directory)
    try:
        step, there = checkpoints.newest(checkpoints.about, lambda *_: None) or (0, None)
        if there is None:
            raise ValueError(f"continue_from = {directory!r}: its checkpoints are damaged; start it again to mend it")
        if there["schema"] != about["schema"]:
            raise ValueError(
                f"continue_from = {directory!r}: written in layout {there['schema']}, and this version reads layout "
                f"{about['schema']}"
            )
        different = differences(_must_agree(there), _must_agree(about))
        if different:
            raise ValueError(f"continue_from = {directory!r} cannot be continued so. " + "; ".join(different))
        if about["settings"]["num_updates"] <= step:
            raise ValueError(
                f"num_updates = {about['settings']['num_updates']} must be above {step}: the run in {directory} has "
                "made so many, and its count goes on"
            )
    finally:
        checkpoints.close()


def adopt(directory: str, like: Saved) -> tuple[int, dict[str, Any], Saved]:
    """The newest sound checkpoint of the run that is continued: its step, what it says of itself, its arrays.

    The hyperparameters are those of `like`, the new run's; the rest, optimisers included, is the other's.

    Raises:
      ValueError: where an array has another shape or type than expected.
    """
    checkpoints = _open(directory)
    try:
        step, (there, saved) = checkpoints.newest(
            lambda step: (checkpoints.about(step), checkpoints.restore(step, like)), lambda *_: None
        )
        return step, there, saved._replace(training=saved.training | {"hparams": like.training["hparams"]})
    finally:
        checkpoints.close()


def provenance(directory: str, step: int, there: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What the new run says of where it comes from: the run, its updates and data, and what was set otherwise."""
    return {
        "directory": directory,
        "num_updates": step,
        "fingerprint": there["fingerprint"],
        "versions": there["versions"],
        "settings": differences(*({**completed(each["settings"]), "continue_from": ""} for each in (there, about))),
        "continued_from": there.get("continued_from"),
    }


def _open(directory: str) -> Checkpoints:
    checkpoints = Checkpoints(Path(directory) / "checkpoints", read_only=True)
    if not checkpoints.directory.is_dir() or not checkpoints.steps():
        raise FileNotFoundError(f"continue_from = {directory!r} is no directory of a run with a finished checkpoint")
    return checkpoints


def _must_agree(about: Mapping[str, Any]) -> dict[str, Any]:
    settings, observer = completed(about["settings"]), about["observer"]
    flat = dict(flatten(settings))
    cloning = is_cloning(settings)
    statistics = json.dumps([observer["mean"], observer["std"]])
    names = [name for name in _STRUCTURE if not (cloning and name.startswith("critic."))]
    return {
        **{name: flat[name] for name in names},
        "critic": "none" if cloning else "trained",
        "what the policy is told": "what did better" if is_told(settings) else "nothing",
        "seeds": [label["seed"] for label in about["lanes"]],
        "observation": observer["transform"],
        "numbers of an observation": len(observer["mean"]),
        "statistics of the observations": hashlib.sha256(statistics.encode()).hexdigest()[:8],
        "action_low": about["action_low"],
        "action_high": about["action_high"],
    }
