"""Joins runs of different seeds, trained apart, into one result.

    python experiments/merge.py --out=DIR RUN RUN ...

The runs must be finished and differ in their seeds only (`--config.seed_offset`). DIR gets what a run of all the seeds
would hold, checkpoints left out: config.json, metrics.jsonl, episodes.json, summary.json and curves.png.
"""

import json
from pathlib import Path

import numpy as np

from gtp_jax import files
from gtp_jax.config import trials
from gtp_jax.config.settings import check as check_settings
from gtp_jax.config.settings import completed, flatten
from gtp_jax.files import read_json
from gtp_jax.runs import directory, plots, scores
from gtp_jax.runs.metrics import append_rows, columns, read_rows
from gtp_jax.runs.terminal import Parser, refuse

# What may differ between the runs.
_OF_A_RUN = {"seed_offset", "num_seeds", *directory.FREE}
# What a merged summary tells of each run.
_OF_A_MERGE = ("seeds", "device", "versions", "commit", "timing")


def read(run: Path) -> dict:
    """A finished run's files; ValueError where there is none."""
    if not (run / "summary.json").exists():
        raise ValueError(f"{run} holds no finished run (no summary.json); start its command again to finish it")
    files = {name: read_json(run / f"{name}.json") for name in ("config", "summary", "episodes")}
    files |= {"path": run, "metrics": read_rows(run / "metrics.jsonl")}
    try:
        files["config"] = completed(files["config"])
        check_settings(files["config"])
        labels, success = files["episodes"]["lanes"], files["episodes"]["success"]
        names = {name for lane in trials.from_labels(labels) for name in lane.label()} | {"step"}
        scores_of = np.array(files["episodes"]["score"], float)
        lacking = {"fingerprint", "dataset", "algorithm", *_OF_A_MERGE} - files["summary"].keys()
        sound = scores_of.ndim == 2 and len(scores_of) == len(labels) and not lacking
        sound &= success is None or np.array(success, bool).shape == scores_of.shape
        if not sound or any(names - row.keys() for row in files["metrics"]):
            raise ValueError("numbers or names are missing")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{run}: its files are not what a run writes ({type(error).__name__}: {error})") from error
    return files


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
    combinations = trials.combinations(trials.from_labels(labels))
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
        {"run": str(run["path"]), **{name: run["summary"][name] for name in _OF_A_MERGE}} for run in runs
    ]
    out.mkdir(parents=True)
    config = {name: value for name, value in runs[0]["config"].items() if name not in ("seed_offset", "num_seeds")}
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):  # no two numbers name others
        config |= {"seed_offset": seeds[0], "num_seeds": len(seeds)}
    files.write_json(out / "config.json", config)
    append_rows(out / "metrics.jsonl", metrics)
    files.write_json(out / "episodes.json", {"lanes": labels, "score": score, "success": success})
    groups = {trials.describe(values): places for values, places in combinations}
    title = f"{summary['dataset']}, {summary['algorithm']}"
    plots.curves(columns(metrics, labels), out / "curves.png", groups=groups, title=title)
    files.write_json(out / "summary.json", summary)
    return summary


def main(argv: list[str] | None = None) -> None:
    """Reads, checks, joins; ends with one line and exit code 2 where that cannot be."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="directory to make")
    arguments = parser.parse_args(argv)
    try:
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists; choose another --out")
        summary = merge([read(run) for run in arguments.runs], arguments.out)
    except (ValueError, FileNotFoundError) as error:
        refuse(error)
    for row in summary.get("sweep") or [summary]:
        swept = {name: value for name, value in row.items() if name != "score"} if "sweep" in summary else {}
        score = row["score"]
        low, high = score["ci95"]
        name = trials.describe(swept) + ": " if swept else ""
        print(f"{name}{score['mean']:.1f} [{low:.1f}, {high:.1f}], {len(score['per_seed'])} seeds")


if __name__ == "__main__":
    main()
