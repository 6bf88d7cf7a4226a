"""The two pictures of a run: curves.png, scores and losses over updates, and maze.png, what the policies did."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gtp_jax import files

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_SUCCESS, _FAILURE, _GOAL, _START = "#0072B2", "#D55E00", "#009E73", "#222222"
_INK, _GRID, _WALL = "#333333", "#E6E6E6", "#CBD0D8"
_MAX_PANELS = 4


def curves(
    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | Path,
    *,
    score: str = "score",
    losses: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    title: str = "",
) -> None:
    """Draws the score and the losses over updates: the mean over seeds, their range shaded, for each group of seeds.

    A loss is on a logarithmic axis where it is positive throughout and spans more than a decade.

    Args:
      metrics: for each name its steps, [N], and values, [N, S], NaN where there is none; `records.columns` makes it.
      path: the PNG file to write.
      score: the name of the score; without one, the panel stays empty and says so.
      losses: the names to draw beside it; default: every name that ends with "loss".
      groups: the columns of each group by its name; all of them in one by default.
      title: stands above all.
    """
    if losses is None:
        losses = sorted(name for name in metrics if name.endswith("loss"))
    groups = groups or {"": slice(None)}
    num_rows = 2 if len(losses) > 2 else 1
    num_columns = math.ceil(len(losses) / num_rows)
    figure = _figure(5.2 + 3.1 * num_columns, 3.9 if num_rows == 1 else 5.2)
    grid = figure.add_gridspec(num_rows, 1 + num_columns, width_ratios=[1.6] + [1.0] * num_columns)

    axes = _axes(figure, grid[:, 0], score)
    if score in metrics and np.isfinite(metrics[score][1]).any():
        steps, values = metrics[score]
        for (name, places), colour in zip(groups.items(), _colours(len(groups), _SUCCESS), strict=True):
            _band(axes, steps, values[:, places], colour, marker="o", label=name)
        if len(groups) > 1:
            axes.legend(fontsize=7, frameon=False)
        seeds = values[:, next(iter(groups.values()))].shape[1]
        axes.set_title(score + (f": mean and range of {seeds} seeds" if seeds > 1 else ""), **_TITLE)
        if np.nanmin(values) >= 0 and np.nanmax(values) <= 100:
            axes.set_ylim(-3, 103)
    else:
        axes.text(0.5, 0.5, "not evaluated yet", transform=axes.transAxes, ha="center", color=_INK)
    for i, name in enumerate(losses):
        axes = _axes(figure, grid[i % num_rows, 1 + i // num_rows], name.replace("_", " "))
        steps, values = metrics[name]
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
            axes.set_yscale("log")
        for places, colour in zip(groups.values(), _colours(len(groups), _INK), strict=True):
            _band(axes, steps, values[:, places], colour)
    figure.suptitle(title, fontsize=12, color=_INK)
    _save(figure, path)


def maze(
    maze_map: Sequence[Sequence],
    trajectories: Sequence[Sequence[tuple[np.ndarray, bool]]],
    path: str | Path,
    *,
    cell_size: float,
    start: np.ndarray | None,
    goal: np.ndarray | None,
    success_radius: float,
    goal_noise: float = 0.0,
    titles: Sequence[str] | None = None,
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
      goal_noise: how far, in x and in y, each reset may move the goal from `goal`; drawn as a square.
      titles: one for each panel; default: the seed's index and how many of its trajectories reached the goal.
      title: stands above all.
    """
    from matplotlib import collections, patches

    if not trajectories:
        raise ValueError("trajectories must hold at least one seed's episodes, got none")
    if titles is not None and len(titles) != len(trajectories):
        raise ValueError(f"titles must be one for each of {len(trajectories)} seeds, got {len(titles)}")
    walls = np.array([[cell == 1 for cell in row] for row in maze_map])
    height, width = walls.shape
    right, top = width * cell_size / 2, height * cell_size / 2
    margin = 0.6 * cell_size  # the outer walls need not be seen in full
    shown = trajectories[:_MAX_PANELS]

    panel = 3.4
    figure = _figure(max(panel * len(shown), 4.6), panel * (top - margin) / (right - margin) + 0.75 + 0.3 * bool(title))
    grid = figure.add_gridspec(1, len(shown))
    for seed, episodes in enumerate(shown):
        axes = figure.add_subplot(grid[0, seed])
        # Half-transparent walls would darken where they overlap; one image of the map does not.
        image = np.where(walls[..., None], _rgb(_WALL), 1.0)
        axes.imshow(image, extent=(-right, right, -top, top), interpolation="nearest", zorder=0)
        for reached, colour, alpha, order in ((True, _SUCCESS, 0.35, 2), (False, _FAILURE, 0.85, 3)):
            paths = [np.asarray(xy) for xy, success in episodes if bool(success) == reached]
            if not paths:
                continue
            axes.add_collection(
                collections.LineCollection(paths, colors=colour, linewidths=0.9, alpha=alpha, zorder=order)
            )
            if not reached:
                ends = np.array([xy[-1] for xy in paths])
                axes.scatter(*ends.T, marker="x", s=26, linewidths=1.6, color=colour, zorder=order)
        if goal is not None and goal_noise:
            corner = np.asarray(goal) - goal_noise
            square = patches.Rectangle(
                corner, 2 * goal_noise, 2 * goal_noise, fill=False, edgecolor=_GOAL, linestyle=":", zorder=4
            )
            axes.add_patch(square)
        if goal is not None:
            axes.add_patch(patches.Circle(goal, success_radius, color=_GOAL, alpha=0.9, lw=0, zorder=5))
        if start is not None:
            axes.scatter(*start, marker="o", s=46, color="white", edgecolors=_START, linewidths=1.6, zorder=5)
        reached = sum(bool(success) for _, success in episodes)
        default = f"seed {seed}: {reached} of {len(episodes)} reach the goal"
        axes.set_title(default if titles is None else titles[seed], **_TITLE)
        axes.set(xlim=(-right + margin, right - margin), ylim=(-top + margin, top - margin), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)

    hidden = len(trajectories) - len(shown)
    figure.suptitle(title + (f" (the first {len(shown)} of {len(trajectories)} seeds)" if hidden else ""), color=_INK)
    figure.legend(
        handles=_legend(start, goal, goal_noise), loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    _save(figure, path)


_TITLE = {"fontsize": 9.5, "color": _INK, "loc": "left"}


def _legend(start, goal, goal_noise: float) -> list:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_SUCCESS, label="reached"),
        Line2D([], [], color=_FAILURE, marker="x", label="not reached"),
    ]
    if start is not None:
        handles.append(Line2D([], [], lw=0, marker="o", mec=_START, mfc="white", mew=1.4, label="start"))
    if goal is not None:
        label = "goal" + (" (moved within the square)" if goal_noise else "")
        handles.append(Line2D([], [], lw=0, marker="o", color=_GOAL, label=label))
    return handles


