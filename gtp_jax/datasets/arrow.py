"""Reading Minari's Arrow and Parquet files: plain numbers of the announced shapes, and no column but those of FIELDS.

An episode is a folder, data/NUMBER, of one or more files. They have a row per observation: the last row's action,
reward and flags are padding. Arrays are lists of numbers, flattened. The same arrays have the same fingerprint in every
format; only HDF5 can hold observations and actions of another type than the dataset's spaces name.
"""

import importlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.datasets.hdf5 import CURE, FIELDS, BadDataset, check_array, episode_shapes
from gtp_jax.files import check_file, read_json

FORMATS = ("arrow", "parquet")
MAX_EXPANSION = 1000, 2**26  # times a file's size, plus bytes: what may be made of it in memory


def episodes(
    folder: Path,
    dataset_id: str,
    count: int,
    observation_shapes: Mapping[str, tuple[int, ...]],
    action_size: int,
    data_format: str,
) -> Iterator[dict[str, np.ndarray]]:
    """As `hdf5.episodes`, from the files below `folder`/data, which may not lead out of `folder`.

    Raises BadDataset where pyarrow is missing, a file is damaged or of another format, or a number is missing (null).
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        needs = f"data_format = {data_format!r} needs the package pyarrow: pip install 'gtp_jax[arrow]'"
        raise BadDataset(f"{dataset_id}: {needs}") from None
    found = sum(path.is_dir() for path in _visible(folder / "data"))
    if found != count:
        says = f"metadata.json states {count} episodes, and the folder holds {found}"
        raise BadDataset(f"{dataset_id}: {says}; delete {folder} and load it again")
    row_bytes = 8 * (sum(math.prod(size) for size in observation_shapes.values()) + action_size + len(FIELDS) - 2)
    for number in range(count):
        where, place = f"{dataset_id}: episode {number}", folder / "data" / str(number)
        # Minari's own order is that of names; its writers number the parts of an episode.
        paths = sorted(_visible(place), key=lambda path: (len(path.name), path.name)) if place.is_dir() else []
        if not paths:
            raise BadDataset(f"{where} is missing; {CURE}")
        table = _table(paths, folder, where, data_format, row_bytes)
        shapes = episode_shapes(table.num_rows - 1, observation_shapes, action_size, where)
        _check_steps(place / "metadata.json", folder, where, table.num_rows - 1)
        yield {path: _read(table, path, shapes, where) for path in shapes}


def _visible(folder: Path) -> Iterator[Path]:
    """What Minari reads of a folder: all but metadata.json and names with a first letter of _ or a full stop."""
    return (path for path in folder.iterdir() if path.name[0] not in "._" and path.name != "metadata.json")


def _check_steps(path: Path, folder: Path, where: str, steps: int) -> None:
    """Raises BadDataset for another number of transitions than Minari wrote beside the files, from 0.5.1 on."""
    stated = read_json(path, folder) if path.exists() else {}
    if isinstance(stated, dict) and stated.get("total_steps", steps) != steps:
        says = f"metadata.json states {stated['total_steps']!r:.80} transitions, and the files hold {steps}"
        raise BadDataset(f"{where}: {says}; {CURE}")


def _table(paths: list[Path], folder: Path, where: str, data_format: str, row_bytes: int) -> Any:
    """The columns of FIELDS of an episode's files, one after the other, every buffer checked."""
    import pyarrow as pa

    tables = []
    for path in paths:
        check_file(path, folder)
        times, more = MAX_EXPANSION
        max_bytes = times * path.stat().st_size + more
        try:
            with pa.OSFile(str(path)) as file:
                read = _parquet(file, max_bytes // row_bytes) if data_format == "parquet" else _arrow(file, max_bytes)
            table = read.select(list(FIELDS))
            table.validate(full=True)  # else a damaged file can lead outside its buffers
        except _Refused as error:
            raise BadDataset(f"{where}, {error}; {CURE}") from None
        except Exception as error:  # damaged files raise every kind
            says = " ".join(str(error).split())
            raise BadDataset(f"{where}: {path.name!r} cannot be read as {data_format} ({says:.300}); {CURE}") from error
        if tables and not table.schema.equals(tables[0].schema):
            raise BadDataset(f"{where}: {path.name!r} has columns of other types than {paths[0].name!r}; {CURE}")
        tables.append(table)
    return pa.concat_tables(tables)


class _Refused(Exception):
    """Why a file's content is not read."""


def _parquet(file: Any, max_rows: int) -> Any:
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, page_checksum_verification=True)
    _columns(reader.schema_arrow)
    # The metadata of a single column are not asked for: pyarrow ends the process where they are damaged.
    if reader.metadata.num_rows > max_rows:
        raise _Refused(f"{reader.metadata.num_rows:,} rows in a file of {file.size():,} bytes")
    return reader.read(columns=list(FIELDS), use_threads=False)


