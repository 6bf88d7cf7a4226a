"""Reading a Minari dataset: checked raw episodes first, then transitions that never reach across an episode's end."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtp_jax.datasets import arrow, hdf5
from gtp_jax.datasets.hdf5 import CURE, BadDataset
from gtp_jax.files import check_file, read_json, write_json
from gtp_jax.names import by_path

ACTION_TOLERANCE = 1e-4  # of the half-width of the bounds
WIDEST = 1e30  # half-width of bounds that float32 can scale by; the narrowest is its inverse
EXACT_INTEGERS = 2**24
SEAL = "content_sha256"  # the key in metadata.json under which this project's own datasets state their fingerprint


class Raw(NamedTuple):
    """A dataset as stored: E episodes in order, N transitions, N + E observations.

    Each episode has its final observation, so that of transition i is row i + episode[i], and the next is one further.
    """

    observations: Any  # [N + E, ...] or a dict of such arrays, by path: "desired_goal/kettle"
    action: np.ndarray  # [N, A]
    reward: np.ndarray  # [N]
    terminated: np.ndarray  # [N] bool
    episode: np.ndarray  # [N] int32: 0 ... E - 1
    step: np.ndarray  # [N] int32: the transition's index in its episode
    action_low: np.ndarray  # [A]
    action_high: np.ndarray  # [A]
    metadata: dict  # of the whole dataset
    fingerprint: str  # SHA-256 of the content


@np.errstate(over="ignore", invalid="ignore")  # overflows are refused by name
def read(folder: Path, dataset_id: str, sealed: bool = False) -> Raw:
    """Reads and checks root / dataset_id; one that is `sealed` must hold what `seal` saw.

    Raises BadDataset, naming dataset, episode, field and first bad index, for no episodes or transitions, shapes that
    are not those of the dataset's spaces, types that are not numbers, NaN or infinity, numbers that float32 does not
    hold, actions beyond their bounds by more than 1e-4 of half the bounds' width; and for files that are unreadable,
    too large, or lead elsewhere.
    """
    try:
        metadata = _metadata(folder, dataset_id)
        shapes, bounds = _spaces(dataset_id, metadata)
        count, data_format = metadata["total_episodes"], metadata.get("data_format", "hdf5")
        if data_format == "hdf5":
            path = folder / "data" / "main_data.hdf5"
            check_file(path, folder)
            episodes = list(hdf5.episodes(path, dataset_id, count, shapes, bounds.shape[1]))
        else:
            episodes = list(arrow.episodes(folder, dataset_id, count, shapes, bounds.shape[1], data_format))
    except BadDataset:
        raise
    except Exception as error:  # damaged files raise every kind
        says = " ".join(str(error).split())
        raise BadDataset(f"{dataset_id}: {folder} cannot be read ({says}); delete it and load it again") from error
    if not episodes:
        raise BadDataset(f"{dataset_id}: {folder} holds no episodes; delete it and load it again")
    fingerprint = hdf5.digest(
        (f"{i} {path}", each) for i, episode in enumerate(episodes) for path, each in episode.items()
    )
    if sealed and metadata.get(SEAL) != fingerprint:
        found = f"{SEAL} in metadata.json is {metadata.get(SEAL)!r:.80}, the content's {fingerprint}"
        cure = "delete it and it is collected anew"
        raise BadDataset(f"{dataset_id}: {folder} does not hold what was collected there ({found}); {cure}")
    lengths = np.array([len(episode["rewards"]) for episode in episodes])
    columns = {path: np.concatenate([episode[path] for episode in episodes]) for path in episodes[0]}
    check_transitions(dataset_id, columns, lengths, bounds)
    parts = {path.removeprefix("observations/"): column for path, column in columns.items() if "/" in path}
    return Raw(
        observations=columns.get("observations", parts),
        action=columns["actions"],
        reward=columns["rewards"],
        terminated=columns["terminations"].astype(bool),
        episode=np.repeat(np.arange(len(episodes), dtype=np.int32), lengths),
        step=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        action_low=bounds[0],
        action_high=bounds[1],
        metadata=metadata,
        fingerprint=fingerprint,
    )


def seal(folder: Path, dataset_id: str) -> None:
    """Writes the fingerprint of root / dataset_id into its metadata, with which `read` compares the content."""
    raw = read(folder, dataset_id)
    write_json(folder / "data" / "metadata.json", {**raw.metadata, SEAL: raw.fingerprint})


def _metadata(folder: Path, dataset_id: str) -> dict:
    metadata, where = read_json(folder / "data" / "metadata.json", folder), f"{dataset_id}: metadata.json"
    # Without them, Minari would build the environment that the file names, whatever code that runs.
    if not isinstance(metadata, dict) or not {"observation_space", "action_space"} <= set(metadata):
        raise BadDataset(f"{where} of {folder} must state observation_space and action_space")
    if metadata.get("data_format", "hdf5") not in ("hdf5", *arrow.FORMATS):
        raise BadDataset(f"{where}: data_format = {metadata['data_format']!r:.80} must be 'hdf5', 'arrow' or 'parquet'")
    count = metadata.get("total_episodes")
    if type(count) is not int or count < 0:
        raise BadDataset(f"{where}: total_episodes = {count!r:.80} must be a whole number from 0")
    return metadata


def _spaces(dataset_id: str, metadata: dict) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """The shape of an observation by path, and the actions' bounds [2, A], float32."""
    from gymnasium import spaces
    from minari.serialization import deserialize_space

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how the bounds of a Box are rounded
        observation, action = (deserialize_space(metadata[f"{name}_space"]) for name in ("observation", "action"))
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise BadDataset(f"{dataset_id}: actions must be a Box of one axis, got {action!s:.200}")
    bounds = np.stack([action.low, action.high]).astype(np.float32)
    if not are_bounds(*bounds):
        raise BadDataset(f"{dataset_id}: actions must have finite bounds, low below high, got {action!s:.200}")
    parts = by_path(observation, "observations")
    for path, space in parts.items():
        if not isinstance(space, spaces.Box):
            raise BadDataset(f"{dataset_id}: {path} must be a Box, got {space!s:.200}")
    return {path: space.shape for path, space in parts.items()}, bounds


