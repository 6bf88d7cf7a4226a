"""Reading Minari's HDF5 files: plain arrays that lie in the file itself, of the announced shapes, and nothing else.

Minari's own reader follows links and external storage to wherever a file points, and decodes images and infos that are
not needed here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

CURE = "mend the file or leave that episode out"


class BadDataset(ValueError):
    """A dataset whose files are not what they must be."""


KINDS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}
# By NumPy's letters. Rewards that are booleans or actions that are integers are another quantity than is expected.
FIELDS = {"observations": "fiu", "actions": "f", "rewards": "fiu", "terminations": "biu", "truncations": "biu"}


def episodes(
    path: Path, dataset_id: str, count: int, observation_shapes: Mapping[str, tuple[int, ...]], action_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each episode, by path: observations or observations/KEY, sorted, then the rest of FIELDS.

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
        found = h5py.h5g.open(root, b"/").get_num_objs()
        if found != count:
            raise BadDataset(
                f"{dataset_id}: metadata.json states {count} episodes, and the file holds {found}; delete "
                f"{path.parent.parent} and load it again"
            )
        for number in range(count):
            where = f"{dataset_id}: episode {number}"
            group = _member(root, f"episode_{number}", where)
            if not isinstance(group, h5py.h5g.GroupID):
                raise BadDataset(f"{where} is no group of arrays; {CURE}")
            yield _episode(group, where, observation_shapes, action_size)


def _episode(group, where: str, observation_shapes, action_size: int) -> dict[str, np.ndarray]:
    rewards = _member(group, "rewards", f"{where}, rewards")
    shape = getattr(rewards, "shape", "a group")
    if len(shape) != 1:
        raise BadDataset(f"{where}, rewards: expected an array of one axis, got {shape}; {CURE}")
    steps = shape[0]
    if not steps:
        raise BadDataset(f"{where} has no transitions; {CURE}")
    found, observations = {}, _member(group, "observations", f"{where}, observations")
    for path, shape in observation_shapes.items():
        array, here = observations, "observations"
        for key in path.split("/")[1:]:
            below = [other[len(here) + 1 :] for other in observation_shapes if other.startswith(f"{here}/")]
            _check_keys(array, list(dict.fromkeys(each.split("/")[0] for each in below)), f"{where}, {here}")
            array, here = _member(array, key, f"{where}, {path}"), f"{here}/{key}"
        found[path] = _read(array, (steps + 1, *shape), FIELDS["observations"], f"{where}, {path}")
    for path in ("actions", "rewards", "terminations", "truncations"):
        array = rewards if path == "rewards" else _member(group, path, f"{where}, {path}")
        found[path] = _read(
            array, (steps, action_size) if path == "actions" else (steps,), FIELDS[path], f"{where}, {path}"
        )
    return found


def _check_keys(group, expected: list[str], where: str) -> None:
    is_group = isinstance(group, h5py.h5g.GroupID)
    if not is_group or group.get_num_objs() != len(expected):
        found = sorted(name.decode(errors="replace") for name in group) if is_group else "an array"
        raise BadDataset(f"{where}: expected a group of {', '.join(expected)}, got {found}; {CURE}")


def _member(group, name: str, where: str):
    """What a group holds itself, under a name; not what a link leads to."""
    key = name.encode()
    try:
        link = group.links.get_info(key)
    except (KeyError, RuntimeError):
        raise BadDataset(f"{where} is missing; {CURE}") from None
    if link.type != h5py.h5l.TYPE_HARD:
        raise BadDataset(f"{where} is a link to another place, which is not followed; {CURE}")
    return h5py.h5o.open(group, key)


def _check_place(array, where: str) -> None:
    if array.get_offset() is not None:
        return  # contiguous, at that place of this file
    try:
        if array.get_num_chunks():
            return  # chunks lie in their own file only
    except Exception:  # what HDF5 raises for every other layout; asking for the layout takes long, and it is rare
        storage = array.get_create_plist()
        if storage.get_external_count() or storage.get_layout() == h5py.h5d.VIRTUAL:
            raise BadDataset(f"{where} is stored in another file, which is not read; {CURE}") from None
    if not array.get_storage_size():
        raise BadDataset(f"{where} was never written; {CURE}")


def _read(array, shape: tuple[int, ...], kinds: str, where: str) -> np.ndarray:
    if not isinstance(array, h5py.h5d.DatasetID):
        raise BadDataset(f"{where}: expected an array, got a group; {CURE}")
    _check_place(array, where)
    if array.shape != shape:
        raise BadDataset(f"{where}: expected shape {shape}, got {array.shape}; {CURE}")
    dtype = array.dtype
    if dtype.kind not in kinds:
        names = dict.fromkeys(KINDS[kind] for kind in kinds)
        raise BadDataset(f"{where}: expected {' or '.join(names)}, got {dtype}; {CURE}")
    result = np.empty(shape, dtype)
    array.read(h5py.h5s.ALL, h5py.h5s.ALL, result)
    return result
