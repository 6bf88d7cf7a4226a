"""Which trials of a run diverged, during which updates, and why. The other trials go on unchanged.

A trial has diverged where one of its metrics or numbers is not finite, or where its critic's values are beyond what any
policy could earn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gtp_jax.config import trials
from gtp_jax.types import Data

EXIT_CODE = 3  # of a run that came to its end with a diverged trial


def value_bounds(reward: Data, discounts: Sequence[float], factor: float) -> np.ndarray:
    """|Q| beyond which a critic has diverged, float64 [S], for the rewards [N] of the data and discounts [S].

    That is `factor` (critic.divergence) times max |reward| / (1 - discount), which no policy's discounted rewards
    exceed, or times 1 where that is smaller, since the values of a new network are of order 1. Infinite for discount 1.
    """
    horizon = 1.0 - np.asarray(discounts, np.float64)
    largest = np.divide(np.max(np.abs(reward)), horizon, out=np.full(horizon.shape, np.inf), where=horizon > 0)
    return factor * np.maximum(largest, 1.0)


def describe_record(record: Mapping[str, Any]) -> str:
    """One line: `seed = 1, eta = 0.3 diverged during updates 6 to 10: policy/loss is not finite`."""
    label = {name: value for name, value in record.items() if name not in ("updates", "reason")}
    first, last = record["updates"]
    return f"{trials.name_values(label)} diverged during updates {first:,} to {last:,}: {record['reason']}"


def marks(labels: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether each trial is among the records that a `Watch` has `found`, [S]."""
    return [any(label.items() <= record.items() for record in found) for label in labels]


class Watch:
    """Records in `found` which of S trials diverged, given bounds [S] of the mean |Q| or |V|; `say` prints each record.

    A record has the trial's label, the first and the last update of the chunk in which divergence was first seen, and
    the reason: {"seed": 1, "eta": 0.3, "updates": [6, 10], "reason": "..."}.
    """

    def __init__(self, labels: Sequence[Mapping[str, Any]], bounds: np.ndarray, say: Callable[[str], None]):
        self._labels, self._bounds, self._say = list(labels), bounds, say
        self.found: list[dict[str, Any]] = []

    def recall(self, found: Sequence[dict[str, Any]]) -> None:
        """Takes over the records of the run's earlier start."""
        self.found = list(found)
        for record in self.found:
            self._say(describe_record(record))

    def metrics(self, first: int, last: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Looks at the metrics [S] of the updates from `first` to `last`."""
        for name, values in metrics.items():
            for i in self._new(~np.isfinite(values)):
                self._add(i, first, last, f"{name} is not finite")
        for name in ("critic/q", "critic/value"):
            values = metrics.get(name, np.zeros(len(self._labels)))
            for i in self._new(np.abs(values) > self._bounds):
                bound = f"{self._bounds[i]:.4g}, critic.divergence times what rewards and discount allow"
                self._add(i, first, last, f"{name} = {values[i]:.4g} is beyond {bound}")

    def state(self, first: int, last: int, state: Any) -> None:
        """Looks at the state after update `last`, a pytree of host arrays [S, ...]."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            for i in self._new(~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)):
                self._add(i, first, last, f"{jax.tree_util.keystr(path)} is not finite")

    def _new(self, wrong: np.ndarray) -> Iterator[int]:
        """The trials that are `wrong` [S] and have no record yet."""
        return (i for i in np.flatnonzero(wrong).tolist() if not marks([self._labels[i]], self.found)[0])

    def _add(self, i: int, first: int, last: int, reason: str) -> None:
        self.found.append({**self._labels[i], "updates": [first, last], "reason": reason})
        self._say(describe_record(self.found[-1]))
