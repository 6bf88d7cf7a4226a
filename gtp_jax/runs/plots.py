"""The pictures of a run: curves.png, scores and losses over updates, and maze.png, the paths of its policies."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gtp_jax import files
from gtp_jax.envs.maze import MazeInfo
from gtp_jax.runs.metrics import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Groups = Mapping[str, Sequence[int]]  # the columns of each group of seeds by its name
Walks = Sequence[tuple[np.ndarray, bool]]  # the episodes of a seed: path xy [T, 2], metres; whether it reached the goal

# Okabe and Ito's palette, which colour-blind readers can tell apart.
SUCCESS, FAILURE, GOAL, START = "#0072B2", "#D55E00", "#009E73", "#222222"
INK, GRID, WALL = "#333333", "#E6E6E6", "#CBD0D8"
_TITLE: dict[str, Any] = {"fontsize": 9.5, "color": INK, "loc": "left"}
_MAX_PANELS = 4


def figure(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches; made without pyplot, it opens no window and need not be closed."""
    try:
        from matplotlib.figure import Figure
    except ValueError:  # of an MPLBACKEND that there is not, at the first import; a figure needs none
        backend = os.environ.pop("MPLBACKEND", "")
        for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # halves
        from matplotlib.figure import Figure

        os.environ["MPLBACKEND"] = backend

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def axes(page: "Figure", cell: Any, title: str, x: str = "updates") -> "Axes":
    """Axes in a cell of a figure's grid; `x` names the horizontal one."""
    from matplotlib.ticker import EngFormatter

    made = page.add_subplot(cell)
    made.set_title(title, **_TITLE)
    made.set_xlabel(x, fontsize=9, color=INK)
    if x == "updates":
        made.xaxis.set_major_formatter(EngFormatter(sep=""))
    made.tick_params(which="both", labelsize=8, colors=INK, length=0)
    made.grid(color=GRID, linewidth=0.8)
    made.set_axisbelow(True)
    made.spines[["top", "right"]].set_visible(False)
    made.spines[["left", "bottom"]].set_color(GRID)
    return made


def save(page: "Figure", path: str | Path) -> None:
    """Writes a PNG file, whole or not at all."""
    with files.replacing(path) as file:
        page.savefig(file, format="png", dpi=150)


