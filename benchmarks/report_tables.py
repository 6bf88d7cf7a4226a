"""The tables of benchmarks/report.py, in Markdown and in HTML."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from report_pictures import Cells, tasks_of
from suite import ROOT, ROWS
from table import cell

from gtp_jax.config.tasks import TASKS
from gtp_jax.runs import scores

BEHAVIOUR = ROOT / "benchmarks/results/behaviour.json"


def by_place(found: Iterable[dict[str, Any]], data: str = "embedded") -> Cells:
    """The cells of one kind of data by task and row.

    Raises SystemExit where the cells of a task are not of the same data: those do not compare.
    """
    cells = {(each["task"], each["row"]): each for each in found if each["data"] == data and each["row"] in ROWS}
    first: dict[str, tuple[str, str]] = {}
    for (task, row), each in cells.items():
        there, fingerprint = first.setdefault(task, (row, each["summary"]["fingerprint"]))
        if each["summary"]["fingerprint"] != fingerprint:
            raise SystemExit(
                f"{task}: {there} and {row} were trained on data of different content, fingerprints {fingerprint[:16]} "
                f"and {each['summary']['fingerprint'][:16]}; run one of them again where the other was run"
            )
    return cells


def behaviour(summary: dict[str, Any]) -> str:
    """The score of the data's own episodes, as docs/data.md has it where they were measured."""
    measured = {each["dataset"]: each["score"] for each in json.loads(BEHAVIOUR.read_text())["rows"]}
    own, dataset = summary["behaviour"], summary["dataset"]
    if dataset.startswith("D4RL/kitchen/"):
        return "-"  # these data go on being rewarded for a task that is done, and evaluation does not
    if dataset in measured:
        found = measured[dataset]
    elif own["behaviour_success"] is not None:
        found = 100 * own["behaviour_success"]
    else:
        found = scores.normalised(scores.family(dataset), own["mean_return"])
    return f"{float(found):.0f}"


def lost(found: dict[str, Any]) -> set[int]:
    """The seeds of a cell that diverged, though some of them may have a score."""
    return {each["seed"] for each in found["summary"]["diverged"]}


def score(found: dict[str, Any]) -> float:
    """A cell's mean; minus infinity where a seed of it diverged, so that there is none."""
    mean = found["summary"]["score"]["mean"]
    return -np.inf if mean is None else mean


def mark(found: dict[str, Any]) -> str:
    """What is said beside the score of a cell in which seeds diverged."""
    return f", {len(lost(found))} of {len(found['summary']['seeds'])} diverged" if lost(found) else ""


def markdown(cells: Cells, tasks: Sequence[str] | None = None, rows: Sequence[str] = ROWS) -> str:
    """A row for each task, those with cells if left out, and a column for each of the suite's rows."""
    lines = ["| embedded data | behaviour | " + " | ".join(rows) + " |", "|---" * (len(rows) + 2) + "|"]
    for task in tasks_of(cells) if tasks is None else tasks:
        here = [cells.get((task, row)) for row in rows]
        first = next((each for each in here if each), None)
        shown = [cell(each["summary"]["score"]) + mark(each) if each else "not run" for each in here]
        own = behaviour(first["summary"]) if first else ""
        lines.append(f"| {task} | {own} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", origin(each for key, each in cells.items() if key[1] in rows)])


def updates(cells: Cells) -> str:
    """How many updates the cells had, in words."""
    counts = sorted({each["summary"]["num_updates"] for each in cells.values()})
    return " or ".join(f"{count:,}" for count in counts)


def origin(found: Iterable[dict[str, Any]]) -> str:
    """How cells were made."""
    summaries = [each["summary"] for each in found]
    if not summaries:
        return "No cell was run."

    def every(*values: Any, joined: str = " or ") -> str:
        return joined.join(dict.fromkeys(map(str, values)))

    seeds = every(*(len(each["seeds"]) for each in summaries))
    return (
        f"{every(*(format(each['num_updates'], ',') for each in summaries))} updates, "
        f"{seeds} seed{'s' if seeds != '1' else ''}, "
        f"{every(*(each['eval_episodes'] for each in summaries))} episodes a seed, temperature "
        f"{every(*(each['temperature'] for each in summaries))}, one sample per action, last checkpoint, 95 % interval "
        f"over seeds and episodes; {every(*(each['device']['platform'] for each in summaries))}, "
        f"{every(*(each['device']['host_cores'] for each in summaries))} cores, jax "
        f"{every(*(each['versions']['jax'] for each in summaries))}, mujoco "
        f"{every(*(each['versions']['mujoco'] for each in summaries))}; "
        f"{every(*sorted(each['timing']['finished'][:10] for each in summaries), joined=', ')}, commits "
        f"{every(*(str(each['commit'])[:10] for each in summaries), joined=', ')}."
    )


