"""Reading a Minari dataset: checked raw episodes first, then transitions that never reach across an episode's end."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ACTION_TOLERANCE = 1e-4


class Raw(NamedTuple):
    """A dataset as stored: E episodes in order, N transitions, N + E observations (each episode has its final one)."""

    observations: Any  # [N + E, ...] or a dict of such arrays
    action: np.ndarray  # [N, A]
    reward: np.ndarray  # [N]
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    episode: np.ndarray  # [N] int32: 0 ... E - 1
    step: np.ndarray  # [N] int32: the transition's place in its episode
    action_low: np.ndarray  # [A]
    action_high: np.ndarray  # [A]
    metadata: dict  # of the whole dataset
    fingerprint: str  # SHA-256 of the content

    @property
    def obs_index(self) -> np.ndarray:
        """Row [N] in `observations` of each transition's observation; the next observation is one row further on."""
        return np.arange(len(self.episode)) + self.episode


def read(folder: Path, dataset_id: str) -> Raw:
    """Reads and checks root / dataset_id.

    Raises ValueError that names dataset, episode, field and first bad index for: no episodes, shapes that are not those
    of the dataset's spaces, NaN or infinity, actions more than 1e-4 outside their bounds; and for unreadable files.
    """
    metadata = _metadata(folder, dataset_id)
    try:
        import minari

        dataset = minari.MinariDataset(folder / "data")
        episodes = list(dataset.iterate_episodes())
    except Exception as error:  # damaged files and metadata raise every kind
        raise ValueError(f"{dataset_id}: {folder} cannot be read ({error}); delete it and load it again") from error
    if not episodes:
        raise ValueError(f"{dataset_id}: {folder} holds no episodes; delete it and load it again")
    _check_shapes(dataset_id, episodes, dataset.observation_space, dataset.action_space)
    lengths = [len(episode.rewards) for episode in episodes]
    action_space = dataset.action_space
    raw = Raw(
        observations=_concatenate([episode.observations for episode in episodes]),
        action=np.concatenate([episode.actions for episode in episodes]),
        reward=np.concatenate([episode.rewards for episode in episodes]),
        terminated=np.concatenate([episode.terminations for episode in episodes]).astype(bool),
        truncated=np.concatenate([episode.truncations for episode in episodes]).astype(bool),
        episode=np.repeat(np.arange(len(episodes), dtype=np.int32), lengths),
        step=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        action_low=action_space.low.astype(np.float32),
        action_high=action_space.high.astype(np.float32),
        metadata=metadata,
        fingerprint=_fingerprint(episodes),
    )
    _check_values(dataset_id, raw)
    return raw


def _metadata(folder: Path, dataset_id: str) -> dict:
    try:
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{dataset_id}: {folder} is not a dataset ({error}); delete it and load it again") from error
    # Without them, Minari would build the environment that the file names, whatever code that runs.
    if not isinstance(metadata, dict) or not {"observation_space", "action_space"} <= set(metadata):
        raise ValueError(f"{dataset_id}: metadata.json of {folder} must state observation_space and action_space")
    return metadata


def _leaves(value: Any, path: str) -> dict[str, Any]:
    """Arrays of nested dicts by path, sorted."""
    if not isinstance(value, Mapping):
        return {path: value}
    return {name: leaf for key in sorted(value) for name, leaf in _leaves(value[key], f"{path}/{key}").items()}


def _concatenate(parts: list) -> Any:
    if isinstance(parts[0], Mapping):
        return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _check_shapes(dataset_id: str, episodes: list, observation_space, action_space) -> None:
    from gymnasium import spaces

    if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1:
        raise ValueError(f"{dataset_id}: actions must be a Box of one axis, got {action_space}")
    space_shapes = {}
    for path, space in _leaves(observation_space, "observations").items():
        if not isinstance(space, spaces.Box):
            raise ValueError(f"{dataset_id}: {path} must be a Box, got {space}")
        space_shapes[path] = space.shape
    for episode in episodes:
        steps = len(episode.rewards)
        if not steps:
            raise ValueError(f"{dataset_id}: episode {episode.id} has no transitions")
        expected = {path: (steps + 1, *shape) for path, shape in space_shapes.items()}
        expected |= {"actions": (steps, *action_space.shape), "rewards": (steps,)}
        expected |= {"terminations": (steps,), "truncations": (steps,)}
        found = {path: np.shape(leaf) for path, leaf in _fields(episode).items()}
        for path in sorted(expected | found):
            if expected.get(path) != found.get(path):
                raise ValueError(
                    f"{dataset_id}: episode {episode.id}, {path}: expected shape {expected.get(path)}, got "
                    f"{found.get(path)}"
                )


def _fields(episode) -> dict[str, np.ndarray]:
    fields = _leaves(episode.observations, "observations")
    return fields | {name: getattr(episode, name) for name in ("actions", "rewards", "terminations", "truncations")}


def _check_values(dataset_id: str, raw: Raw) -> None:
    steps = np.bincount(raw.episode)
    for path, array in _leaves(raw.observations, "observations").items():
        _require(np.isfinite(array), array, steps + 1, f"{dataset_id}: {{}}, {path}: {{}} is not finite")
    for path, array in {"actions": raw.action, "rewards": raw.reward}.items():
        _require(np.isfinite(array), array, steps, f"{dataset_id}: {{}}, {path}: {{}} is not finite")
    low, high = raw.action_low - ACTION_TOLERANCE, raw.action_high + ACTION_TOLERANCE
    inside = (raw.action >= low) & (raw.action <= high)
    message = f"{dataset_id}: {{}}, actions: {{}} is outside [{raw.action_low.min():g}, {raw.action_high.max():g}]"
    _require(inside, raw.action, steps, message)


def _require(good: np.ndarray, array: np.ndarray, lengths: np.ndarray, message: str) -> None:
    if good.all():
        return
    row, *rest = np.argwhere(~good)[0].tolist()
    starts = np.cumsum(lengths) - lengths
    episode = int(np.searchsorted(starts, row, side="right")) - 1
    index = [row - int(starts[episode]), *rest]
    raise ValueError(message.format(f"episode {episode}, first at index {index}", array[(row, *rest)]))


def _fingerprint(episodes: list) -> str:
    """Of names, shapes, dtypes and bytes, in order: the same for the same content, whenever it was written."""
    digest = hashlib.sha256()
    for episode in episodes:
        for path, array in _fields(episode).items():
            array = np.ascontiguousarray(array)
            digest.update(f"{episode.id} {path} {array.shape} {array.dtype.str}\n".encode())
            digest.update(array)
    return digest.hexdigest()