def are_bounds(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether actions can be scaled by these bounds [A]: finite, low at most high, of a width that float32 holds."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = high / 2 - low / 2
    return bool(np.all((half == 0) | ((half >= 1 / WIDEST) & (half <= WIDEST))))


def check_transitions(
    dataset_id: str, columns: Mapping[str, np.ndarray], lengths: np.ndarray, bounds: np.ndarray
) -> None:
    """Raises BadDataset for numbers that cannot be trained on, in columns by path; `lengths` are those of episodes."""
    for path, array in columns.items():
        if path not in ("terminations", "truncations"):
            rows = lengths + 1 if path.startswith("observations") else lengths
            check_numbers(dataset_id, path, array, rows)
        elif array.dtype != bool and not (array.min() >= 0 and array.max() <= 1):
            _refuse(dataset_id, path, array, lengths, (array != 0) & (array != 1), "neither 0 nor 1")
    actions = columns["actions"]
    half = bounds[1] / 2 - bounds[0] / 2
    tolerance = ACTION_TOLERANCE * np.where(half > 0, half, 1) + np.spacing(np.abs(bounds).max(axis=0))
    outside = (actions < bounds[0] - tolerance) | (actions > bounds[1] + tolerance)
    if outside.any():
        why = f"outside [{bounds[0].min():g}, {bounds[1].max():g}]"
        _refuse(dataset_id, "actions", actions, lengths, outside, why)


def check_numbers(dataset_id: str, path: str, array: np.ndarray, lengths: np.ndarray) -> None:
    """Raises BadDataset for NaN, infinity and what float32 does not hold, in a field of `lengths` rows per episode."""
    limit, why = np.finfo(np.float32).max, "not finite"
    if array.dtype.kind != "f":
        limit, why = EXACT_INTEGERS, f"beyond the integers that float32 holds exactly, up to {EXACT_INTEGERS}"
    bad = ~((array >= -limit) & (array <= limit))
    if bad.any():
        if array.dtype.kind == "f" and np.isfinite(array).all():
            why = f"beyond float32, whose largest number is {limit:g}"
        _refuse(dataset_id, path, array, lengths, bad, why)


def _refuse(dataset_id: str, path: str, array: np.ndarray, lengths: np.ndarray, bad: np.ndarray, why: str) -> None:
    row, *rest = np.unravel_index(int(bad.argmax()), bad.shape)
    starts = np.cumsum(lengths) - lengths
    episode = int(np.searchsorted(starts, row, side="right")) - 1
    index = [int(row - starts[episode]), *map(int, rest)]
    value = array[(row, *rest)]
    cure = CURE
    if dataset_id.startswith("arrays/"):
        beyond = "clip or rescale them, or give wider bounds"
        cure = beyond if why.startswith("outside") else "mend or leave out that episode"
    raise BadDataset(f"{dataset_id}: episode {episode}, first at index {index}, {path}: {value} is {why}; {cure}")