def scores_table(cells: Cells) -> str:
    """The Markdown table's content as HTML, the highest mean of each task set off."""
    lines = [
        "<tr><th>task</th><th>behaviour<br>in the data</th>" + "".join(f"<th>{row}</th>" for row in ROWS) + "</tr>"
    ]
    for task in tasks_of(cells):
        here = [cells.get((task, row)) for row in ROWS]
        best = max(score(each) for each in here if each)
        first = next(each for each in here if each)
        columns = [f"<td>{task}<small>{first['summary']['dataset']}</small></td><td>{behaviour(first['summary'])}</td>"]
        for each in here:
            if each is None:
                columns.append('<td class="none">not run</td>')
                continue
            found = each["summary"]["score"]
            seeds = " ".join(
                "diverged" if value is None else f"{value:.0f}" + " (diverged)" * (seed in lost(each))
                for seed, value in zip(each["summary"]["seeds"], found["per_seed"], strict=True)
            )
            if found["mean"] is None:
                columns.append(f'<td class="none">diverged<small>{seeds}</small></td>')
                continue
            kind = ' class="best"' if score(each) == best else ""
            columns.append(
                f"<td{kind}>{found['mean']:.1f}<small>[{found['ci95'][0]:.1f}, {found['ci95'][1]:.1f}]</small>"
                f"<small>{seeds}</small></td>"
            )
        lines.append("<tr>" + "".join(columns) + "</tr>")
    return '<div class="wide"><table>' + "\n".join(lines) + "</table></div>"


def published_table(tasks: list[str]) -> str:
    """What was published for these tasks, on D4RL's own data."""
    names = list(dict.fromkeys(name for task in tasks for name in TASKS[task].scores))
    if not names:
        return "<p>Nothing was published for these tasks.</p>"
    lines = ["<tr><th>task of D4RL</th>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"]
    for task in tasks:
        shown = [TASKS[task].scores.get(name) for name in names]
        if any(value is not None for value in shown):
            columns = "".join(f"<td>{'-' if value is None else f'{value:.1f}'}</td>" for value in shown)
            lines.append(f"<tr><td>{task}</td>{columns}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def aggregates(cells: Cells) -> str:
    """Each row beside cloning, over the tasks that both have: means, and the probability of being above it."""
    lines = [
        "<tr><th>row</th><th>tasks</th><th>mean</th><th>interquartile mean</th><th>mean of gtp-bc there</th>"
        "<th>P(above gtp-bc)</th></tr>"
    ]
    for row in (row for row in ROWS if row != "gtp-bc"):
        both = [task for task in tasks_of(cells) if {(task, row), (task, "gtp-bc")} <= cells.keys()]
        tasks = [task for task in both if all(np.isfinite(score(cells[task, each])) for each in (row, "gtp-bc"))]
        if not tasks:
            continue
        own, cloning = (
            [cells[task, each]["summary"]["score"]["per_seed"] for task in tasks] for each in (row, "gtp-bc")
        )
        without = [task for task in both if task not in tasks]
        found, there = scores.aggregate(own), scores.aggregate(cloning)
        numbers = [(found, "mean"), (found, "iqm"), (there, "mean")]
        columns = [
            f"<td>{each[name]:.1f}<small>[{each[f'{name}_ci95'][0]:.1f}, {each[f'{name}_ci95'][1]:.1f}]</small></td>"
            for each, name in numbers
        ]
        which = f"{', '.join(tasks)}" + (f"; without {', '.join(without)}: diverged" if without else "")
        lines.append(
            f"<tr><td>{row}</td><td class='words'>{which}</td>{''.join(columns)}"
            f"<td>{scores.improvement(own, cloning):.2f}</td></tr>"
        )
    if len(lines) == 1:
        return "<p>No task has a row beside gtp-bc.</p>"
    return "<table>" + "\n".join(lines) + "</table>"
