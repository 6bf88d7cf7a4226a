"""Cells of the suite as text: scores with their intervals, the score of the data, how cells were made."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks import shared
from benchmarks.scores.suite import METHODS, ORDER
from gtp_jax.envs.registry import EvalEnv
from gtp_jax.runs import scores

Cells = dict[tuple[str, str], dict[str, Any]]  # by task and method


def by_place(found: Iterable[dict[str, Any]], data: str = "builtin") -> Cells:
    """The suite's cells of one kind of data by task and method.

    Raises:
      SystemExit: where the cells of a task are not of the same data, since those do not compare.
    """
    cells = {(each["task"], each["method"]): each for each in found if each["data"] == data}
    cells = {key: each for key, each in cells.items() if key[1] in METHODS}
    first: dict[str, tuple[str, str]] = {}
    for (task, method), each in cells.items():
        fingerprint = each["summary"]["fingerprint"]
        other, expected = first.setdefault(task, (method, fingerprint))
        if fingerprint != expected:
            raise SystemExit(
                f"{task}: {other} and {method} were trained on data of different content, fingerprints "
                f"{expected[:16]} and {fingerprint[:16]}; run one of them again where the other was run"
            )
    return cells


def tasks_of(cells: Cells) -> list[str]:
    """The tasks of which there is a cell, in the suite's order."""
    names = dict.fromkeys(task for task, _ in cells)
    return sorted(names, key=lambda task: (ORDER.index(task) if task in ORDER else len(ORDER), task))


def interval(score: dict[str, Any]) -> str:
    """`93.7 [90.1, 96.4]`: the mean over seeds with its 95 % interval."""
    if score["mean"] is None:
        return "diverged"
    low, high = score["ci95"]
    return f"{score['mean']:.1f} [{low:.1f}, {high:.1f}]"


def diverged_seeds(cell: dict[str, Any]) -> set[int]:
    """The seeds of a cell that diverged, though some of them may have a score."""
    return {each["seed"] for each in cell["summary"]["diverged"]}


def score_of(cell: dict[str, Any]) -> float:
    """A cell's mean; minus infinity where a seed of it diverged, so that there is none."""
    mean = cell["summary"]["score"]["mean"]
    return -np.inf if mean is None else mean


def score_text(cell: dict[str, Any] | None) -> str:
    """A cell's score, and how many of its seeds diverged; "not run" without a cell."""
    if cell is None:
        return "not run"
    gone = diverged_seeds(cell)
    mark = f", {len(gone)} of {len(cell['summary']['seeds'])} diverged" if gone else ""
    return interval(cell["summary"]["score"]) + mark


def behaviour(summary: dict[str, Any]) -> str:
    """The score of the data's own episodes, as behaviour.py measured it where it did."""
    measured = {
        each["dataset"]: each["score"] for each in shared.read(shared.RESULTS / "scores" / "behaviour.json")["rows"]
    }
    own, dataset = summary["behaviour"], summary["dataset"]
    if dataset.startswith("D4RL/kitchen/"):
        return "-"  # these data go on being rewarded for a task that is done, and evaluation does not
    if dataset in measured:
        return f"{measured[dataset]:.0f}"
    if own["behaviour_success"] is not None:
        return f"{100 * own['behaviour_success']:.0f}"
    return f"{float(scores.of_episodes(scores.scale(EvalEnv(summary['env'], dict)), own['mean_return'], False)):.0f}"


def markdown(cells: Cells, tasks: Sequence[str] | None = None, methods: Sequence[str] = tuple(METHODS)) -> str:
    """A row for each task, by default those with cells, and a column for each method."""
    lines = ["| built-in data | behaviour | " + " | ".join(methods) + " |", "|---" * (len(methods) + 2) + "|"]
    for task in tasks_of(cells) if tasks is None else tasks:
        here = [cells.get((task, method)) for method in methods]
        first = next((each for each in here if each), None)
        own = behaviour(first["summary"]) if first else ""
        lines.append(f"| {task} | {own} | " + " | ".join(map(score_text, here)) + " |")
    return "\n".join([*lines, "", origin(each for key, each in cells.items() if key[1] in methods)])


def origin(found: Iterable[dict[str, Any]]) -> str:
    """How cells were made, in one sentence."""
    summaries = [each["summary"] for each in found]
    if not summaries:
        return "No cell was run."

    def every(text: str, joined: str = " or ") -> str:
        return joined.join(dict.fromkeys(text.format(**each, many=len(each["seeds"])) for each in summaries))

    dates = sorted({each["timing"]["finished"][:10] for each in summaries})
    return (
        f"{every('{num_updates:,}')} updates, {every('{many}')} seeds, {every('{eval_episodes}')} episodes a seed, "
        f"temperature {every('{temperature}')}, one sample per action, last checkpoint, 95 % interval over seeds and "
        f"episodes; {every('{device[platform]}, {device[host_cores]} cores')}, jax {every('{versions[jax]}')}, mujoco "
        f"{every('{versions[mujoco]}')}; {', '.join(dates)}, commits {every('{commit:.10}', ', ')}."
    )
