"""Rows in the order of time, sorted into episodes by the rules of D4RL's `qlearning_dataset` (arXiv 2004.07219)."""

from collections.abc import Mapping

import numpy as np

from gtp_jax.datasets import reader
from gtp_jax.datasets.hdf5 import BadDataset, digest


def raw_of_rows(dataset_id: str, columns: Mapping[str, np.ndarray], bounds: np.ndarray) -> reader.Raw:
    """Sorts N rows, `columns` named as the arguments of `arrays.from_arrays`, into episodes by its rules.

    `bounds` [2, A] are those of the actions.

    Raises BadDataset for numbers that cannot be trained on.
    """
    terminal, timeout = columns["terminals"].astype(bool), columns["timeouts"].astype(bool)
    length, end, keep = len(terminal), terminal | timeout, np.ones(len(terminal), bool)
    after = {path: each for path, each in columns.items() if path.startswith("next_observations")}
    for path, each in after.items():  # where the next row does not go on
        now = columns[path.removeprefix("next_")]
        end[:-1] |= (each[:-1] != now[1:]).any(axis=1)
    end[-1] = True
    if not after:
        keep = terminal | ~end
    episode = np.cumsum(end) - end  # of each row
    lengths = np.bincount(episode[keep], minlength=episode[-1] + 1)
    last = np.flatnonzero(end)[lengths > 0]
    lengths = lengths[lengths > 0]
    # The row of each observation: the final one of an episode stands among the next observations where there are any.
    rows = np.insert(np.flatnonzero(keep), np.cumsum(lengths), last + length * bool(after))
    names = [path for path in columns if path.startswith("observations")]
    whole = {path: np.concatenate([columns[path], after.get(f"next_{path}", columns[path])])[rows] for path in names}
    kept = {path: columns[path][keep] for path in ("actions", "rewards")} | {"terminations": terminal[keep]}
    if not len(lengths):
        raise BadDataset(f"{dataset_id}: no row has a next observation")
    reader.check_transitions(dataset_id, whole | kept, lengths, bounds)
    parts = {path.removeprefix("observations/"): each for path, each in whole.items()}
    return reader.Raw(
        observations=whole.get("observations", parts),
        action=kept["actions"],
        reward=kept["rewards"],
        terminated=kept["terminations"],
        episode=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        step=(np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(np.int32),
        action_low=bounds[0],
        action_high=bounds[1],
        metadata={},
        fingerprint=digest((whole | kept | {"lengths": lengths, "bounds": bounds}).items()),
    )