def _arrow(file: Any, max_bytes: int) -> Any:
    import pyarrow as pa

    wanted = _columns(pa.ipc.open_file(file).schema)
    reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False))
    batches, size = [], 0
    for number in range(reader.num_record_batches):  # of which many may lie in the same place
        batches.append(reader.get_batch(number))
        size += batches[-1].get_total_buffer_size()
        if size > max_bytes:
            raise _Refused(f"more than {max_bytes:,} bytes in a file of {file.size():,} bytes")
    return pa.Table.from_batches(batches, reader.schema)


def _columns(schema: Any) -> list[int]:
    """The indices of the columns of FIELDS, in the file's order."""
    for name in FIELDS:
        if (found := len(schema.get_all_field_indices(name))) != 1:
            raise _Refused(f"{name} is {'there more than once' if found else 'missing'}")
    return sorted(schema.get_field_index(name) for name in FIELDS)


def _read(table: Any, path: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> np.ndarray:
    """The array of a path, where each struct on the way must hold what `shapes` names."""
    import pyarrow as pa

    name, *keys = path.split("/")
    rows, *size = shapes[path]
    array, above = table[name].slice(0, rows).combine_chunks(), name
    for key in keys:
        expected = sorted({each[len(above) + 1 :].split("/")[0] for each in shapes if each.startswith(f"{above}/")})
        is_struct = pa.types.is_struct(array.type)
        found = sorted(field.name for field in array.type) if is_struct else f"{array.type!s:.200}"
        if found != expected:
            says = f"expected a group of {', '.join(expected)}, got {found!s:.200}"
            raise BadDataset(f"{where}, {above}: {says}; {CURE}")
        _check_nulls(array, f"{where}, {above}")
        array, above = array.field(key), f"{above}/{key}"
    _check_nulls(array, f"{where}, {path}")
    shape, kind = (rows,), array.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list or pa.types.is_fixed_size_list(kind):
        if is_list and len(lengths := np.unique(array.value_lengths())) > 1:
            raise BadDataset(f"{where}, {path}: rows of {lengths[0]} to {lengths[-1]} numbers; {CURE}")
        array = array.flatten()
        _check_nulls(array, f"{where}, {path}", rows)
        shape, kind = (rows, len(array) // rows), array.type
        if name in ("observations", "actions") and shape[1] == math.prod(size):
            shape = shapes[path]
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    values = array.to_numpy(zero_copy_only=False) if is_number else np.empty(0)
    check_array(shape, values.dtype if is_number else kind, path, shapes, where)
    return values.reshape(shape)


def _check_nulls(array: Any, where: str, rows: int | None = None) -> None:
    """Raises BadDataset for the first missing value of an array; of one that was flattened, by row and column."""
    if array.null_count:
        first = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
        index = [first] if rows is None else [*divmod(first, len(array) // rows)]
        raise BadDataset(f"{where}: null first at index {index}; {CURE}")
