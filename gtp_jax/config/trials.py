"""The axis that `vmap` runs over: one trial for each seed and each combination of swept hyperparameters."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gtp_jax.config.settings import Settings, hparam_names


class Trial(NamedTuple):
    """One training among those of a run."""

    seed: int
    swept: dict[str, float]  # values of swept hyperparameters by their names in State.hparams

    def label(self) -> dict[str, Any]:
        """The names and values that tell the trial from the others: `{"seed": 3, "eta": 0.3}`."""
        return {"seed": self.seed, **self.swept}


def trials(settings: Settings) -> tuple[Trial, ...]:
    """The trials of a run: the cross product of the sweeps, all seeds of a combination side by side."""
    first, names = settings.seed_offset, list(settings.sweep)
    return tuple(
        Trial(seed, dict(zip(names, values, strict=True)))
        for values in itertools.product(*settings.sweep.values())
        for seed in range(first, first + settings.num_seeds)
    )


def from_labels(labels: Sequence[Mapping[str, Any]]) -> tuple[Trial, ...]:
    """The inverse of `Trial.label` for several trials.

    Raises:
      ValueError: for anything but a list of labels.
    """
    for label in labels if isinstance(labels, Sequence) else [labels]:
        sound = isinstance(label, Mapping) and "seed" in label and label is not labels
        if not sound or not all(type(number) in (int, float) for number in label.values()):
            raise ValueError(f"trials: {label!r:.100} must name a seed and swept values by numbers")
    return tuple(
        Trial(label["seed"], {name: value for name, value in label.items() if name != "seed"}) for label in labels
    )


def combinations(trials: Sequence[Trial]) -> list[tuple[dict[str, float], list[int]]]:
    """Each combination of swept values with the indices of its trials; without a sweep it is ({}, all of them)."""
    found: dict[tuple, list[int]] = {}
    for index, trial in enumerate(trials):
        found.setdefault(tuple(trial.swept.items()), []).append(index)
    return [(dict(values), indices) for values, indices in found.items()]


def hyperparameters(settings: Settings, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """The hyperparameters of every trial by their names in State.hparams, each [S]."""
    flat = settings.flat()
    return {
        name: [float(trial.swept[name] if name in trial.swept else flat[key]) for trial in trials]
        for name, key in hparam_names(settings).items()
    }


def name_values(values: Mapping[str, float]) -> str:
    """`eta = 0.3, discount = 0.99`."""
    return ", ".join(f"{name} = {value:g}" for name, value in values.items())
