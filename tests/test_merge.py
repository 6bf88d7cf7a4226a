"""`gtp-jax merge`: runs of different seeds become one result."""

import json
import re

import numpy as np

from gtp_jax import files
from gtp_jax.commands import main
from gtp_jax.config.settings import Settings
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows


def finished_run(folder, seeds, **changes):
    """The files of a finished run of two episodes a seed: only an odd seed succeeds, and only in the first."""
    labels = [{"seed": seed, "eta": eta} for eta in (0.1, 1.0) for seed in seeds]
    folder.mkdir()
    success = [[label["seed"] % 2 == 1, False] for label in labels]
    settings = Settings.of({"seed_offset": seeds[0], "num_seeds": len(seeds), "sweep.eta": (0.1, 1.0), **changes})
    files.write_json(folder / "config.json", settings.to_json())
    for step in (1, 2):
        rows = to_rows(step, labels, {"policy/loss": np.arange(len(labels)) + 10.0 * seeds[0]})
        append_rows(folder / "metrics.jsonl", rows)
    files.write_json(folder / "episodes.json", {"trials": labels, "score": 100 * np.array(success), "success": success})
    summary = dict.fromkeys(("dataset", "algorithm", "fingerprint", "device", "versions", "commit", "timing"), "same")
    files.write_json(folder / "summary.json", summary | {"seeds": seeds, "sweep": []})
    return folder


def merged(tmp_path, *parts):
    """The three JSON files of the merged run."""
    assert main(["merge", *map(str, parts), f"--out={tmp_path / 'all'}"]) == 0
    return (json.loads((tmp_path / "all" / f"{name}.json").read_text()) for name in ("summary", "config", "episodes"))


def test_merged_runs_are_one_run(tmp_path, capsys):
    parts = finished_run(tmp_path / "b", [2, 3], devices=2), finished_run(tmp_path / "a", [0, 1])
    summary, config, episodes = merged(tmp_path, *parts)
    assert summary["seeds"] == [0, 1, 2, 3] and "timing" not in summary and len(summary["merged"]) == 2
    assert [row["eta"] for row in summary["sweep"]] == [0.1, 1.0]
    for row in summary["sweep"]:
        assert row["score"]["per_seed"] == [0, 50, 0, 50]
    assert [trial["seed"] for trial in episodes["trials"]] == [0, 1, 2, 3] * 2
    rows = read_rows(tmp_path / "all" / "metrics.jsonl")
    assert [(row["step"], row["eta"], row["seed"]) for row in rows] == [
        (step, eta, seed) for step in (1, 2) for eta in (0.1, 1.0) for seed in range(4)
    ]
    assert [row["policy/loss"] for row in rows[:4]] == [0, 1, 20, 21]
    assert config["num_seeds"] == 4 and (tmp_path / "all" / "curves.png").exists()
    assert "eta = 0.1: score 25.0" in capsys.readouterr().out


def test_seeds_with_a_gap_are_in_no_config(tmp_path):
    """The first seed and their number would name seeds that were not trained."""
    summary, config, _ = merged(tmp_path, finished_run(tmp_path / "a", [0, 1]), finished_run(tmp_path / "b", [5, 6]))
    assert config.keys() == Settings.of({"sweep.eta": (1.0,)}).to_json().keys() - {"seed_offset", "num_seeds"}
    assert summary["seeds"] == [0, 1, 5, 6]


def test_what_does_not_belong_together_is_refused(tmp_path, refused):
    first = finished_run(tmp_path / "a", [0, 1])
    for second, says in (
        (finished_run(tmp_path / "b", [1, 2]), "both hold .*1.*seed_offset"),
        (finished_run(tmp_path / "c", [2, 3], batch_size=7), "different experiments: batch_size: 256 .*7"),
        (tmp_path / "d", "no finished run"),
    ):
        error = refused("merge", str(first), str(second), f"--out={tmp_path / 'all'}")
        assert re.search(says, error) and not (tmp_path / "all").exists(), error
