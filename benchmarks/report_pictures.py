"""The pictures of benchmarks/report.py, each as an image inside the page."""

import html
import io
import json
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from suite import ORDER, ROOT, ROWS

from gtp_jax.config.methods import WITH_SUBGOALS

LATENCY = ROOT / "benchmarks/results/latency-cpu.json"
SAMPLER = {"diffusion-ql": "vp_diffusion", "consistency-ac": "consistency", "iql-flow": "flow_matching"}
SAMPLER |= dict.fromkeys(WITH_SUBGOALS, "two levels")  # whose time was not measured
_COLOURS = "#7f7f7f #1f77b4 #d62728 #ff7f0e #17becf #bcbd22 #9467bd #2ca02c #8c564b"
COLOURS = dict(zip(ROWS, _COLOURS.split(), strict=True))

Cells = dict[tuple[str, str], dict[str, Any]]


def tasks_of(cells: Cells) -> list[str]:
    """The tasks of which there is a cell, in the suite's order."""
    there = dict.fromkeys(task for task, _ in cells)
    return sorted(there, key=lambda task: (ORDER.index(task) if task in ORDER else len(ORDER), task))


def picture(figure: Figure, name: str, text: str) -> str:
    """A figure as SVG inside the page: the same bytes for the same numbers, text that is text, ids of its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    return f'<figure role="img" aria-label="{html.escape(text)}">{drawing[drawing.index("<svg") :].rstrip()}</figure>'


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
    for axis, task in zip(axes.flat, tasks, strict=False):
        for row in ROWS:
            points = cells[task, row]["curve"] if (task, row) in cells else []
            lost = [point["step"] for point in points if point["score"] is None]
            # The mean of the seeds that are left would hide those that diverged: the line ends before.
            points = [point for point in points if point["step"] < min(lost, default=np.inf)]
            steps = sorted({point["step"] for point in points})
            at = [[point["score"] for point in points if point["step"] == step] for step in steps]
            if steps:
                axis.plot(steps, [np.mean(values) for values in at], color=COLOURS[row], label=row, marker=".")
                axis.fill_between(
                    steps, *zip(*((min(v), max(v)) for v in at), strict=True), color=COLOURS[row], alpha=0.12
                )
        axis.set_title(task, fontsize=10)
        axis.set_xlabel("updates")
    axes[0, 0].set_ylabel("score")
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="lower center", ncols=len(handles), bbox_to_anchor=(0.5, -0.08))
    figure.tight_layout()
    return picture(
        figure, "curves", "score against updates, by task and row; lines are means, bands the range over seeds"
    )


def latency(cells: Cells, task: str = "antmaze-umaze") -> str:
    """Score against the time of one action."""
    measured = json.loads(LATENCY.read_text())
    times = {(each["row"], each["num_steps"]): each["milliseconds"] for each in measured["cells"] if each["batch"] == 1}
    figure = Figure(figsize=(6, 3.6))
    axis = figure.subplots()
    samplers: dict[tuple[str, int], dict[str, float]] = {}  # rows that act alike, with their scores
    for row in ROWS:
        summary = cells[task, row]["summary"] if (task, row) in cells else None
        if summary and summary["score"]["mean"] is not None:
            key = (SAMPLER.get(row, "gtp"), summary["num_steps"])
            samplers.setdefault(key, {})[row] = summary["score"]["mean"]
    for key, rows in samplers.items():
        if key in times:
            for row, mean in rows.items():
                axis.scatter(times[key], mean, color=COLOURS[row], zorder=3)
            at = (times[key], np.mean(list(rows.values())))
            label = "\n".join([*rows, f"K = {key[1]}"])
            axis.annotate(label, at, (7, 0), textcoords="offset points", fontsize=8, va="center")
    axis.set_xlabel("milliseconds per action, batch 1")
    axis.set_ylabel(f"score on {task}")
    axis.grid(alpha=0.3)
    axis.margins(x=0.35)
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, 80), max(high, 101))
    text = (
        f"<p>Times: <code>{measured['command']}</code>, {measured['date'][:10]}, commit {measured['commit'][:10]}.</p>"
    )
    return picture(figure, "latency", "score against the time of one action") + text
