"""Reading Minari's HDF5 files: plain arrays that lie in the file itself, of the announced shapes, and nothing else.

Minari's own reader follows links and external storage to wherever a file points, and decodes images and infos that are
not needed here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

h5: Any = h5py  # its low-level modules, which have no type stubs
CURE = "mend the file or leave that episode out"


class BadDataset(ValueError):
    """A dataset whose files are not what they must be."""


# By NumPy's letters. Rewards that are booleans or actions that are integers are another quantity than is expected.
KINDS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}
FIELDS = {"observations": "fiu", "actions": "f", "rewards": "fiu", "terminations": "biu", "truncations": "biu"}


def episodes(
    path: Path, dataset_id: str, count: int, observation_shapes: Mapping[str, tuple[int, ...]], action_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Reads the arrays of each episode, by path: observations or observations/KEY, sorted, then the rest of FIELDS.

    Args:
      path: of main_data.hdf5.
      dataset_id: for messages.
      count: how many episodes there must be.
      observation_shapes: shape of one observation by path.
      action_size: numbers in one action.

    Raises:
      BadDataset: for a link instead of an array, storage outside the file, another type or shape, a missing or
        additional field, no transitions.
      Exception: of every kind, from HDF5, for a damaged file.
    """
    with h5py.File(path, "r") as file:
        root = file.id
        found = h5.h5g.open(root, b"/").get_num_objs()
        if found != count:
            raise BadDataset(
                f"{dataset_id}: metadata.json states {count} episodes, and the file holds {found}; delete "
                f"{path.parent.parent} and load it again"
            )
        for number in range(count):
            where = f"{dataset_id}: episode {number}"
            group = _member(root, f"episode_{number}", where)
            if not isinstance(group, h5.h5g.GroupID):
                raise BadDataset(f"{where} is no group of arrays; {CURE}")
            steps = _steps(_member(group, "rewards", f"{where}, rewards"), where)
            shapes = {each: (steps + 1, *shape) for each, shape in observation_shapes.items()}
            shapes |= {each: (steps, action_size) if each == "actions" else (steps,) for each in list(FIELDS)[1:]}
            yield {each: _read(group, each, shapes, where) for each in shapes}


def _steps(rewards: Any, where: str) -> int:
    shape = rewards.shape if isinstance(rewards, h5.h5d.DatasetID) else "a group"
    if len(shape) != 1:
        raise BadDataset(f"{where}, rewards: expected an array of one axis, got {shape}; {CURE}")
    if not shape[0]:
        raise BadDataset(f"{where} has no transitions; {CURE}")
    return shape[0]


def _read(group: Any, path: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> np.ndarray:
    """Reads the array of a path below an episode's group, where each group on the way must hold what `shapes` names."""
    array, above = group, ""
    for key in path.split("/"):
        if above:
            _check_keys(
                array, {each[len(above) :].split("/")[0] for each in shapes if each.startswith(above)}, where, above
            )
        array, above = _member(array, key, f"{where}, {above}{key}"), f"{above}{key}/"
    where, shape, kinds = f"{where}, {path}", shapes[path], FIELDS[path.split("/")[0]]
    if not isinstance(array, h5.h5d.DatasetID):
        raise BadDataset(f"{where}: expected an array, got a group; {CURE}")
    _check_storage(array, where)
    if array.shape != shape:
        raise BadDataset(f"{where}: expected shape {shape}, got {array.shape}; {CURE}")
    dtype = array.dtype
    if dtype.kind not in kinds:
        names = dict.fromkeys(KINDS[kind] for kind in kinds)
        raise BadDataset(f"{where}: expected {' or '.join(names)}, got {dtype}; {CURE}")
    result = np.empty(shape, dtype)
    array.read(h5.h5s.ALL, h5.h5s.ALL, result)
    return result


def _check_keys(group: Any, expected: set[str], where: str, path: str) -> None:
    is_group = isinstance(group, h5.h5g.GroupID)
    if not is_group or group.get_num_objs() != len(expected):
        found = sorted(name.decode(errors="replace") for name in group) if is_group else "an array"
        names = ", ".join(sorted(expected))
        raise BadDataset(f"{where}, {path[:-1]}: expected a group of {names}, got {found}; {CURE}")


def _member(group: Any, name: str, where: str) -> Any:
    """The member of a group itself, not what a link leads to."""
    key = name.encode()
    try:
        link = group.links.get_info(key)
    except (KeyError, RuntimeError):
        raise BadDataset(f"{where} is missing; {CURE}") from None
    if link.type != h5.h5l.TYPE_HARD:
        raise BadDataset(f"{where} is a link to another place, which is not followed; {CURE}")
    return h5.h5o.open(group, key)


def _check_storage(array: Any, where: str) -> None:
    if array.get_offset() is not None:
        return  # contiguous, at that offset of this file
    try:
        if array.get_num_chunks():
            return  # chunks lie in their own file only
    except Exception:  # HDF5 raises it for every other layout; asking for the layout takes long, and it is rare
        storage = array.get_create_plist()
        if storage.get_external_count() or storage.get_layout() == h5.h5d.VIRTUAL:
            raise BadDataset(f"{where} is stored in another file, which is not read; {CURE}") from None
    if not array.get_storage_size():
        raise BadDataset(f"{where} was never written; {CURE}")
