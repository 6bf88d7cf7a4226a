"""Minari's three formats hold the same data; Arrow and Parquet files that cannot be trained on are refused by name."""

import functools
import json
import os
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stored
from gymnasium.spaces import Box, Dict
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from gtp_jax.datasets import arrow, reader

FORMATS = ("arrow", "parquet")
FLAT = Box(-np.inf, np.inf, (4,), np.float64)


def read(folder):
    return reader.read(folder, "test/x-v0")


def record(folder, data_format, space=FLAT, lengths=(3, 2), infos=None):
    """Episodes of a space's samples, as Minari writes them; returns `folder`."""
    action_space = Box(-1, 1, (2,), np.float32)
    folder.mkdir()
    storage = MinariStorage.new(folder / "data", space, action_space, data_format=data_format)
    space.seed(0)
    buffers = []
    for seed, steps in enumerate(lengths):
        arrays = stored.episode(steps)
        many = [space.sample() for _ in range(steps + 1)]
        sampled = {key: np.stack([one[key] for one in many]) for key in space} if isinstance(space, Dict) else many
        arrays["observations"] = sampled
        buffers.append(EpisodeBuffer(seed=seed or None, infos=infos and infos(steps), **arrays))
    storage.update_episodes(buffers)
    return folder


def rewrite(folder, change, number=1, **options):
    """Replaces an episode's file by `change(table)`, a table or list of tables, one per file."""
    (path,) = (folder / "data" / str(number)).glob("part-*")
    tables = change(pa.ipc.open_file(path).read_all() if path.suffix == ".arrow" else pq.read_table(path))
    path.unlink()
    for part, table in enumerate(tables if isinstance(tables, list) else [tables]):
        part = path.with_name(f"part-{part}{path.suffix}")
        if path.suffix == ".parquet":
            pq.write_table(table, part, **{"row_group_size": 2} | options)
        else:
            with pa.ipc.new_file(part, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
                file.write_table(table, max_chunksize=2)


def column(table, name, array):
    index = table.schema.get_field_index(name)
    return table.set_column(index, name, array if isinstance(array, pa.Array) else pa.array(array))


@pytest.mark.parametrize(
    "space",
    [
        FLAT,
        Box(-1, 1, (4,), np.float16),
        Box(0, 255, (2, 3), np.uint8),
        Box(-9, 9, (), np.int64),
        Dict(b=Box(-1, 1, (2, 2), np.float32), a=Box(0, 1, (1,), np.float64)),
    ],
    ids=str,
)
def test_the_same_content_is_the_same_data_in_every_format(tmp_path, space):
    infos = lambda steps: {"success": np.zeros(steps + 1, bool)}
    expected, *others = (read(record(tmp_path / name, name, space, infos=infos)) for name in ("hdf5", *FORMATS))
    assert expected.step.tolist() == [0, 1, 2, 0, 1] and expected.terminated.nonzero()[0].tolist() == [2, 4]
    for raw in others:
        assert raw.fingerprint == expected.fingerprint
        for name in set(raw._fields) - {"metadata", "observations"}:
            np.testing.assert_array_equal(getattr(raw, name), getattr(expected, name), strict=True)
        parts = [each.observations if isinstance(space, Dict) else {"": each.observations} for each in (raw, expected)]
        assert list(parts[0]) == list(parts[1])
        for path, array in parts[0].items():
            np.testing.assert_array_equal(array, parts[1][path], strict=True)


def lists(kind):
    return lambda table: column(table, "observations", table["observations"].combine_chunks().cast(kind))


def old(table):
    """As Minari 0.5.0 wrote it, with infos that no type of this package describes, and another library's notes."""
    names = pa.array([{"text": "a"}, *[None] * (len(table) - 1)])
    table = table.append_column("seed", pa.nulls(len(table), pa.uint64())).append_column("infos", names)
    return table.replace_schema_metadata({"pandas": "{", "ARROW:schema?": "no"})


KIN = {
    "parts": lambda table: [table.slice(row, 1) for row in range(len(table))],
    "lists of any length": lists(pa.list_(pa.float64())),
    "large lists": lists(pa.large_list(pa.float64())),
    "0.5.0": old,
    "nulls as padding": lambda table: column(table, "rewards", [*table["rewards"].to_pylist()[:-1], None]),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("change", KIN.values(), ids=KIN)
def test_the_same_data_as_other_writers_lay_them_out(tmp_path, data_format, change):
    folder = record(tmp_path / "x", data_format, lengths=(3, 12))
    expected = read(folder).fingerprint
    rewrite(folder, change, compression="zstd", **{"store_schema": False} if data_format == "parquet" else {})
    (folder / "data/1/metadata.json").unlink()
    for hidden in ("1/.DS_Store", "1/_metadata"):
        (folder / "data" / hidden).write_text("no table")
    assert read(folder).fingerprint == expected


def with_null(table, row, column_index=None):
    rows = table["observations"].to_pylist()
    if column_index is None:
        rows[row] = None
    else:
        rows[row][column_index] = None
    return column(table, "observations", pa.array(rows, pa.list_(pa.float64())))


def ragged(table):
    return column(
        table, "observations", [row[: 4 - index] for index, row in enumerate(table["observations"].to_pylist())]
    )


def with_rewards(values):
    return lambda table: column(table, "rewards", values)


def with_nan(table):
    return with_rewards([0.0, np.nan, 0.0])(table)


TENSOR = pa.ExtensionArray.from_storage(
    pa.fixed_shape_tensor(pa.float64(), (4,)), pa.array(3 * [4 * [0.0]], pa.list_(pa.float64(), 4))
)
NUMBERS = "rewards: expected floats or integers, got"
DAMAGES = [  # of the table of episode 1, which has 2 transitions, and what the error says
    (lambda table: table.drop_columns("actions"), "actions is missing"),
    (lambda table: table.append_column("rewards", table["rewards"]), "rewards is there more than once"),
    (with_nan, "first at index [1], rewards: nan is not finite"),
    (with_rewards([0.0, None, 1.0]), "rewards: null first at index [1]"),
    (with_rewards(["a", "b", "c"]), f"{NUMBERS} string"),
    (with_rewards([True, False, True]), f"{NUMBERS} bool"),
    (with_rewards(pa.array([1, 2, 3], pa.timestamp("s"))), f"{NUMBERS} timestamp["),
    (with_rewards(pa.array([1, 2, 3], pa.decimal128(5))), f"{NUMBERS} decimal128(5, 0)"),
    (with_rewards([[1.0], [1.0], [1.0]]), "rewards: expected shape (2,), got (2, 1)"),
    (lambda table: column(table, "observations", [1.0, 2.0, 3.0]), "observations: expected shape (3, 4), got (3,)"),
    (lambda table: column(table, "observations", 3 * [[1.0]]), "observations: expected shape (3, 4), got (3, 1)"),
    (
        lambda table: column(table, "observations", 3 * [4 * [[1.0]]]),
        "observations: expected floats or integers, got list",
    ),
    (lambda table: column(table, "observations", TENSOR), "expected floats or integers, got extension<"),
    (lambda table: column(table, "observations", 3 * [{"a": [1.0]}]), "expected floats or integers, got struct<"),
    (ragged, "observations: rows of 2 to 4 numbers"),
    (lambda table: with_null(table, 1), "observations: null first at index [1]"),
    (lambda table: with_null(table, 1, 2), "observations: null first at index [1, 2]"),
    (lambda table: table.slice(0, 2), "metadata.json states 2 transitions, and the files hold 1"),
    (lambda table: table.slice(0, 1), "has no transitions"),
    (lambda table: table.slice(0, 0), "has no transitions"),
    (lambda table: [table, with_rewards([1, 2, 3])(table)], "has columns of other types than 'part-0"),
]


def refused(folder, says):
    text = stored.refusal(lambda: read(folder))
    assert text.startswith("test/x-v0: ") and says in text, text


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("change", "says"), DAMAGES, ids=[says for _, says in DAMAGES])
def test_tables_that_cannot_be_trained_on_are_named(tmp_path, data_format, change, says):
    folder = record(tmp_path / "x", data_format)
    rewrite(folder, change)
    refused(folder, says)
    refused(folder, "episode 1")


@pytest.mark.parametrize("data_format", FORMATS)
def test_parts_of_observations_are_those_of_the_space(tmp_path, data_format):
    folder = record(tmp_path / "x", data_format, Dict(a=Box(-1, 1, (1,)), b=Box(-1, 1, (2,))))
    whole = {"a": [0.0], "b": [1.0, 2.0]}
    for rows, says in (
        (3 * [whole | {"c": [0.0]}], "observations: expected a group of a, b, got ['a', 'b', 'c']"),
        (3 * [{"b": [1.0, 2.0]}], "observations: expected a group of a, b, got ['b']"),
        (3 * [[1.0, 2.0, 3.0]], "observations: expected a group of a, b, got list<"),
        (3 * [whole | {"b": [1.0]}], "observations/b: expected shape (3, 2), got (3, 1)"),
        ([whole, None, whole], "observations: null first at index [1]"),
        ([whole, whole | {"a": [np.inf]}, whole], "first at index [1, 0], observations/a: inf"),
    ):
        rewrite(folder, lambda table, rows=rows: column(table, "observations", rows))
        refused(folder, says)


def test_folders_and_files_that_are_not_episodes(tmp_path, monkeypatch):
    for data_format in FORMATS:
        data = record(tmp_path / data_format, data_format) / "data"
        folder, (path,) = data.parent, (data / "1").glob("part-*")
        whole, other = path.read_bytes(), tmp_path / "outside"
        for content in (b"", whole[:-9], whole[: len(whole) // 2], b"PAR1 and no more", pickle.dumps(1)):
            path.write_bytes(content)
            refused(folder, f"{path.name!r} cannot be read as {data_format}")
        other.write_bytes(whole)
        for put, says in (
            (functools.partial(path.symlink_to, other), "leads out of its folder"),
            (functools.partial(os.mkfifo, path), "is not an ordinary file"),
            (path.mkdir, "is not an ordinary file"),
        ):
            path.unlink()
            put()
            refused(folder, says)
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
            path.write_bytes(whole)
        monkeypatch.setattr(arrow, "MAX_EXPANSION", (0, 150))
        refused(folder, f"in a file of {(data / '0' / path.name).stat().st_size:,} bytes")
        monkeypatch.undo()
        (data / "7").mkdir()
        refused(folder, "states 2 episodes, and the folder holds 3")
        (data / "1").rename(tmp_path / f"{data_format}-1")
        refused(folder, "episode 1 is missing")
        (data / "1").symlink_to(tmp_path / f"{data_format}-1")
        (data / "7").rmdir()
        refused(folder, "leads out of its folder")


def test_pickled_types_are_not_unpickled(tmp_path, sentinel):
    evil = pickle.dumps(stored.Sentinel(sentinel))
    for data_format in FORMATS:
        folder = record(tmp_path / data_format, data_format)
        expected = read(folder).fingerprint
        notes = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": evil}

        def hide(table, notes=notes):
            field = pa.field("rewards", pa.float64(), metadata=notes)
            return table.set_column(table.schema.get_field_index("rewards"), field, table["rewards"])

        rewrite(folder, hide)
        assert read(folder).fingerprint == expected


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    folder = record(tmp_path / "x", "arrow")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(folder, "data_format = 'arrow' needs the package pyarrow: pip install 'gtp_jax[arrow]'")


def test_an_episodes_metadata_may_say_more_and_no_nonsense(tmp_path):
    folder = record(tmp_path / "x", "arrow")
    path = folder / "data/1/metadata.json"
    path.write_text(json.dumps({"options": {"goal": [1, 2]}}))
    read(folder)
    for content, says in (("[" * 100_000, "not JSON"), ('{"total_steps": "2"}', "states '2' transitions")):
        path.write_text(content)
        refused(folder, says)
