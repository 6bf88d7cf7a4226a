"""docs/scores.csv: every committed score by seed."""

import csv
from collections import defaultdict

import numpy as np
import pytest
from runs import benchmark

shared, per_seed = benchmark("shared"), benchmark("scores/per_seed")
PATH = shared.ROOT / "docs" / "scores.csv"


def test_the_file_is_what_the_results_say():
    assert PATH.read_text() == per_seed.text()


def test_every_committed_score_stands_in_it_once():
    """By file, method, K and temperature: one score for each seed, with the mean that the result tells."""
    found, expected = defaultdict(dict), {}
    with PATH.open() as file:
        for row in csv.DictReader(file):
            place = found[row["file"], row["method"], int(row["num_steps"]), float(row["temperature"])]
            assert row["seed"] not in place
            place[row["seed"]] = row["score"]
    for name, cell in shared.load_cells(shared.RESULTS / "scores").items():
        place = f"scores/{name}.json", cell.get("method")
        if "summary" in cell:
            for each in (cell["summary"], *(cell.get("evaluations") or [])):
                expected[*place, each["num_steps"], each["temperature"]] = each["score"]
        elif "scores" in cell:
            expected |= {(*place, int(k), 1.0): score for k, score in cell["scores"].items()}
    assert len(expected) > 60 and expected.keys() <= found.keys()
    for place, score in expected.items():
        assert len(found[place]) == len(score["per_seed"])
        if score["mean"] is not None:
            assert np.mean([*map(float, found[place].values())]) == pytest.approx(score["mean"])
