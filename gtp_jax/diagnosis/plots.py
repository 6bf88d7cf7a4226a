"""The page of a diagnosis, diagnostics.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.runs import plots


def page(
    report: Mapping[str, Any],
    held_out: tuple[np.ndarray, np.ndarray],
    advantages: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    path: Path,
) -> None:
    """Draws what `gtp-jax diagnose` found, six panels on one page.

    Args:
      report: the content of diagnostics.json.
      held_out: values [N] of held-out transitions, and the returns [N] that followed.
      advantages: of sampled actions [S, N], by the critic and by the simulator, mean 0 in each state.
      weights: [B] of data.
      path: the PNG file to write.
    """
    figure = plots.figure(12.5, 7.0)
    grid = figure.add_gridspec(2, 3)

    def panel(row: int, column: int, title: str, x: str, y: str = "") -> Any:
        axes = plots.axes(figure, grid[row, column], title, x)
        axes.set_ylabel(y, fontsize=9, color=plots.INK)
        return axes

    def dots(column: int, title: str, value: np.ndarray, truth: np.ndarray) -> None:
        axes = panel(0, column, title, "what followed", "the critic's estimate")
        axes.plot(truth, value, ".", ms=2 if truth.size > 1000 else 4, alpha=0.4, color=plots.SUCCESS)
        ends = [min(truth.min(), value.min()), max(truth.max(), value.max())]
        axes.plot(ends, ends, color=plots.INK, lw=0.8)

    def bars(row: int, column: int, title: str, values: Mapping[str, float]) -> None:
        colours = [plots.SUCCESS, plots.FAILURE, plots.GOAL]
        panel(row, column, title, "").bar(list(values), list(values.values()), color=colours)

    dots(0, "held-out episodes", *held_out)
    correlation = report["ranking"] or 0
    dots(1, f"actions at one state, rank correlation {correlation:.2f}", *(each.ravel() for each in advantages))
    names = {"advantages\nof actions": "action", "critic's\nerror there": "critic_error", "noise of\na return": "noise"}
    bars(0, 2, "spread among actions at one state", {name: report["actions"][key] for name, key in names.items()})
    share = 100 * report["weights"]["effective_share"]
    axes = panel(1, 0, f"weights: {share:.0f} % effective", "weight", "share")
    axes.hist(weights, bins=40, weights=np.full(len(weights), 1 / len(weights)), color=plots.SUCCESS)
    bars(1, 1, "true return of an action", {key: report["choice"][key] for key in ("mean", "picked", "best")})
    bars(1, 2, "outside the data's support, share", report["outside"])
    figure.suptitle(f"{report['dataset']}, {report['method']}", fontsize=12, color=plots.INK)
    plots.save(figure, path)
