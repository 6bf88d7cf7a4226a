"""What a checkpoint records of its run, as JSON and back."""

import math
from typing import Any, NamedTuple

from gtp_jax.config.settings import Settings
from gtp_jax.config.trials import Trial, from_labels
from gtp_jax.files import plain
from gtp_jax.types import Layout

SCHEMA = 4  # of `RunInfo` and of summary.json
_NONE = type(None)


class RunInfo(NamedTuple):
    """All that loading the policy and continuing the run need beside the arrays of a checkpoint."""

    settings: Settings
    trials: tuple[Trial, ...]  # S, in the order of the arrays
    observer: dict[str, Any]  # datasets.Observer.spec()
    layout: Layout | None  # of an observation; None for an environment that has none
    action_low: tuple[float, ...]  # [A]
    action_high: tuple[float, ...]
    fingerprint: str  # of the data
    diverged: list[dict[str, Any]]  # training.divergence.Watch.found
    continued_from: dict[str, Any] | None  # the source run, training.warm_start.source_record
    versions: dict[str, str | None]
    unwritten: dict[str, list[float | None]] | None = None  # metrics [S] of this step, whose rows wait for its scores
    environment: str | None = None  # where policies are evaluated, and how they are scored; None for nowhere
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
        """The inverse of `to_json`, for JSON that anybody may have written. Raises ValueError naming a bad field."""
        found = _of_type({"info": found}, "info", dict)
        versions = _of_type(found, "versions", dict, _NONE) or {}
        if found.get("schema") != SCHEMA:
            raise ValueError(
                f"written in layout {found.get('schema')!r:.50} by gtp_jax {versions.get('gtp_jax')!s:.50}, and this "
                f"version reads layout {SCHEMA}; load it with the version that wrote it, or train again"
            )
        layout = _of_type(found, "layout", dict, _NONE)
        try:
            layout = None if layout is None else Layout.from_json(layout)
        except (KeyError, TypeError) as error:
            raise ValueError(f"layout = {layout!r:.80} is none ({error})") from error
        made = cls(
            settings=Settings.from_json(found.get("settings")),
            trials=from_labels(_of_type(found, "trials", list)),
            observer=_of_type(found, "observer", dict),
            layout=layout,
            action_low=tuple(_of_type(found, "action_low", list)),
            action_high=tuple(_of_type(found, "action_high", list)),
            fingerprint=_of_type(found, "fingerprint", str),
            diverged=_of_type(found, "diverged", list),
            continued_from=_of_type(found, "continued_from", dict, _NONE),
            versions=versions,
            unwritten=_of_type(found, "unwritten", dict, _NONE),
            environment=_of_type(found, "environment", str, _NONE),
        )
        low, high = made.action_low, made.action_high
        if len(low) != len(high) or not all(
            type(a) is type(b) is float and -math.inf < a <= b < math.inf for a, b in zip(low, high, strict=True)
        ):
            raise ValueError(f"action_low = {low!s:.80} and action_high = {high!s:.80} must be finite bounds")
        for name in ("mean", "std"):  # the observer checks their numbers
            _of_type(made.observer, name, list)
        for record in made.diverged:
            updates = _of_type(record if isinstance(record, dict) else {}, "updates", list)
            if [type(update) for update in updates] != [int, int] or "reason" not in record:
                raise ValueError(f"diverged = {record!r:.80} must be a label with updates and reason")
        if not made.trials:
            raise ValueError("trials = [] must be labels")
        return made


def _of_type(found: dict[str, Any], name: str, *kinds: type) -> Any:
    value = found.get(name)
    if type(value) not in kinds:
        raise ValueError(f"{name} = {value!r:.80} must be of type {' or '.join(kind.__name__ for kind in kinds)}")
    return value
