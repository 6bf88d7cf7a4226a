"""Every committed score by seed, as one CSV, which report.py writes: docs/scores.csv.

A row is one seed of one policy at one K and temperature, on one dataset; `file` is the result that it stands in, below
benchmarks/results/. Seeds from 100 on chose settings.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import shared

COLUMNS = (
    *("file", "dataset", "method", "algorithm", "num_updates", "num_steps", "temperature", "episodes", "seed"),
    *("score", "platform", "cpu", "jax", "date", "commit"),
)


def _of_run(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A run's own evaluation, and those made of it later at another K or temperature."""
    summary = cell["summary"]
    own = {"num_steps": summary["num_steps"], "temperature": summary["temperature"], "score": summary["score"]}
    own |= {"episodes": summary["eval_episodes"], "date": summary["timing"]["finished"], "commit": summary["commit"]}
    how = {name: summary[name] for name in ("dataset", "algorithm", "num_updates", "seeds", "device", "versions")}
    how["method"] = cell.get("method") or cell["row"]
    later = cell.get("evaluations") or []
    repeated = [(each["num_steps"], each["temperature"]) for each in later]
    for each in later if (own["num_steps"], own["temperature"]) in repeated else [own, *later]:
        yield how | {name: each[name] for name in own}


def _by_steps(facts: Mapping[str, Any], cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A policy that a study scored at several K, at temperature 1."""
    for num_steps, score in cell["scores"].items():
        how = {"num_steps": int(num_steps), "temperature": 1.0, "score": score, "seeds": range(facts["num_seeds"])}
        yield {**facts, **cell, **how}


def entries() -> Iterator[dict[str, Any]]:
    """Every evaluation of all seeds of a policy among the committed results."""
    for name, cell in shared.load_cells(shared.RESULTS).items():
        found: Iterator[dict[str, Any]] = iter(())
        if "summary" in cell:
            found = _of_run(cell)
        elif "scores" in cell:
            found = _by_steps(cell, cell)
        elif name == "scores/d4rl_data":
            made = {name: cell[name] for name in ("device", "versions", "commit")}
            made |= {"algorithm": "gtp-bc", "timing": {"finished": cell["date"]}}
            found = _of_run({"summary": cell["clone"] | made, "method": "gtp-bc"})
        elif name == "scores/ogbench_tour":
            found = (each for method, row in cell["rows"].items() for each in _by_steps(cell, row | {"method": method}))
        for each in found:
            yield each | {"file": f"{name}.json"}


def rows() -> list[dict[str, Any]]:
    """A row for each seed, in the order of the files."""
    found = []
    for each in entries():
        device, versions = each["device"], each["versions"]
        about = {"platform": device["platform"], "cpu": device.get("cpu"), "jax": versions["jax"]}
        for seed, score in zip(each["seeds"], each["score"]["per_seed"], strict=True):
            found.append({name: (each | about | {"seed": seed, "score": score})[name] for name in COLUMNS})
    return found


def text() -> str:
    """The file's content; the score of a seed that diverged is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows())
    return buffer.getvalue()
