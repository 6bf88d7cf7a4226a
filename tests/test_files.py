"""Files are written whole or not at all, and are on the disk before anything relies on them."""

import contextlib
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from gtp_jax import files
from gtp_jax.runs.metrics import append_rows


def test_json_is_plain_and_in_order(tmp_path):
    path = tmp_path / "summary.json"
    files.write_json(path, {"b": np.float32(0.5), "a": (1, np.int64(2), None, float("nan")), "c": jnp.arange(2)})
    assert list(files.read_json(path).items()) == [("b", 0.5), ("a", [1, 2, None, None]), ("c", [0, 1])]
    before = path.read_bytes()
    with pytest.raises(TypeError, match="object"):
        files.write_json(path, {"x": object()})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    for fails, content in ((True, "old"), (False, "new")):
        with contextlib.suppress(RuntimeError), files.replacing(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_text() == "old"
            if fails:
                raise RuntimeError
        assert path.read_text() == content and list(tmp_path.iterdir()) == [path]


def test_a_failed_replacement_leaves_no_litter(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(OSError):
        files.write_json(tmp_path / "summary.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_what_is_written_is_flushed_to_the_disk(tmp_path, monkeypatch):
    """All of it: rows before the checkpoint that follows them, a new file before it replaces the old one."""
    rows, file, flushed = tmp_path / "metrics.jsonl", tmp_path / "summary.json", []
    monkeypatch.setattr(os, "fsync", lambda opened: flushed.append((os.fstat(opened).st_size, file.exists())))
    append_rows(rows, [{"step": 10, "seed": 4, "loss": 0.0}])
    files.write_json(file, {"score": 1})
    assert flushed == [(rows.stat().st_size, False), (file.stat().st_size, False)]
    assert json.loads(rows.read_text())["loss"] == 0
