"""Joins finished runs, which differ in their seeds only (`--config.seed_offset`), into one result.

It is what a run of all the seeds would leave, checkpoints left out: config.json, metrics.jsonl, episodes.json,
summary.json and curves.png.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtp_jax import files
from gtp_jax.commands import user_path
from gtp_jax.config import trials
from gtp_jax.config.settings import Settings
from gtp_jax.runs import directory, plots, scores
from gtp_jax.runs.metrics import append_rows, columns, read_rows
from gtp_jax.runs.terminal import Parser, Terminal

_SEEDS = ("seed_offset", "num_seeds")
_OF_EACH = ("seeds", "device", "versions", "commit", "timing")  # of each run, in a merged summary


class Run(NamedTuple):
    """The files of a finished run of S trials and E episodes each."""

    path: Path
    settings: Settings
    summary: dict[str, Any]
    trials: tuple[trials.Trial, ...]
    score: np.ndarray  # [S, E]
    success: np.ndarray | None  # bool [S, E]
    metrics: list[dict[str, Any]]


def read_run(path: Path) -> Run:
    """Reads a finished run. Raises ValueError where there is none, or its files are not what a run writes."""
    if not (path / "summary.json").exists():
        raise ValueError(f"{path} holds no finished run (no summary.json); start its command again to finish it")
    if not (path / "episodes.json").exists():
        raise ValueError(f"{path} was trained without evaluating (no episodes.json): there are no scores to join")
    try:
        config, summary, episodes = (files.read_json(path / f"{n}.json") for n in ("config", "summary", "episodes"))
        settings, found = Settings.from_json(config), trials.from_labels(episodes["trials"])
        score, success = np.array(episodes["score"], float), episodes["success"]
        success = None if success is None else np.array(success, bool)
        metrics = read_rows(path / "metrics.jsonl")
        names, known = tuple(found[0].label()), {tuple(trial.label().values()) for trial in found}
        sound = score.ndim == 2 and len(score) == len(found) and (success is None or success.shape == score.shape)
        sound &= {"fingerprint", "dataset", "algorithm", *_OF_EACH} <= summary.keys()
        sound &= all(type(row["step"]) is int and tuple(row[name] for name in names) in known for row in metrics)
        if not sound:
            raise ValueError("numbers or names are missing")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its files are not what a run writes ({type(error).__name__}: {error})") from error
    return Run(path, settings, summary, found, score, success, metrics)


def check_mergeable(runs: Sequence[Run]) -> None:
    """Raises ValueError for runs of different experiments, each difference named, or with a trial in common."""

    def experiment(run: Run) -> dict[str, Any]:
        flat = {name: value for name, value in run.settings.flat().items() if name not in _SEEDS}
        return flat | {"fingerprint of the dataset": run.summary["fingerprint"]}

    holders: dict[str, Path] = {}
    for run in runs:
        if different := directory.differences(experiment(runs[0]), experiment(run)):
            raise ValueError(f"{runs[0].path} and {run.path} are different experiments: {'; '.join(different)}")
        for name in (json.dumps(trial.label()) for trial in run.trials):
            if name in holders:
                raise ValueError(f"{holders[name]} and {run.path} both hold {name}; choose other --config.seed_offset")
            holders[name] = run.path


def merge(runs: Sequence[Run], out: Path) -> dict[str, Any]:
    """Writes the joined result to the folder `out`, which is made, and returns its summary."""
    check_mergeable(runs)
    out.mkdir(parents=True)  # which may fail, before anything is computed
    every = [trial for run in runs for trial in run.trials]
    order = sorted(range(len(every)), key=lambda i: (*every[i].swept.values(), every[i].seed))
    every = [every[i] for i in order]
    score = np.concatenate([run.score for run in runs])[order]
    successes = [run.success for run in runs if run.success is not None]
    success = np.concatenate(successes)[order] if successes else None
    combinations, seeds = trials.combinations(every), sorted({trial.seed for trial in every})
    labels = [trial.label() for trial in every]
    place = {tuple(label.values()): i for i, label in enumerate(labels)}
    metrics = [row for run in runs for row in run.metrics]
    metrics.sort(key=lambda row: (row["step"], place[tuple(row[name] for name in labels[0])]))

    summary = {name: value for name, value in runs[0].summary.items() if name not in ("score", "sweep", "timing")}
    summary |= {"seeds": seeds, **scores.score_table(combinations, score, success)}
    summary["diverged"] = [record for run in runs for record in run.summary.get("diverged", [])]
    summary["merged"] = [{"run": str(run.path)} | {name: run.summary[name] for name in _OF_EACH} for run in runs]
    config = {name: value for name, value in runs[0].settings.to_json().items() if name not in _SEEDS}
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):  # with a gap, the two numbers would name other seeds
        config |= {"seed_offset": seeds[0], "num_seeds": len(seeds)}
    files.write_json(out / "config.json", config)
    append_rows(out / "metrics.jsonl", metrics)
    files.write_json(out / "episodes.json", {"trials": labels, "score": score, "success": success})
    groups = {trials.name_values(values): indices for values, indices in combinations}
    title = f"{summary['dataset']}, {summary['algorithm']}"
    plots.curves(
        columns(metrics, labels), out / "curves.png", groups=groups, title=title, score=summary.get("score_of", "")
    )
    files.write_json(out / "summary.json", summary)
    return summary


def main(argv: list[str] | None = None) -> None:
    """Reads, checks and joins the runs, and prints their score."""
    parser = Parser(prog="gtp-jax merge", description="Joins runs of different seeds into one result.")
    parser.add_argument("runs", type=user_path, nargs="+", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--out", type=user_path, required=True, help="directory to make")
    arguments, terminal = parser.parse_args(argv), Terminal()
    if arguments.out.exists() or arguments.out.name == "..":  # of a folder that would be made
        raise ValueError(f"{arguments.out} exists; choose another --out")
    summary = merge([read_run(run) for run in arguments.runs], arguments.out)
    for row in summary.get("sweep", [summary]):
        score, swept = row["score"], {name: row[name] for name in row if name != "score" and "sweep" in summary}
        name = trials.name_values(swept) + ": " * bool(swept) + "score "
        low, high = score["ci95"]
        terminal.say(f"{name}{score['mean']:.1f} [{low:.1f}, {high:.1f}], {len(score['per_seed'])} seeds")
