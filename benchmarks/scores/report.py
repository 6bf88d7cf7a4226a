"""The report of the suite: one HTML page that needs nothing else, docs/report.html; and all scores, docs/scores.csv.

Cells that were not run are named so. tables.py prints the same scores in Markdown.
"""

import html
import io
import json
import re
import string
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks import shared
from benchmarks.scores import per_seed, published
from benchmarks.scores.aggregates import aggregate, improvement
from benchmarks.scores.cells import Cells, behaviour, by_place, diverged_seeds, origin, score_of, tasks_of
from benchmarks.scores.suite import METHODS, RESULTS
from gtp_jax.config.tasks import TASKS

TEMPLATE = Path(__file__).with_suffix(".html")
_COLOURS = "#7f7f7f #1f77b4 #d62728 #ff7f0e #17becf #bcbd22 #9467bd #2ca02c #8c564b"
COLOURS = dict(zip(METHODS, _COLOURS.split(), strict=True))


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A table of texts and of whole <td> elements."""
    lines = ["".join(f"<th>{each}</th>" for each in header)]
    lines += ["".join(each if each.startswith("<td") else f"<td>{each}</td>" for each in row) for row in rows]
    return '<div class="wide"><table>' + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _place(cell: dict[str, Any]) -> str:
    """The anchor of a cell's command."""
    return f"{cell['data']}-{cell['task']}-{cell['method']}"


def _score(cell: dict[str, Any] | None, best: float) -> str:
    """A cell's mean, which leads to its command, its interval and seeds."""
    if cell is None:
        return '<td class="none">not run</td>'
    found, gone = cell["summary"]["score"], diverged_seeds(cell)
    seeds = " ".join(
        "diverged" if value is None else f"{value:.0f}" + " (diverged)" * (seed in gone)
        for seed, value in zip(cell["summary"]["seeds"], found["per_seed"], strict=True)
    )
    if found["mean"] is None:
        return f'<td class="none">diverged<small>{seeds}</small></td>'
    kind = ' class="best"' if score_of(cell) == best else ""
    low, high = found["ci95"]
    mean = f'<a href="#{_place(cell)}">{found["mean"]:.1f}</a>'
    return f"<td{kind}>{mean}<small>[{low:.1f}, {high:.1f}]</small><small>{seeds}</small></td>"


def scores_table(cells: Cells) -> str:
    """A row for each task, the highest mean of each set off."""
    rows = []
    for task in tasks_of(cells):
        here = [cells.get((task, method)) for method in METHODS]
        there = [each for each in here if each]
        best, summary = max(map(score_of, there)), there[0]["summary"]
        rows.append([f"{task}<small>{summary['dataset']}</small>", behaviour(summary)])
        rows[-1] += [_score(each, best) for each in here]
    return _table(["task", "behaviour<br>in the data", *METHODS], rows)


def published_table(tasks: list[str]) -> str:
    """The scores published for these tasks, on D4RL's own data."""
    names = list(dict.fromkeys(name for task in tasks for name in TASKS[task].scores))
    if not names:
        return "<p>Nothing was published for these tasks.</p>"
    known = {task: TASKS[task].scores for task in tasks if TASKS[task].scores}
    rows = [[task, *(f"{found[n]:.1f}" if n in found else "-" for n in names)] for task, found in known.items()]
    return _table(["task of D4RL", *names], rows)


def _texts(rows: list[list[str]]) -> list[list[str]]:
    """Rows of texts as HTML; what follows a line break is a remark."""
    parts = [[each.partition("\n") for each in row] for row in rows]
    small = "<small>{}</small>"
    return [
        [html.escape(big) + (small.format(html.escape(rest)) if rest else "") for big, _, rest in row] for row in parts
    ]


def aggregates_table(cells: Cells) -> str:
    """Each method beside cloning, over the tasks that both have: means, and the probability of improvement."""
    rows = []
    for method in (method for method in METHODS if method != "gtp-bc"):
        both = [task for task in tasks_of(cells) if {(task, method), (task, "gtp-bc")} <= cells.keys()]
        tasks = [task for task in both if all(np.isfinite(score_of(cells[task, m])) for m in (method, "gtp-bc"))]
        if not tasks:
            continue
        own, cloning = ([cells[task, m]["summary"]["score"]["per_seed"] for task in tasks] for m in (method, "gtp-bc"))
        found, there = aggregate(own), aggregate(cloning)
        without = [task for task in both if task not in tasks]
        which = ", ".join(tasks) + (f"; without {', '.join(without)}: diverged" if without else "")
        rows.append([method, f"<td class='words'>{which}</td>"])
        for each, name in ((found, "mean"), (found, "iqm"), (there, "mean")):
            low, high = each[f"{name}_ci95"]
            rows[-1].append(f"{each[name]:.1f}<small>[{low:.1f}, {high:.1f}]</small>")
        rows[-1].append(f"{improvement(own, cloning):.2f}")
    if not rows:
        return "<p>No task has a method beside gtp-bc.</p>"
    header = ["method", "tasks", "mean", "interquartile mean", "mean of gtp-bc there", "P(above gtp-bc)"]
    return _table(header, rows)


