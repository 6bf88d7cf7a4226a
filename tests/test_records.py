"""The run directory survives what processes suffer: kills in the middle of a line, NaN, odd types."""

import json
import os
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtp_jax import files
from gtp_jax.runs import provenance
from gtp_jax.runs.metrics import append_rows, columns, read_rows, to_rows, truncate_after

FOUR_AND_FIVE = [{"seed": 4}, {"seed": 5}]


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (10, 20, 30):
        append_rows(path, to_rows(step, FOUR_AND_FIVE, {"loss": np.array([step, step + 0.5])}))
    return path


def test_one_object_per_step_and_seed(metrics):
    lines = metrics.read_text().splitlines()
    assert len(lines) == 6
    assert json.loads(lines[3]) == {"step": 20, "seed": 5, "loss": 20.5}
    assert read_rows(metrics) == [json.loads(line) for line in lines]


def test_rows_refuse_a_metric_without_a_seed_axis():
    with pytest.raises(ValueError, match=r"'loss'.*each of 2 seeds, got \(\)"):
        to_rows(0, FOUR_AND_FIVE, {"loss": np.float32(1)})


def test_read_without_a_file(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []
    truncate_after(tmp_path / "metrics.jsonl", 5)
    assert not list(tmp_path.iterdir())


def test_a_torn_last_line_is_dropped_wherever_it_was_cut(metrics):
    whole = metrics.read_bytes()
    lines = whole.splitlines(keepends=True)
    start = len(whole) - len(lines[-1])
    for cut in range(start, len(whole)):
        metrics.write_bytes(whole[:cut])
        assert len(read_rows(metrics)) == 5
        truncate_after(metrics, 30)
        assert metrics.read_bytes() == b"".join(lines[:-1])


def test_truncate_then_append_equals_an_uninterrupted_file(metrics):
    whole = metrics.read_bytes()
    with open(metrics, "ab") as file:
        file.write(b'{"step": 40, "se')
    truncate_after(metrics, 20)
    assert [row["step"] for row in read_rows(metrics)] == [10, 10, 20, 20]
    append_rows(metrics, to_rows(30, FOUR_AND_FIVE, {"loss": np.array([30, 30.5])}))
    assert metrics.read_bytes() == whole


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(metrics):
    lines = metrics.read_text().splitlines()
    lines[2] = lines[2][:7]
    metrics.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="line 3, is not JSON"):
        read_rows(metrics)


def test_nan_becomes_null_and_comes_back_as_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    labels = [{"seed": 0}, {"seed": 1}]
    append_rows(path, to_rows(1, labels, {"loss": jnp.array([jnp.nan, 2.0]), "score": np.array([np.inf, 1])}))
    assert read_rows(path)[0] == {"step": 1, "seed": 0, "loss": None, "score": None}
    steps, values = columns(read_rows(path), labels)["loss"]
    np.testing.assert_array_equal(steps, [1])
    np.testing.assert_array_equal(values, [[np.nan, 2.0]])


def test_columns_are_by_step_and_seed_whatever_the_order():
    rows = [
        {"step": 2, "seed": 7, "loss": 4.0},
        {"step": 1, "seed": 7, "loss": 3.0, "score": 9.0},
        {"step": 1, "seed": 0, "loss": 1.0},
    ]
    found = columns(rows, [{"seed": 0}, {"seed": 7}])
    assert list(found) == ["loss", "score"]
    np.testing.assert_array_equal(found["loss"][0], [1, 2])
    np.testing.assert_array_equal(found["loss"][1], [[1.0, 3.0], [np.nan, 4.0]])
    np.testing.assert_array_equal(found["score"][1], [[np.nan, 9.0]])
    assert columns([], [{"seed": 0}]) == {}


def test_columns_of_a_sweep_are_told_apart_by_all_of_their_label():
    labels = [{"seed": 0, "eta": 0.1}, {"seed": 0, "eta": 1.0}]
    rows = to_rows(5, labels, {"loss": np.array([1.0, 2.0])})
    assert rows[1] == {"step": 5, "seed": 0, "eta": 1.0, "loss": 2.0}
    found = columns(rows[::-1], labels)
    assert list(found) == ["loss"]
    np.testing.assert_array_equal(found["loss"][1], [[1.0, 2.0]])


def test_write_json_is_whole_or_nothing(tmp_path):
    path = tmp_path / "summary.json"
    files.write_json(path, {"b": np.float32(0.5), "a": (1, np.int64(2), None, float("nan")), "c": jnp.arange(2)})
    assert json.loads(path.read_text()) == {"b": 0.5, "a": [1, 2, None, None], "c": [0, 1]}
    assert list(json.loads(path.read_text())) == ["b", "a", "c"]
    before = path.read_bytes()
    with pytest.raises(TypeError, match="object"):
        files.write_json(path, {"x": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")

    def write(fail):
        with files.replacing(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_text() == "old"
            if fail:
                raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        write(fail=True)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write(fail=False)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_handed_to_the_disk(tmp_path, monkeypatch):
    """All of it: rows before the checkpoint that follows them, a new file before it replaces the old one."""
    rows, file, handed = tmp_path / "metrics.jsonl", tmp_path / "summary.json", []
    monkeypatch.setattr(os, "fsync", lambda opened: handed.append((os.fstat(opened).st_size, file.exists())))
    append_rows(rows, to_rows(10, FOUR_AND_FIVE, {"loss": np.zeros(2)}))
    files.write_json(file, {"score": 1})
    assert handed == [(rows.stat().st_size, False), (file.stat().st_size, False)]


def test_a_failed_replacement_leaves_no_litter(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(OSError):
        files.write_json(tmp_path / "summary.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_versions_name_what_computes_the_numbers():
    found = provenance.versions()
    assert found["jax"] == jax.__version__
    assert {"python", "gtp_jax", "flax", "optax", "mujoco", "gymnasium", "minari"} <= set(found)


def test_device():
    found = provenance.device()
    assert found["platform"] == "cpu" and found["count"] == len(jax.devices())
    assert found["processor"] == provenance.processor() and (found["processor"] or sys.platform != "linux")


def test_commit_is_the_checkouts_own(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    package = tmp_path / "gtp_jax"
    package.mkdir()
    monkeypatch.setattr(provenance, "__file__", str(package / "records.py"))
    assert provenance.commit() is None  # no checkout

    def git(*words):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    assert provenance.commit() is None  # no commit yet
    (package / "records.py").write_text("")
    git("add", ".")
    git("commit", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit())
    (package / "new.py").write_text("")
    assert re.fullmatch("[0-9a-f]{40}-dirty", provenance.commit())
    # Installed below a checkout that is not its own.
    inner = tmp_path / "site-packages" / "gtp_jax"
    inner.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(inner / "records.py"))
    assert provenance.commit() is None
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None  # no git