def curves(metrics: Mapping[str, Curve], path: str | Path, *, groups: Groups, title: str, score: str = "") -> None:
    """Draws score and losses over updates into a PNG file: the mean of each group of seeds, their range shaded.

    A loss is a metric whose name ends with "loss"; its axis is logarithmic where it is positive and spans more than a
    decade. `score` states what the score is.
    """
    losses = sorted(name for name in metrics if name.endswith("loss"))
    num_rows = 2 if len(losses) > 2 else 1
    num_columns = math.ceil(len(losses) / num_rows)
    page = figure(5.2 + 3.1 * num_columns, 3.9 if num_rows == 1 else 5.2)
    grid = page.add_gridspec(num_rows, 1 + num_columns, width_ratios=[1.6] + [1.0] * num_columns)

    panel = axes(page, grid[:, 0], "score")
    if "score" in metrics and np.isfinite(metrics["score"][1]).any():
        values = metrics["score"][1]
        _bands(panel, metrics["score"], groups, SUCCESS, marker="o")
        if len(groups) > 1:
            panel.legend(fontsize=7, frameon=False)
        seeds = len(next(iter(groups.values())))
        of = f": mean and range of {seeds} seeds" if seeds > 1 else ""
        panel.set_title(f"score ({score}){of}" if score else f"score{of}", **_TITLE)
        if np.nanmin(values) >= 0 and np.nanmax(values) <= 100:
            panel.set_ylim(-3, 103)
    else:
        panel.text(0.5, 0.5, "not evaluated", transform=panel.transAxes, ha="center", color=INK)
    for i, name in enumerate(losses):
        panel = axes(page, grid[i % num_rows, 1 + i // num_rows], name.replace("_", " "))
        values = metrics[name][1]
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
            panel.set_yscale("log")
        _bands(panel, metrics[name], groups, INK)
    page.suptitle(title, fontsize=12, color=INK)
    save(page, path)


def _bands(panel: "Axes", curve: Curve, groups: Groups, colour: str, marker: str = "") -> None:
    """Mean and range of each group; steps without any finite value are left out."""
    from matplotlib import colormaps

    steps, values = curve
    colours = [colour] if len(groups) == 1 else colormaps["viridis"](np.linspace(0, 0.9, len(groups)))
    for (name, indices), each in zip(groups.items(), colours, strict=True):
        group = values[:, indices]
        some = np.isfinite(group).any(axis=1)
        if some.any():
            at, group = steps[some], group[some]
            panel.fill_between(at, np.nanmin(group, axis=1), np.nanmax(group, axis=1), color=each, alpha=0.18, lw=0)
            mean = np.nanmean(group, axis=1)
            panel.plot(at, mean, color=each, linewidth=1.6, marker=marker, markersize=4, label=name)
            panel.set_xlim(left=0)


def maze(info: MazeInfo, seeds: Sequence[Walks], path: str | Path, *, titles: Sequence[str], title: str) -> None:
    """Draws the paths of each seed over the maze into a PNG file, a titled panel per seed (the first four).

    Failures are drawn on top. Start and goal are drawn where they are the same in all episodes, and around the goal the
    square within which resets move it.
    """
    walls, start, goal, noise = np.array(info.walls), info.start_xy, info.goal_xy, info.position_noise
    first, last = info.cell_to_xy((0, 0)), info.cell_to_xy((len(walls) - 1, len(walls[0]) - 1))
    beyond = np.sign(first - last) * info.cell_size / 2
    (left, top), (right, bottom) = first + beyond, last - beyond  # the map's corners
    margin = 0.6 * info.cell_size  # the outer walls need not be seen in full
    low, high = min(bottom, top) + margin, max(bottom, top) - margin
    shown, side = seeds[:_MAX_PANELS], 3.4
    page = figure(max(side * len(shown), 4.6), side * (high - low) / (right - left - 2 * margin) + 1.05)
    from matplotlib import colors, lines, patches

    grid = page.add_gridspec(1, len(shown))
    legend = [
        lines.Line2D([], [], color=SUCCESS, label="reached"),
        lines.Line2D([], [], color=FAILURE, marker="x", label="not reached"),
    ]
    if start is not None:
        legend.append(lines.Line2D([], [], lw=0, marker="o", mec=START, mfc="white", mew=1.4, label="start"))
    if goal is not None:
        label = "goal (moved within the square)" if noise else "goal"
        legend.append(lines.Line2D([], [], lw=0, marker="o", color=GOAL, label=label))

    for i, episodes in enumerate(shown):
        panel = page.add_subplot(grid[0, i])
        cells = colors.ListedColormap(["white", WALL])
        panel.imshow(walls, cmap=cells, extent=(left, right, bottom, top), interpolation="nearest", zorder=0)
        for reached, colour, alpha, order in ((True, SUCCESS, 0.35, 2), (False, FAILURE, 0.85, 3)):
            for xy in [xy for xy, success in episodes if bool(success) == reached]:
                panel.plot(*xy.T, color=colour, linewidth=0.9, alpha=alpha, zorder=order)
                if not reached:
                    panel.scatter(*xy[-1], marker="x", s=26, linewidths=1.6, color=colour, zorder=order)
        if goal is not None:
            square = {"fill": False, "edgecolor": GOAL, "linestyle": ":", "zorder": 4}
            corner = (goal[0] - noise, goal[1] - noise)
            panel.add_patch(patches.Rectangle(corner, 2 * noise, 2 * noise, **square))
            panel.add_patch(patches.Circle(goal, info.success_radius, color=GOAL, alpha=0.9, lw=0, zorder=5))
        if start is not None:
            panel.scatter(*start, marker="o", s=46, color="white", edgecolors=START, linewidths=1.6, zorder=5)
        panel.set_title(titles[i], **_TITLE)
        panel.set(xlim=(left + margin, right - margin), ylim=(low, high), xticks=[], yticks=[])
        panel.spines[:].set_visible(False)

    hidden = f" (the first {len(shown)} of {len(seeds)} seeds)" if len(seeds) > len(shown) else ""
    page.suptitle(title + hidden, color=INK, wrap=True)
    columns = 4 if len(shown) > 1 else 2  # which fit
    page.legend(handles=legend, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    save(page, path)
