"""metrics.jsonl survives what processes suffer: kills in the middle of a line, NaN, odd types."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

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
    assert len(lines) == 6 and json.loads(lines[3]) == {"step": 20, "seed": 5, "loss": 20.5}
    assert read_rows(metrics) == [json.loads(line) for line in lines]
    metrics.unlink()
    truncate_after(metrics, 5)
    assert read_rows(metrics) == [] and not metrics.exists()


def test_a_torn_last_line_is_dropped_wherever_it_was_cut(metrics):
    whole = metrics.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(whole) - len(lines[-1]), len(whole)):
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


def test_nan_becomes_null_and_comes_back_as_nan():
    rows = to_rows(1, FOUR_AND_FIVE, {"loss": jnp.array([jnp.nan, 2.0]), "score": np.array([np.inf, 1])})
    assert rows[0] == {"step": 1, "seed": 4, "loss": None, "score": None}
    np.testing.assert_array_equal(columns(rows, FOUR_AND_FIVE)["loss"][1], [[np.nan, 2.0]])
    with pytest.raises(ValueError, match=r"'loss'.*each of 2 seeds, got \(\)"):
        to_rows(0, FOUR_AND_FIVE, {"loss": np.float32(1)})


def test_columns_are_by_step_and_label_whatever_the_order():
    rows = [{"step": 2, "seed": 7, "loss": 4.0}, {"step": 1, "seed": 7, "loss": 3.0, "score": 9.0}]
    rows.append({"step": 1, "seed": 0, "loss": 1.0})
    found = columns(rows, [{"seed": 0}, {"seed": 7}])
    assert list(found) == ["loss", "score"]
    np.testing.assert_array_equal(found["loss"][0], [1, 2])
    np.testing.assert_array_equal(found["loss"][1], [[1.0, 3.0], [np.nan, 4.0]])
    np.testing.assert_array_equal(found["score"][1], [[np.nan, 9.0]])
    labels = [{"seed": 0, "eta": 0.1}, {"seed": 0, "eta": 1.0}]  # of a sweep
    rows = to_rows(5, labels, {"loss": np.array([1.0, 2.0])})
    assert rows[1] == {"step": 5, "seed": 0, "eta": 1.0, "loss": 2.0}
    found = columns(rows[::-1], labels)
    assert list(found) == ["loss"]
    np.testing.assert_array_equal(found["loss"][1], [[1.0, 2.0]])
