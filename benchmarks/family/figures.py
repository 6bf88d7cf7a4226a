"""Draws docs/first.png, docs/flow_map_density.png, docs/flow_map_goals.png and docs/umaze_study.png from the results.

python benchmarks/run.py figures [--out=docs]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import shared
from benchmarks.family.flow_map_study import DRAWN_STEPS, MEMBERS, RESULTS

FIRST = ("gtp", "consistency", "shortcut", "flow_matching", "diffusion")  # those in README's picture
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#999999", "#B8A100")


def canvas(width: float, height: float, rows: int, columns: int) -> tuple[Figure, Any]:
    """A figure and its axes [rows, columns]."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_samples(task: str, path: Path, members: Sequence[str] = tuple(MEMBERS), text: int = 9) -> None:
    """The samples of one seed of policy classes, at one step and at five, with text of so many points."""
    figure, axes = canvas(1.75 * len(members), 3.9, len(DRAWN_STEPS), len(members))
    limit = 1.3 if task == "density" else 6.3
    for column, row in enumerate(members):
        found = shared.read(RESULTS / f"{task}-{row}.json")["num_steps"]
        for line, k in enumerate(DRAWN_STEPS):
            panel = axes[line, column]
            panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
            panel.spines[:].set_color("#CBD0D8")
            panel.set_title(row.replace("_", " ") if line == 0 else "", fontsize=text)
            panel.set_ylabel(f"K = {k}" if column == 0 else "", fontsize=text)
            if str(k) not in found:
                panel.text(0.5, 0.5, "fixed K", transform=panel.transAxes, ha="center", color="#999999", fontsize=8)
            elif task == "density":
                panel.scatter(*np.array(found[str(k)]["samples"]).T, s=1.5, color="#0072B2", alpha=0.5, lw=0)
            else:
                for walk in np.array(found[str(k)]["samples"]):
                    panel.plot(*walk.T, color="#0072B2", alpha=0.25, lw=0.7)
    figure.savefig(path, dpi=140)


def draw_latency(path: Path) -> None:
    """Score against milliseconds per action, a line for each policy class that was run, a point for each K."""
    latency = shared.read(shared.RESULTS / "speed" / "latency.json")
    times = {(e["row"], e["num_steps"]): e["milliseconds"] for e in latency["cells"] if e["batch"] == 1}
    figure, [[axes]] = canvas(7.2, 4.4, 1, 1)
    cells = shared.load_cells(shared.RESULTS / "family" / "umaze_study")
    for row, colour in zip(MEMBERS, COLOURS, strict=True):
        if (cell := cells.get(row)) is None:
            continue
        scores = {each["num_steps"]: each["score"]["mean"] for each in cell["evaluations"]}
        x = [times[row, k] for k in scores]
        axes.plot(x, scores.values(), color=colour, marker="o", ms=4, lw=1.3, label=row.replace("_", " "))
        for k, place in zip(scores, x, strict=True):
            if len(scores) == 1 or row == "gtp":
                axes.annotate(f"K = {k}", (place, scores[k]), (4, -10), textcoords="offset points", fontsize=7)
    axes.set(xlabel="milliseconds per action", ylabel="score, %", ylim=(-3, 103))
    axes.grid(color="#E6E6E6", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    machine = f"{latency['device']['platform']}, {latency['device']['host_cores']} cores"
    axes.set_title(f"cloning U-Maze, temperature 1; K = 1, 2, 3, 5, 10; {machine}", fontsize=10)
    figure.savefig(path, dpi=140)


def main(argv: list[str] | None = None) -> None:
    """Draws all of them."""
    out = shared.parse(__doc__, argv, out=shared.ROOT / "docs").out
    for task in ("density", "goals"):
        draw_samples(task, out / f"flow_map_{task}.png")
    draw_samples("density", out / "first.png", FIRST, text=15)
    draw_latency(out / "umaze_study.png")
