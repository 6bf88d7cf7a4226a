"""The axis that `vmap` runs over: every seed with every combination of the swept hyperparameters, a lane each."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gtp_jax.config.settings import HPARAMS, flatten


class Lane(NamedTuple):
    """One training among those that run together."""

    seed: int
    swept: dict[str, float]  # hyperparameters that a sweep sets, by their names in settings.HPARAMS

    def label(self) -> dict[str, Any]:
        """What tells it from the others: `{"seed": 3, "eta": 0.3}`."""
        return {"seed": self.seed, **self.swept}


def lanes(settings: Mapping[str, Any]) -> tuple[Lane, ...]:
    """The lanes of complete settings: the cross product of the sweeps, all seeds of a combination side by side."""
    names = [name for name, values in settings["sweep"].items() if values]
    first, count = settings["seed_offset"], settings["num_seeds"]
    return tuple(
        Lane(seed, dict(zip(names, values, strict=True)))
        for values in itertools.product(*(settings["sweep"][name] for name in names))
        for seed in range(first, first + count)
    )


def from_labels(labels: Sequence[Mapping[str, Any]]) -> tuple[Lane, ...]:
    """The inverse of `Lane.label` for several. Raises ValueError for what is no list of labels."""
    for label in labels if isinstance(labels, Sequence) else [labels]:
        sound = isinstance(label, Mapping) and "seed" in label
        if not sound or not all(type(number) in (int, float) for number in label.values()):
            raise ValueError(f"lanes: {label!r:.100} must name a seed and swept values by numbers")
    return tuple(
        Lane(label["seed"], {name: value for name, value in label.items() if name != "seed"}) for label in labels
    )


def combinations(lanes: Sequence[Lane]) -> list[tuple[dict[str, float], list[int]]]:
    """Each combination of swept values with the places of its lanes; without a sweep it is ({}, all of them)."""
    found: dict[tuple, list[int]] = {}
    for place, lane in enumerate(lanes):
        found.setdefault(tuple(lane.swept.items()), []).append(place)
    return [(dict(values), places) for values, places in found.items()]


def hyperparameters(settings: Mapping[str, Any], lanes: Sequence[Lane]) -> dict[str, list[float]]:
    """The hyperparameters of every lane, by their names in settings.HPARAMS, each [L]."""
    flat = dict(flatten(settings))
    return {name: [float(lane.swept.get(name, flat[key])) for lane in lanes] for name, key in HPARAMS.items()}


def describe(values: Mapping[str, float]) -> str:
    """`eta = 0.3, discount = 0.99`."""
    return ", ".join(f"{name} = {value:g}" for name, value in values.items())
