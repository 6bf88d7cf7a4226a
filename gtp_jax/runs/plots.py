"""The pictures of a run: curves.png, scores and losses over updates, and maze.png, where the policies walked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gtp_jax import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
SUCCESS, FAILURE, GOAL, START = "#0072B2", "#D55E00", "#009E73", "#222222"
INK, GRID, WALL = "#333333", "#E6E6E6", "#CBD0D8"
_TITLE: dict[str, Any] = {"fontsize": 9.5, "color": INK, "loc": "left"}
_MAX_PANELS = 4


def figure(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches, on a canvas of its own: no pyplot, no window, nothing to close."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def axes(page: "Figure", cell: Any, title: str, x: str = "updates") -> "Axes":
    """Axes in a cell of a figure's grid, with the name of the horizontal one."""
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


def curves(
    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | Path,
    *,
    groups: Mapping[str, Sequence[int]] | None = None,
    title: str = "",
) -> None:
    """Draws the score and the losses over updates: the mean over seeds, their range shaded, for each group of seeds.

    A loss is every metric whose name ends with "loss". Its axis is logarithmic where it is positive throughout and
    spans more than a decade. Without a "score" its panel stays empty and says so.

    Args:
      metrics: for each name its steps, [N], and values, [N, S], NaN where there is none; `metrics.columns` makes it.
      path: the PNG file to write.
      groups: the columns of each group by its name; all of them in one by default.
      title: stands above all.
    """
    from matplotlib import colormaps

    losses = sorted(name for name in metrics if name.endswith("loss"))
    columns = {"": slice(None)} if groups is None else groups
    colours = [] if len(columns) == 1 else list(colormaps["viridis"](np.linspace(0, 0.9, len(columns))))
    num_rows = 2 if len(losses) > 2 else 1
    num_columns = math.ceil(len(losses) / num_rows)
    page = figure(5.2 + 3.1 * num_columns, 3.9 if num_rows == 1 else 5.2)
    grid = page.add_gridspec(num_rows, 1 + num_columns, width_ratios=[1.6] + [1.0] * num_columns)

    panel = axes(page, grid[:, 0], "score")
    if "score" in metrics and np.isfinite(metrics["score"][1]).any():
        steps, values = metrics["score"]
        for (name, places), colour in zip(columns.items(), colours or [SUCCESS], strict=True):
            _band(panel, steps, values[:, places], colour, marker="o", label=name)
        if colours:
            panel.legend(fontsize=7, frameon=False)
        seeds = values[:, next(iter(columns.values()))].shape[1]
        panel.set_title("score" + (f": mean and range of {seeds} seeds" if seeds > 1 else ""), **_TITLE)
        if np.nanmin(values) >= 0 and np.nanmax(values) <= 100:
            panel.set_ylim(-3, 103)
    else:
        panel.text(0.5, 0.5, "not evaluated yet", transform=panel.transAxes, ha="center", color=INK)
    for i, name in enumerate(losses):
        panel = axes(page, grid[i % num_rows, 1 + i // num_rows], name.replace("_", " "))
        steps, values = metrics[name]
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
            panel.set_yscale("log")
        for places, colour in zip(columns.values(), colours or [INK], strict=True):
            _band(panel, steps, values[:, places], colour)
    page.suptitle(title, fontsize=12, color=INK)
    save(page, path)


def _band(panel: "Axes", steps: np.ndarray, values: np.ndarray, colour: Any, marker: str = "", label: str = "") -> None:
    """Mean and range over the columns of `values` [N, S]; steps without any finite value are left out."""
    some = np.isfinite(values).any(axis=1)
    steps, values = steps[some], values[some]
    if len(steps):
        panel.fill_between(steps, np.nanmin(values, axis=1), np.nanmax(values, axis=1), color=colour, alpha=0.18, lw=0)
        mean = np.nanmean(values, axis=1)
        panel.plot(steps, mean, color=colour, linewidth=1.6, marker=marker, markersize=4, label=label)
        panel.set_xlim(left=0)


def maze(
    maze_map: Sequence[Sequence[Any]],
    trajectories: Sequence[Sequence[tuple[np.ndarray, bool]]],
    path: str | Path,
    *,
    cell_size: float,
    start: np.ndarray | None,
    goal: np.ndarray | None,
    success_radius: float,
    titles: Sequence[str],
    goal_noise: float = 0.0,
    title: str = "",
) -> None:
    """Draws trajectories over the maze, one panel per seed (the first four), failures on top with a cross at the end.

    Coordinates are metres, the maze centred on the origin: cell (i, j) of a map of H rows and W columns has its centre
    at x = (j + 1/2 - W/2) * cell_size, y = (H/2 - i - 1/2) * cell_size, as in gymnasium_robotics' Maze.

    Args:
      maze_map: rows of cells, 1 where there is a wall.
      trajectories: for each seed its episodes, each a path xy [T, 2] and whether it reached the goal.
      path: the PNG file to write.
      cell_size: the side of a cell.
      start: xy [2] where episodes start, None where that differs between them.
      goal: xy [2] of the commanded goal, None where it differs between them.
      success_radius: how near the goal counts as reached.
      titles: of the panels, one for each seed.
      goal_noise: how far, in x and in y, each reset may move the goal from `goal`; drawn as a square.
      title: stands above all.
    """
    from matplotlib import collections, colors, lines, patches

    if not trajectories or len(titles) != len(trajectories):
        raise ValueError(
            f"there must be a title for each of one or more seeds, got {len(titles)} for {len(trajectories)}"
        )
    walls = np.array([[cell == 1 for cell in row] for row in maze_map])
    height, width = walls.shape
    right, top = width * cell_size / 2, height * cell_size / 2
    margin = 0.6 * cell_size  # the outer walls need not be seen in full
    shown, side = trajectories[:_MAX_PANELS], 3.4
    page = figure(max(side * len(shown), 4.6), side * (top - margin) / (right - margin) + 0.75 + 0.3 * bool(title))
    grid = page.add_gridspec(1, len(shown))
    legend = [
        lines.Line2D([], [], color=SUCCESS, label="reached"),
        lines.Line2D([], [], color=FAILURE, marker="x", label="not reached"),
    ]
    if start is not None:
        legend.append(lines.Line2D([], [], lw=0, marker="o", mec=START, mfc="white", mew=1.4, label="start"))
    if goal is not None:
        label = "goal" + (" (moved within the square)" if goal_noise else "")
        legend.append(lines.Line2D([], [], lw=0, marker="o", color=GOAL, label=label))

    for i, episodes in enumerate(shown):
        panel = page.add_subplot(grid[0, i])
        # Half-transparent walls would darken where they overlap; one image of the map does not.
        image = np.where(walls[..., None], np.array(colors.to_rgb(WALL)), 1.0)
        panel.imshow(image, extent=(-right, right, -top, top), interpolation="nearest", zorder=0)
        for reached, colour, alpha, order in ((True, SUCCESS, 0.35, 2), (False, FAILURE, 0.85, 3)):
            paths = [np.asarray(xy) for xy, success in episodes if bool(success) == reached]
            if paths:
                segments = collections.LineCollection(paths, colors=colour, linewidths=0.9, alpha=alpha, zorder=order)
                panel.add_collection(segments)
            if paths and not reached:
                ends = np.array([xy[-1] for xy in paths])
                panel.scatter(*ends.T, marker="x", s=26, linewidths=1.6, color=colour, zorder=order)
        if goal is not None and goal_noise:
            square = {"fill": False, "edgecolor": GOAL, "linestyle": ":", "zorder": 4}
            corner = (goal[0] - goal_noise, goal[1] - goal_noise)
            panel.add_patch(patches.Rectangle(corner, 2 * goal_noise, 2 * goal_noise, **square))
        if goal is not None:
            panel.add_patch(patches.Circle((goal[0], goal[1]), success_radius, color=GOAL, alpha=0.9, lw=0, zorder=5))
        if start is not None:
            panel.scatter(*start, marker="o", s=46, color="white", edgecolors=START, linewidths=1.6, zorder=5)
        panel.set_title(titles[i], **_TITLE)
        panel.set(xlim=(-right + margin, right - margin), ylim=(-top + margin, top - margin), xticks=[], yticks=[])
        panel.spines[:].set_visible(False)

    hidden = len(trajectories) - len(shown)
    page.suptitle(title + (f" (the first {len(shown)} of {len(trajectories)} seeds)" if hidden else ""), color=INK)
    page.legend(handles=legend, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    save(page, path)
