"""Which trials of a run diverged, during which updates, and why.

A trial has diverged where one of its metrics or numbers is not finite, or where its critic's values are beyond what any
policy could earn. Trials share nothing: the others go on unchanged, and the run names the one that diverged.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gtp_jax.config import trials

EXIT_CODE = 3  # of a run that came to its end with a diverged trial


def value_bounds(reward: np.ndarray, discounts: Sequence[float], factor: float) -> np.ndarray:
    """|Q| beyond which a critic has diverged, float64 [S]: `factor` times max |reward| / (1 - discount), or times 1.

    Discounted rewards sum to at most max |reward| / (1 - discount), whatever the policy. The 1 is for rewards that are
    small or all 0, since the values of a new network are of order 1. Infinite where a discount is 1.

    Args:
      reward: of the data, [N].
      discounts: of the trials, [S].
      factor: the setting critic.divergence.
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
    """Whether each trial is among the records that a `Watch` or a summary has `found`, [S]."""
    return [any(label.items() <= record.items() for record in found) for label in labels]


class Watch:
    """Looks at the metrics and states of S trials that are on the host anyway, and keeps what it finds.

    `found` has a record for each trial that diverged, in order: its label, the range of updates in which that was first
    seen, both inclusive, and the reason: {"seed": 1, "eta": 0.3, "updates": [6, 10], "reason": "..."}.
    """

    def __init__(self, labels: Sequence[Mapping[str, Any]], bounds: np.ndarray, say: Callable[[str], None]):
        """Nothing is found yet.

        Args:
          labels: of the trials, S of them.
          bounds: of the mean |Q|, or |V|, of each, [S].
          say: gets one line for each trial that diverges, when it does.
        """
        self._labels, self._bounds, self._say = list(labels), bounds, say
        self.found: list[dict[str, Any]] = []

    def recall(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Takes over the records of the run's earlier start."""
        self.found = [dict(record) for record in found]
        for record in self.found:
            self._say(describe_record(record))

    def metrics(self, first: int, last: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Looks at the metrics [S] of the updates from `first` to `last`."""
        for name, values in metrics.items():
            self._add(first, last, ~np.isfinite(values), lambda _, name=name: f"{name} is not finite")
        for name in ("critic/q", "critic/value"):
            value = metrics.get(name, np.zeros(len(self._labels)))

            def exploded(i: int, name: str = name, value: np.ndarray = value) -> str:
                allowed = f"{self._bounds[i]:.4g}, critic.divergence times what rewards and discount allow"
                return f"{name} = {value[i]:.4g} is beyond {allowed}"

            self._add(first, last, np.abs(value) > self._bounds, exploded)

    def state(self, first: int, last: int, state: Any) -> None:
        """Looks at the state after update `last`, a pytree of host arrays [S, ...]."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            wrong = ~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)
            self._add(first, last, wrong, lambda _, path=path: f"{jax.tree_util.keystr(path)} is not finite")

    def _add(self, first: int, last: int, wrong: np.ndarray, reason: Callable[[int], str]) -> None:
        if not wrong.any():
            return
        for i in np.flatnonzero(wrong & ~np.array(marks(self._labels, self.found))).tolist():
            self.found.append({**self._labels[i], "updates": [first, last], "reason": reason(i)})
            self._say(describe_record(self.found[-1]))