def _rgb(colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def diagnosis(
    report: Mapping,
    value: np.ndarray,
    truth: np.ndarray,
    critic: np.ndarray,
    actions: np.ndarray,
    weights: np.ndarray,
    path: str | Path,
) -> None:
    """Draws what experiments/diagnose.py found, six panels on one page.

    Args:
      report: what it writes to diagnostics.json.
      value, truth: [N] values of held-out transitions and the returns that followed.
      critic, actions: [S, N] advantages of sampled actions, by the critic and by the simulator, mean 0 in each state.
      weights: [B] of data.
      path: the PNG file to write.
    """
    figure = _figure(12.5, 7.0)
    grid = figure.add_gridspec(2, 3)

    def panel(place, title, x, y=""):
        axes = _axes(figure, grid[place], title, x)
        axes.set_ylabel(y, fontsize=9, color=_INK)
        return axes

    def bars(place, title, values):
        axes = panel(place, title, "")
        axes.bar(list(values), list(values.values()), color=[_SUCCESS, _FAILURE, _GOAL, _START][: len(values)])

    for place, title, x, y in (
        ((0, 0), "held-out episodes", truth, value),
        (
            (0, 1),
            f"actions at one state, rank correlation {report['ranking'] or 0:.2f}",
            actions.ravel(),
            critic.ravel(),
        ),
    ):
        axes = panel(place, title, "what followed", "what the critic said")
        axes.plot(x, y, ".", ms=2 if x.size > 1000 else 4, alpha=0.4, color=_SUCCESS)
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot([low, high], [low, high], color=_INK, lw=0.8)
    found = report["actions"]
    names = {"advantages\nof actions": "action", "critic's\nerror there": "critic_error", "noise of\na return": "noise"}
    bars((0, 2), "spread among actions at one state", {name: found[key] for name, key in names.items()})
    axes = panel((1, 0), f"weights: {100 * report['weights']['effective_share']:.0f} % effective", "weight", "share")
    axes.hist(weights, bins=40, weights=np.full(len(weights), 1 / len(weights)), color=_SUCCESS)
    bars((1, 1), "true return of an action", {key: report["choice"][key] for key in ("mean", "picked", "best")})
    bars((1, 2), "outside the data's support, share", report["outside"])
    figure.suptitle(f"{report['dataset']}, {report['method']}", fontsize=12, color=_INK)
    _save(figure, path)


def _figure(width: float, height: float):
    # A Figure of its own canvas, without pyplot: no global state, no window, nothing to close.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure, cell, title: str, x: str = "updates"):
    from matplotlib.ticker import EngFormatter

    axes = figure.add_subplot(cell)
    axes.set_title(title, **_TITLE)
    axes.set_xlabel(x, fontsize=9, color=_INK)
    if x == "updates":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(which="both", labelsize=8, colors=_INK, length=0)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    return axes


def _colours(count: int, only: str) -> list:
    """A colour for each of several lines; `only` where there is one."""
    from matplotlib import colormaps

    return [only] if count == 1 else list(colormaps["viridis"](np.linspace(0, 0.9, count)))


def _band(axes, steps: np.ndarray, values: np.ndarray, colour, marker: str = "", label: str = "") -> None:
    """Mean and range over the columns of `values` [N, S]; steps without any finite value are left out."""
    some = np.isfinite(values).any(axis=1)
    steps, values = steps[some], values[some]
    if len(steps):
        axes.fill_between(steps, np.nanmin(values, axis=1), np.nanmax(values, axis=1), color=colour, alpha=0.18, lw=0)
        axes.plot(
            steps, np.nanmean(values, axis=1), color=colour, linewidth=1.6, marker=marker, markersize=4, label=label
        )
        axes.set_xlim(left=0)


def _save(figure, path: str | Path) -> None:
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)