def curves(cells: Cells) -> str:
    """Score against updates, a panel for each task, mean and range over seeds."""
    tasks = [task for task in tasks_of(cells) if any(cells[key]["curve"] for key in cells if key[0] == task)]
    if not tasks:
        return "<p>No curve was kept.</p>"
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(tasks) :]:
        axis.axis("off")
    handles = {}
    for axis, task in zip(axes.flat, tasks, strict=False):
        for method in METHODS:
            points = cells[task, method]["curve"] if (task, method) in cells else []
            # The mean of the seeds that are left would hide those that diverged: the line ends before.
            end = min((point["step"] for point in points if point["score"] is None), default=np.inf)
            steps = sorted({point["step"] for point in points if point["step"] < end})
            at = [[point["score"] for point in points if point["step"] == step] for step in steps]
            if steps:
                colour, (low, high) = COLOURS[method], zip(*((min(v), max(v)) for v in at), strict=True)
                [handles[method]] = axis.plot(steps, [np.mean(v) for v in at], color=colour, marker=".")
                axis.fill_between(steps, low, high, color=colour, alpha=0.12)
        axis.set_title(task, fontsize=10)
        axis.set_xlabel("updates")
    axes[0, 0].set_ylabel("score")
    figure.legend(handles.values(), handles, loc="lower center", ncols=len(handles), bbox_to_anchor=(0.5, -0.08))
    figure.tight_layout()
    buffer = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "curves"}
    ):  # the same bytes for the same numbers
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    label = "score against updates, by task and method; means, and the range over seeds"
    return f'<figure role="img" aria-label="{label}">{drawing[drawing.index("<svg") :].rstrip()}</figure>'


def commands(cells: Cells) -> str:
    """How to repeat each cell, which data it had, and its summary as it was written."""
    parts = []
    for task, method in ((task, method) for task in tasks_of(cells) for method in METHODS if (task, method) in cells):
        each = cells[task, method]
        summary = each["summary"]
        facts = (
            f"{summary['algorithm']}; learning rate {each['learning_rate']}; {summary['dataset']}, fingerprint "
            f"{summary['fingerprint'][:16]}; commit {str(summary['commit'])[:10]}; {summary['timing']['finished']}"
        )
        parts.append(
            f'<details id="{_place(each)}"><summary>{task}, {method}</summary><p>{html.escape(facts)}</p>'
            f"<p><code>{html.escape(each['run'])}</code></p>"
            f"<pre>{html.escape(json.dumps(summary, indent=1))}</pre></details>"
        )
    return "\n".join(parts)


def page(found: list[dict[str, Any]]) -> str:
    """The whole page."""
    cells, hosted = by_place(found), by_place(found, "hosted")
    hosted_part = "<p>Not run: no hosted data were at hand.</p>"
    if hosted:
        hosted_part = f"<p>{html.escape(origin(hosted.values()))}</p>{scores_table(hosted)}"
    matrix = _texts(published.matrix())
    counts = sorted({each["summary"]["num_updates"] for each in cells.values()})
    return string.Template(TEMPLATE.read_text()).substitute(
        updates=" or ".join(f"{count:,}" for count in counts),
        methods="".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in METHODS.items()),
        origin=html.escape(origin(cells.values())),
        scores=scores_table(cells),
        published=published_table(tasks_of(cells)),
        unit=published.FOUND["unit"],
        papers=published.PAPERS,
        beside=_table(published.HEADER, _texts(published.beside())),
        matrix=_table(matrix[0], matrix[1:]),
        hosted=hosted_part,
        aggregates=aggregates_table(cells),
        curves=curves(cells),
        commands=commands(cells) + commands(hosted),
    )


def main(argv: list[str] | None = None) -> None:
    """Writes the page, and the scores beside it."""
    arguments = shared.parse(__doc__, argv, results=RESULTS, page=shared.ROOT / "docs" / "report.html")
    found = list(shared.load_cells(arguments.results).values())
    if not found:
        raise SystemExit(f"--results={arguments.results} holds no cell")
    arguments.page.write_text(page(found))
    arguments.page.with_name("scores.csv").write_text(per_seed.text())
    print(f"{arguments.page}: {len(found)} cells")
