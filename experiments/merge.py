"""Joins runs of different seeds, trained apart, into one result.

    python experiments/merge.py --out=DIR RUN RUN ...

The runs must be finished and differ in their seeds only (`--config.seed_offset`). DIR gets what a run of all the seeds
would hold, checkpoints left out: config.json, metrics.jsonl, episodes.json, summary.json and curves.png.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from gtp_jax import lanes, plots, records, scores, workdir
from gtp_jax.settings import flatten

# What may differ between the runs.
_OF_A_RUN = {"seed_offset", "num_seeds", *workdir.FREE}


def read(run: Path) -> dict:
    """A finished run's files; ValueError where there is none."""
    if not (run / "summary.json").exists():
        raise ValueError(f"{run} holds no finished run (no summary.json); start its command again to finish it")
    files = {name: json.loads((run / f"{name}.json").read_text()) for name in ("config", "summary", "episodes")}
    return files | {"path": run, "metrics": records.read(run / "metrics.jsonl")}


def check(runs: list[dict]) -> None:
    """Raises ValueError where runs are not of the same experiment, or share a training."""
    first, names = runs[0], {}
    for run in runs:
        here, there = dict(flatten(run["config"])), dict(flatten(first["config"]))
        here["dataset fingerprint"], there["dataset fingerprint"] = (r["summary"]["fingerprint"] for r in (run, first))
        different = [
            n for n in sorted(here.keys() | there.keys()) if n not in _OF_A_RUN and here.get(n) != there.get(n)
        ]
        if different:
            raise ValueError(
                f"{run['path']} and {first['path']} are different experiments: "
                + "; ".join(f"{name}: {here.get(name)!r} and {there.get(name)!r}" for name in different)
            )
        for label in run["episodes"]["lanes"]:
            name = json.dumps(label)
            if name in names:
                raise ValueError(f"{run['path']} and {names[name]} both hold {name}; choose other --config.seed_offset")
            names[name] = run["path"]


def merge(runs: list[dict], out: Path) -> dict:
    """Writes the joined result and returns its summary."""
    check(runs)
    labels = [label for run in runs for label in run["episodes"]["lanes"]]
    score = np.concatenate([np.array(run["episodes"]["score"], float) for run in runs])
    success = [run["episodes"]["success"] for run in runs]
    success = None if success[0] is None else np.concatenate([np.array(each, bool) for each in success])
    order = sorted(range(len(labels)), key=lambda i: (*list(labels[i].values())[1:], labels[i]["seed"]))
    labels, score = [labels[i] for i in order], score[order]
    success = None if success is None else success[order]
    combinations = lanes.combinations(lanes.from_labels(labels))
    seeds = sorted({label["seed"] for label in labels})
    if any(len(places) != len(seeds) for _, places in combinations):
        raise ValueError(f"not every combination of swept values was trained with every seed of {seeds}")
    place = {json.dumps(label): i for i, label in enumerate(labels)}
    metrics = [row for run in runs for row in run["metrics"]]
    metrics.sort(key=lambda row: (row["step"], place[json.dumps({name: row[name] for name in labels[0]})]))

    first = runs[0]["summary"]
    summary = {name: value for name, value in first.items() if name not in ("score", "sweep", "timing")}
    summary |= {"seeds": seeds, **scores.table(combinations, score, success)}
    summary["diverged"] = [record for run in runs for record in run["summary"].get("diverged", [])]
    summary["merged"] = [
        {"run": str(run["path"]), **{n: run["summary"][n] for n in ("seeds", "device", "versions", "commit", "timing")}}
        for run in runs
    ]
    out.mkdir(parents=True)
    records.write_json(out / "config.json", runs[0]["config"] | {"seed_offset": seeds[0], "num_seeds": len(seeds)})
    records.append(out / "metrics.jsonl", metrics)
    records.write_json(out / "episodes.json", {"lanes": labels, "score": score, "success": success})
    groups = {lanes.describe(values): places for values, places in combinations}
    title = f"{summary['dataset']}, {summary['algorithm']}"
    plots.curves(records.columns(metrics, labels), out / "curves.png", groups=groups, title=title)
    records.write_json(out / "summary.json", summary)
    return summary


def main(argv: list[str] | None = None) -> None:
    """Reads, checks, joins; ends with one line and exit code 2 where that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="directory to make")
    arguments = parser.parse_args(argv)
    try:
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists; choose another --out")
        summary = merge([read(run) for run in arguments.runs], arguments.out)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for row in summary.get("sweep") or [summary]:
        swept = {name: value for name, value in row.items() if name != "score"} if "sweep" in summary else {}
        score = row["score"]
        low, high = score["ci95"]
        name = lanes.describe(swept) + ": " if swept else ""
        print(f"{name}{score['mean']:.1f} [{low:.1f}, {high:.1f}], {len(score['per_seed'])} seeds")


if __name__ == "__main__":
    main()
