"""What a checkpoint says of its run, as JSON and back."""

from typing import Any, NamedTuple

import numpy as np

from gtp_jax.config.settings import Settings
from gtp_jax.config.trials import Trial, from_labels
from gtp_jax.files import plain
from gtp_jax.types import Layout

SCHEMA = 3  # of `RunInfo` and of summary.json


class RunInfo(NamedTuple):
    """What a checkpoint says of its run: all that loading the policy and continuing the run need beside the arrays."""

    settings: Settings
    trials: tuple[Trial, ...]  # S, in the order of the arrays
    observer: dict[str, Any]  # datasets.Observer.spec()
    layout: Layout | None  # of an observation; None for an environment that has none
    action_low: tuple[float, ...]  # [A]
    action_high: tuple[float, ...]
    fingerprint: str  # of the data
    diverged: list[dict[str, Any]]  # training.divergence.Watch.found
    continued_from: dict[str, Any] | None  # the run that this one goes on from
    versions: dict[str, str | None]
    score: float | None = None  # the mean over all trials at this step, where it was evaluated
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a checkpoint."""
        parts = {
            "settings": self.settings.to_json(),
            "trials": [trial.label() for trial in self.trials],
            "layout": None if self.layout is None else self.layout.to_json(),
        }
        return plain(self._asdict() | parts)

    @classmethod
    def from_json(cls, found: Any) -> "RunInfo":
        """The inverse of `to_json`, for JSON that anybody may have written. The observer checks its own numbers.

        Raises:
          ValueError: for another schema, or naming the first field that no run writes so.
        """
        if not isinstance(found, dict):
            raise ValueError(f"{found!r:.100} is no JSON object")
        if found.get("schema") != SCHEMA:
            versions = found.get("versions")
            writer = versions.get("gtp_jax") if isinstance(versions, dict) else None
            raise ValueError(
                f"written in layout {found.get('schema')!r:.50} by gtp_jax {writer!s:.50}, and this version reads "
                f"layout {SCHEMA}; load it with the version that wrote it, or train again"
            )
        for name, (right, allowed) in _FIELDS.items():
            if not allowed(found.get(name)):
                raise ValueError(f"{name} = {found.get(name)!r:.100} must be {right}")
        low, high = found["action_low"], found["action_high"]
        if len(low) != len(high) or not np.less_equal(low, high).all():
            raise ValueError(f"action_low = {low!s:.100} must be at most action_high = {high!s:.100}, number by number")
        fields: dict[str, Any] = {name: found.get(name) for name in cls._fields}
        fields |= {
            "settings": Settings.from_json(found.get("settings")),
            "trials": from_labels(found["trials"]),
            "layout": None if found.get("layout") is None else Layout.from_json(found["layout"]),
            "action_low": tuple(map(float, low)),
            "action_high": tuple(map(float, high)),
        }
        return cls(**fields)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _is_bounds(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_layout(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != set(Layout._fields):
        return value is None
    parts = {name: part for name, part in value.items() if name != "heading" or part is not None}
    return all(
        isinstance(part, list)
        and all(type(n) is int and n >= 0 for n in part)
        and (name == "location" or len(part) == 2)
        for name, part in parts.items()
    )


def _is_observer(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), list) for name in ("mean", "std"))


def _is_record(value: Any) -> bool:
    updates = value.get("updates") if isinstance(value, dict) and "reason" in value else None
    return isinstance(updates, list) and [type(update) for update in updates] == [int, int]


_FIELDS = {
    "trials": ("a list of labels", lambda value: isinstance(value, list) and bool(value)),
    "observer": ("an observer's spec", _is_observer),
    "layout": ("a layout or null", _is_layout),
    "action_low": ("finite bounds [A]", _is_bounds),
    "action_high": ("finite bounds [A]", _is_bounds),
    "fingerprint": ("text", lambda value: isinstance(value, str)),
    "diverged": ("records of trials", lambda value: isinstance(value, list) and all(map(_is_record, value))),
    "continued_from": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "versions": ("an object", lambda value: isinstance(value, dict)),
    "score": ("a finite number or null", lambda value: value is None or _is_number(value)),
}
