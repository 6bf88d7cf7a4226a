"""The report of the suite: one HTML page that needs nothing else, and a Markdown table.

python benchmarks/report.py [--results=benchmarks/results/suite] [--write]

With --write the page goes to docs/report.html and the table into docs/results.md. Cells that nobody ran say so.
"""

import argparse
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report_pictures import Cells, curves, latency, tasks_of
from suite import RESULTS, ROOT, ROWS, load
from table import cell, insert

from gtp_jax import scores
from gtp_jax.tasks import TASKS

BEHAVIOUR = ROOT / "benchmarks/results/behaviour.json"
PAGE, MARKDOWN = ROOT / "docs" / "report.html", ROOT / "docs" / "results.md"
MEANING = {
    "gtp-bc": "GTP that clones the data: no value",
    "gtp": "GTP with the paper's weights, exp(eta max(0, A) / std(A)), from a twin critic",
    "gtp-condition": "GTP that is told which examples did better than others in their place, and acts as a better one",
    "gtp-outcome": "GTP weighted by the same",
    "diffusion-ql": "diffusion (5 steps) with a Q term, as Diffusion-QL",
    "consistency-ac": "consistency (2 steps) with a Q term, as Consistency-AC",
    "iql-flow": "flow matching (5 steps) with IQL's critic and weights",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 600; } td.none { color: #888; }
small, td small { color: #666; display: block; font-weight: 400; white-space: nowrap; }
th, td:first-child { white-space: nowrap; } dt { font-weight: 600; } dd { margin: 0 0 .3rem 1.5rem; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
code { font-size: .8rem; overflow-wrap: anywhere; } details { margin: .5rem 0; }
.note { background: #f4f4f0; padding: .8rem 1rem; border-left: 4px solid #999; }
"""


def by_place(found: Iterable[dict[str, Any]], data: str = "embedded") -> Cells:
    """The cells of one kind of data by task and row."""
    return {(each["task"], each["row"]): each for each in found if each["data"] == data}


def behaviour(summary: dict[str, Any]) -> float:
    """The score of the data's own episodes, as docs/data.md has it where they were measured."""
    measured = {each["dataset"]: each["score"] for each in json.loads(BEHAVIOUR.read_text())["rows"]}
    if summary["dataset"] in measured:
        return measured[summary["dataset"]]
    own = summary["behaviour"]
    if own["behaviour_success"] is not None:
        return 100 * own["behaviour_success"]
    return float(scores.normalised(scores.family(summary["dataset"]), own["mean_return"]))


def score(found: dict[str, Any]) -> float:
    """A cell's mean; minus infinity where a seed of it diverged, so that there is none."""
    mean = found["summary"]["score"]["mean"]
    return -np.inf if mean is None else mean


def markdown(cells: Cells, tasks: Sequence[str] | None = None, rows: Sequence[str] = ROWS) -> str:
    """A row for each task, those with cells if left out, and a column for each of the suite's rows."""
    lines = ["| embedded data | behaviour | " + " | ".join(rows) + " |", "|---" * (len(rows) + 2) + "|"]
    for task in tasks_of(cells) if tasks is None else tasks:
        here = [cells.get((task, row)) for row in rows]
        first = next((each for each in here if each), None)
        shown = [cell(each["summary"]["score"]) if each else "not run" for each in here]
        own = f"{behaviour(first['summary']):.0f}" if first else ""
        lines.append(f"| {task} | {own} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", origin(each for key, each in cells.items() if key[1] in rows)])


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


def meanings() -> str:
    """What each row is, in words."""
    return "".join(f"<dt>{row}</dt><dd>{html.escape(MEANING[row])}</dd>" for row in ROWS)


def scores_table(cells: Cells) -> str:
    """The Markdown table's content as HTML, the highest mean of each task set off."""
    lines = [
        "<tr><th>task</th><th>behaviour<br>in the data</th>" + "".join(f"<th>{row}</th>" for row in ROWS) + "</tr>"
    ]
    for task in tasks_of(cells):
        here = [cells.get((task, row)) for row in ROWS]
        best = max(score(each) for each in here if each)
        first = next(each for each in here if each)
        columns = [
            f"<td>{task}<small>{first['summary']['dataset']}</small></td><td>{behaviour(first['summary']):.0f}</td>"
        ]
        for each in here:
            if each is None:
                columns.append('<td class="none">not run</td>')
                continue
            found = each["summary"]["score"]
            seeds = " ".join("diverged" if value is None else f"{value:.0f}" for value in found["per_seed"])
            if found["mean"] is None:
                columns.append(f'<td class="none">diverged<small>{seeds}</small></td>')
                continue
            kind = ' class="best"' if score(each) == best else ""
            columns.append(
                f"<td{kind}>{found['mean']:.1f}<small>[{found['ci95'][0]:.1f}, {found['ci95'][1]:.1f}]</small>"
                f"<small>{seeds}</small></td>"
            )
        lines.append("<tr>" + "".join(columns) + "</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


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
    """Mean and interquartile mean over tasks that every compared row has, and the probability of beating cloning."""
    cells = {key: each for key, each in cells.items() if np.isfinite(score(each))}
    tasks = tasks_of(cells)
    rows = [row for row in ROWS if all((task, row) in cells for task in tasks)]
    if len(rows) < 3 or "gtp-bc" not in rows:  # those that matter most, on the tasks that have all of them
        rows = list(ROWS[:3])
    tasks = [task for task in tasks if all((task, row) in cells for row in rows)]
    if not tasks:
        return "<p>No task has the rows to aggregate.</p>"

    def of(row: str) -> list[list[float]]:
        return [cells[task, row]["summary"]["score"]["per_seed"] for task in tasks]

    lines = ["<tr><th>row</th><th>mean</th><th>interquartile mean</th><th>P(above gtp-bc)</th></tr>"]
    for row in rows:
        found = scores.aggregate(of(row))
        pair = [
            f"<td>{found[name]:.1f}<small>[{found[f'{name}_ci95'][0]:.1f}, {found[f'{name}_ci95'][1]:.1f}]</small></td>"
            for name in ("mean", "iqm")
        ]
        chance = f"{scores.improvement(of(row), of('gtp-bc')):.2f}" if row != "gtp-bc" else "-"
        lines.append(f"<tr><td>{row}</td>{''.join(pair)}<td>{chance}</td></tr>")
    return f"<p>Over {', '.join(tasks)}.</p><table>" + "\n".join(lines) + "</table>"


def commands(cells: Cells) -> str:
    """How to repeat each cell, and which data it had."""
    parts = []
    for task in tasks_of(cells):
        for row in ROWS:
            if (task, row) in cells:
                each = cells[task, row]
                summary = each["summary"]
                facts = (
                    f"{summary['algorithm']}; learning rate {each['learning_rate']}; {summary['dataset']}, fingerprint "
                    f"{summary['fingerprint'][:16]}; commit {str(summary['commit'])[:10]}; "
                    f"{summary['timing']['finished']}"
                )
                parts.append(
                    f"<details><summary>{task}, {row}</summary><p>{html.escape(facts)}</p>"
                    f"<p><code>{html.escape(each['run'])}</code></p></details>"
                )
    return "\n".join(parts)


def page(found: list[dict[str, Any]]) -> str:
    """The whole page."""
    cells = by_place(found)
    tasks = tasks_of(cells)
    hosted = by_place(found, "hosted")
    hosted_part = (
        f"<p>{html.escape(origin(hosted.values()))}</p>{scores_table(hosted)}"
        if hosted
        else "<p>Not run: no hosted data were at hand.</p>"
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>gtp_jax: the suite</title><style>{STYLE}</style>
<h1>gtp_jax: the suite</h1>
<p>Offline reinforcement learning with generative policies: each column is a method, each row a task; one network, data
path and evaluation for all of them. Every score is that of the last checkpoint, never of the best one.</p>
<p class="note"><b>Not comparable.</b> The first table is on <em>embedded</em> data, which this project collects
itself (ids that begin with <code>gtp/</code>), after 20,000 updates. The second one is on D4RL's data after one or two
million. A score of one says nothing about a score of the other; each is to be read along its own rows.</p>
<h2>The methods</h2>
<dl>{meanings()}</dl>
<h2>Scores on embedded data</h2>
<p>Success rate in per cent for AntMaze, D4RL's normalised return for the others; below, the 95 % interval and the
seeds. Bold: the highest mean. {html.escape(origin(cells.values()))}</p>
{scores_table(cells)}
<h2>Published scores on D4RL's own data</h2>
<p>From arXiv 2510.11499, tables 1 and 2: GTP with K = 5; the others as quoted there. BC: arXiv 2110.06169, table 1.</p>
{published_table(tasks)}
<h2>Scores on hosted data</h2>
{hosted_part}
<h2>All tasks together</h2>
<p>Stratified bootstrap over seeds, 95 %; the chance is that of a seed of the row to score above one of cloning.</p>
{aggregates(cells)}
<h2>Learning curves</h2>
{curves(cells)}
<h2>Score against latency</h2>
{latency(cells)}
<h2>How to repeat it</h2>
<p>All of it, from nothing: <code>python benchmarks/suite.py --results=runs/again</code>, then
<code>python benchmarks/report.py --results=runs/again --write</code>: cells whose file is there are not run again. One by
one:</p>
{commands(cells)}
</html>
"""


def main(argv: list[str] | None = None) -> None:
    """Prints the table and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / RESULTS)
    parser.add_argument("--write", action="store_true", help="docs/report.html, and the table into docs/results.md")
    arguments = parser.parse_args(argv)
    found = load(arguments.results)
    table = markdown(by_place(found))
    print(table)
    if arguments.write:
        PAGE.write_text(page(found))
        MARKDOWN.write_text(insert(MARKDOWN.read_text(), "suite", table))


if __name__ == "__main__":
    main()
