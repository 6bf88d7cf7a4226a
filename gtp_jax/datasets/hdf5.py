"""Reading Minari's HDF5 files: plain arrays that lie in the file itself, of the announced shapes, and nothing else.

Minari's own reader follows links and external storage to wherever a file points.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

h5: Any = h5py  # its low-level modules, which have no type stubs
CURE = "mend the file or leave that episode out"
MOST_ROWS = 100_000_000


class BadDataset(ValueError):
    """A dataset with files that are damaged, hostile, or of no use for training."""


def digest(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """The SHA-256 of names, shapes, types and bytes, in order: the same whenever the same content was written."""
    content = hashlib.sha256()
    for name, array in arrays:
        content.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


# By NumPy's letters. Rewards that are booleans or actions that are integers are another quantity than is expected.
KINDS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}
FIELDS = {"observations": "fiu", "actions": "f", "rewards": "fiu", "terminations": "biu", "truncations": "biu"}


def episodes(
    path: Path, dataset_id: str, count: int, observation_shapes: Mapping[str, tuple[int, ...]], action_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Reads the arrays of each of `count` episodes, by path: observations or observations/KEY, then the rest of FIELDS.

    `observation_shapes` holds the shape of one observation by path, sorted; `action_size` the numbers of an action.

    Raises BadDataset for a link instead of an array, storage outside the file, another type or shape, a missing or
    additional field, no transitions; and, from HDF5, exceptions of every kind for a damaged file.
    """
    with h5py.File(path, "r") as file:
        found = h5.h5g.open(file.id, b"/").get_num_objs()
        if found != count:
            says = f"metadata.json states {count} episodes, and the file holds {found}"
            raise BadDataset(f"{dataset_id}: {says}; delete {path.parent.parent} and load it again")
        for number in range(count):
            where = f"{dataset_id}: episode {number}"
            group = _member(file.id, f"episode_{number}", where)
            if not isinstance(group, h5.h5g.GroupID):
                raise BadDataset(f"{where} is no group of arrays; {CURE}")
            rewards = _member(group, "rewards", f"{where}, rewards")
            shape = rewards.shape if isinstance(rewards, h5.h5d.DatasetID) else ()
            if len(shape) != 1:
                raise BadDataset(f"{where}, rewards: expected an array of one axis, got {shape}; {CURE}")
            shapes = episode_shapes(shape[0], observation_shapes, action_size, where)
            yield {each: _read(group, each, shapes, where) for each in shapes}


def episode_shapes(
    steps: int, observation_shapes: Mapping[str, tuple[int, ...]], action_size: int, where: str
) -> dict[str, tuple[int, ...]]:
    """The shapes of an episode's arrays by path, in the order of `episodes`; BadDataset for no transitions."""
    if steps < 1:
        raise BadDataset(f"{where} has no transitions; {CURE}")
    shapes = {path: (steps + 1, *size) for path, size in observation_shapes.items()}
    return shapes | {path: (steps, action_size) if path == "actions" else (steps,) for path in list(FIELDS)[1:]}


def check_array(
    shape: tuple[int, ...], dtype: Any, path: str, shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Raises BadDataset where an array is not of the shape or the numbers of its path; `dtype` is of any library."""
    kinds = FIELDS[path.split("/")[0]]
    if not isinstance(dtype, np.dtype) or dtype.kind not in kinds or dtype.itemsize > 8:  # wider ones are not portable
        names = " or ".join(dict.fromkeys(KINDS[kind] for kind in kinds))
        raise BadDataset(f"{where}, {path}: expected {names}, got {dtype!s:.200}; {CURE}")
    if shape != shapes[path]:
        raise BadDataset(f"{where}, {path}: expected shape {shapes[path]}, got {shape}; {CURE}")


def _read(group: Any, path: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> np.ndarray:
    """Reads the array of a path below an episode's group, where each group on the way must hold what `shapes` names."""
    array, above = group, ""
    for key in path.split("/"):
        if above:
            expected = sorted({each[len(above) :].split("/")[0] for each in shapes if each.startswith(above)})
            is_group = isinstance(array, h5.h5g.GroupID)
            if not is_group or array.get_num_objs() != len(expected):
                found = sorted(name.decode(errors="replace") for name in array) if is_group else "an array"
                says = f"expected a group of {', '.join(expected)}, got {found}"
                raise BadDataset(f"{where}, {above[:-1]}: {says}; {CURE}")
        array, above = _member(array, key, f"{where}, {above}{key}"), f"{above}{key}/"
    if not isinstance(array, h5.h5d.DatasetID):
        raise BadDataset(f"{where}, {path}: expected an array, got a group; {CURE}")
    _check_storage(array, f"{where}, {path}")
    check_array(array.shape, array.dtype, path, shapes, where)
    result = np.empty(array.shape, array.dtype)
    array.read(h5.h5s.ALL, h5.h5s.ALL, result)
    return result


def table(
    path: Path, dataset_id: str, shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, str], optional: str
) -> dict[str, np.ndarray]:
    """Reads the arrays of N rows at the root of a file, by name; one without further axes may also be [N, 1].

    `shapes` holds the shape of a row and `kinds` the numbers allowed, NumPy's letters, of each array; the `optional`
    one is left out where the file has none. Raises BadDataset as `episodes` does.
    """
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        for name, shape in shapes.items():
            where = f"{dataset_id}: {name}"
            if name == optional and not file.id.links.exists(name.encode()):
                continue
            array = _member(file.id, name, where)
            if not isinstance(array, h5.h5d.DatasetID):
                raise BadDataset(f"{where}: expected an array, got a group; {CURE}")
            _check_storage(array, where)
            given, rows = array.shape, len(next(iter(found.values()))) if found else (*array.shape, 0)[0]
            if not 1 <= rows <= MOST_ROWS:
                raise BadDataset(f"{where}: expected 1 to {MOST_ROWS} rows, got {rows}; {CURE}")
            if given != (rows, *shape) and (shape or given != (rows, 1)):
                raise BadDataset(f"{where}: expected shape {(rows, *shape)}, got {given}; {CURE}")
            if array.dtype.kind not in kinds[name] or array.dtype.itemsize > 8:
                names = " or ".join(dict.fromkeys(KINDS[kind] for kind in kinds[name]))
                raise BadDataset(f"{where}: expected {names}, got {array.dtype}; {CURE}")
            found[name] = np.empty(given, array.dtype)
            array.read(h5.h5s.ALL, h5.h5s.ALL, found[name])
            found[name] = found[name].reshape(rows, *shape)
    return found


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
