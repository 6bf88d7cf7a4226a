"""Datasets from plain arrays, by the rules of D4RL's `qlearning_dataset` (arXiv 2004.07219)."""

from __future__ import annotations  # help() shows ArrayLike by its name, and not all that it may be

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gtp_jax.datasets.hdf5 import BadDataset
from gtp_jax.datasets.loading import Dataset, Source, assemble
from gtp_jax.datasets.reader import are_bounds
from gtp_jax.datasets.rows import raw_of_rows
from gtp_jax.envs import registry
from gtp_jax.envs.making import made

Bounds = tuple[ArrayLike, ArrayLike]


def from_arrays(
    observations: ArrayLike | Mapping[str, ArrayLike],
    actions: ArrayLike,
    rewards: ArrayLike,
    terminals: ArrayLike,
    timeouts: ArrayLike | None = None,
    next_observations: ArrayLike | Mapping[str, ArrayLike] | None = None,
    env: str | Callable[[], Any] | None = None,
    *,
    bounds: Bounds | None = None,
    by_success: bool = False,
    name: str = "arrays",
    reward: str = "none",
    observation: str = "auto",
    standardise: bool = True,
) -> Dataset:
    """Makes a dataset of N rows of your own, which `gtp_jax.train(..., dataset=...)` takes.

    Without `next_observations`, a row's next observation is the next row's; a row with a time-out, and the last row,
    only give the row before them its next observation, unless they are terminal. With them every row is a transition,
    and an episode also ends where its next observation is not the next row's.

    Args:
      observations: [N, O], or a dict of such arrays where `observation` names a transform of dicts.
      actions: [N, A].
      rewards: [N].
      terminals: [N] of 0 and 1: whether the episode terminated with this row. Nothing is bootstrapped from there.
      timeouts: [N] of 0 and 1: whether it was cut off there, which bootstraps.
      next_observations: as `observations`.
      env: where policies are evaluated: a registered id, a function () -> gymnasium.Env, or None for nowhere.
      bounds: (low, high) of the actions, [A] or numbers, inside the environment's where there is one. By default the
        environment's, without one the data's own.
      by_success: whether the score is the share of episodes with a true info["success"], and not the return.
      name: of the data, in titles and summaries: letters, digits and hyphens.
      reward: a name of `transforms.REWARDS`.
      observation: a name of `transforms.OBSERVATIONS`, or "auto": "flatten" for dicts, "identity" for arrays.
      standardise: whether observations are shifted and scaled by their mean and deviation.

    Raises:
      ValueError: for arrays that do not go together, and numbers that cannot be trained on; field and index are named.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]{1,100}", name):
        raise ValueError(f"name = {name!r:.100} must be letters, digits and hyphens, up to 100")
    for switch, value in {"by_success": by_success, "standardise": standardise}.items():
        if not isinstance(value, bool | np.bool):
            raise ValueError(f"{switch} = {value!r:.100} must be True or False")
    dataset_id, given = f"arrays/{name}", {"rewards": rewards, "actions": actions, "terminals": terminals}
    given |= {"timeouts": np.zeros(np.shape(rewards), bool) if timeouts is None else timeouts}
    given |= _parts("observations", observations)
    given |= {} if next_observations is None else _parts("next_observations", next_observations)
    columns = {path: _array(f"{dataset_id}: {path}", each) for path, each in given.items()}
    for path, each in columns.items():
        shape = (*columns["rewards"].shape[:1], *each.shape[1:])
        axes = 2 if path == "actions" or "observations" in path else 1
        if each.dtype.kind not in "fiub" or each.ndim != axes or each.shape != shape or 0 in each.shape:
            wanted = "[N, *]" if axes == 2 else "[N]"
            if 0 in each.shape:
                wanted += ", N > 0"
            elif path != "rewards":
                wanted += f", N = {shape[0]} as of rewards"
            raise BadDataset(
                f"{dataset_id}: {path} must be numbers {wanted}, got {each.dtype} {each.shape}{_cure(path, each, axes)}"
            )
        if path == "actions" and each.dtype.kind != "f":
            raise BadDataset(f"{dataset_id}: actions must be real, got {each.dtype}; discrete ones are not learned")
        is_flag, where = path in ("terminals", "timeouts"), (each != 0) & (each != 1)
        if is_flag and where.any():
            row = int(where.argmax())
            raise BadDataset(f"{dataset_id}: {path} must be 0 or 1, got {each[row]} at row {row}")
        now = columns.get(path.removeprefix("next_"))
        if now is None or now.shape != each.shape:
            raise BadDataset(f"{dataset_id}: {path} must have the shape of observations, got {each.shape}")
    narrower = bounds is not None
    lost = [path for path in columns if path.startswith("observations") and f"next_{path}" not in columns]
    if lost and next_observations is not None:
        raise BadDataset(f"{dataset_id}: next_{lost[0]} is missing, {lost[0]} is there")
    size, named = columns["actions"].shape[1:], None
    if env is not None:
        from gymnasium import spaces

        named = registry.of_user(env)._replace(by_success=by_success)
        with made(f"{dataset_id}: env", named.env_id, named.make_env) as example:
            space = example.action_space
        if bounds is None and isinstance(space, spaces.Box) and space.shape == size:
            bounds = space.low, space.high
    own = columns["actions"].min(axis=0), columns["actions"].max(axis=0)  # whose faults are named below
    try:
        with np.errstate(over="ignore"):
            low, high = (
                np.broadcast_to(np.asarray(each, np.float32), size) for each in (own if bounds is None else bounds)
            )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_shown(bounds)} must be (low, high), numbers or arrays of shape {size}") from error
    if bounds is not None and not are_bounds(low, high):
        raise ValueError(f"{_shown(bounds)} must be finite, low at most high")
    raw = raw_of_rows(dataset_id, columns, np.stack([low, high]))
    if not are_bounds(low, high):
        raise BadDataset(
            f"{dataset_id}: actions reach from {low} to {high}, which float32 does not scale; rescale them"
        )
    if named is not None:
        registry.check_spaces(
            f"{dataset_id}: env", named, raw.observations, raw.action_low, raw.action_high, narrower=narrower
        )
    transforms = {"reward": reward, "observation": observation, "standardise": standardise}
    dataset = assemble(dataset_id, Source(raw, named), **transforms, episodes="all")
    if next_observations is None:
        _warn_of_ends(dataset, columns)
    return dataset


def _warn_of_ends(dataset: Dataset, columns: Mapping[str, np.ndarray]) -> None:
    """Warns of rows that seem to run on into the next episode, which no rule can tell from one long episode."""
    longest, limit = int(np.bincount(dataset.episode).max()), dataset.summary.get("time_limit")
    if limit is not None and longest > limit:
        why = f"an episode of {longest:,} rows is longer than {dataset.summary['environment']} lets one be, {limit:,}"
    elif not columns["terminals"].any() and not columns["timeouts"].any():
        why = f"no row ends an episode, so that all {len(columns['rewards']):,} are read as one"
    else:
        return
    warnings.warn(f"{dataset.id}: {why}; mark where episodes are cut off in timeouts", stacklevel=3)


def _parts(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    if not value:
        raise ValueError(f"{path} is a dict without arrays")
    return {f"{path}/{key}": value[key] for key in sorted(value, key=str)}


def _cure(path: str, array: np.ndarray, axes: int) -> str:
    """The end of a sentence about an array of a wrong shape: how to shape it, for the commonest ones."""
    if array.ndim == axes - 1 == 1:
        return f"; one number a row is {path}[:, None]"
    if array.ndim == axes + 1 == 2 and array.shape[1] == 1:
        return f"; the rows are {path}[:, 0]"
    if array.ndim == axes + 1:
        return "; put the episodes one behind the other, and mark their ends in terminals and timeouts"
    return ""


def _array(where: str, value: Any) -> np.ndarray:
    if np.ma.is_masked(value):
        raise BadDataset(f"{where} has masked numbers; fill them first: filled(...)")
    try:
        return np.asarray(value)
    except Exception as error:  # of ragged lists, and of whatever else can be made an array
        raise BadDataset(f"{where} must be numbers: {' '.join(str(error).split()):.200}") from error


def _shown(bounds: Any) -> str:
    return f"bounds = {' '.join(str(bounds).split()):.100}"
