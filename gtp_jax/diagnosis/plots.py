"""The page of a diagnosis, diagnostics.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.runs import plots

Pair = tuple[np.ndarray, np.ndarray]  # of the critic, and of what happened


def page(report: Mapping[str, Any], held_out: Pair, advantages: Pair, weights: np.ndarray, path: Path) -> None:
    """Draws six panels into a PNG file: of diagnostics.json, and of the arrays behind it.

    `held_out` are values and returns [N] of held-out transitions, `advantages` those of sampled actions [S, N], mean 0
    in each state, and `weights` [B] of data.
    """
    figure = plots.figure(12.5, 7.0)
    cells = iter(figure.add_gridspec(2, 3))

    def panel(title: str, x: str = "", y: str = "") -> Any:
        axes = plots.axes(figure, next(cells), title, x)
        axes.set_ylabel(y, fontsize=9, color=plots.INK)
        return axes

    def bars(title: str, values: Mapping[str, float]) -> None:
        panel(title).bar(list(values), list(values.values()), color=[plots.SUCCESS, plots.FAILURE, plots.GOAL])

    ranking, share = report["ranking"], 100 * report["weights"]["effective_share"]
    correlation = "none: equal returns" if ranking is None else f"{ranking:.2f}"
    actions = f"actions at one state, rank correlation {correlation}"
    for title, (value, truth) in (("held-out episodes", held_out), (actions, advantages)):
        axes = panel(title, "return that followed", "the critic's estimate")
        axes.plot(truth.ravel(), value.ravel(), ".", ms=2 if truth.size > 1000 else 4, alpha=0.4, color=plots.SUCCESS)
        ends = [min(truth.min(), value.min()), max(truth.max(), value.max())]
        axes.plot(ends, ends, color=plots.INK, lw=0.8)
    names = {"advantages\nof actions": "action", "critic's\nerror there": "critic_error", "noise of\na return": "noise"}
    bars("spread among actions at one state", {name: report["actions"][key] for name, key in names.items()})
    axes = panel(f"weights: {share:.0f} % effective", "weight", "share")
    axes.hist(weights, bins=40, weights=np.full(len(weights), 1 / len(weights)), color=plots.SUCCESS)
    bars("true return of an action", {key: report["choice"][key] for key in ("mean", "picked", "best")})
    bars("outside the data's support, share", report["outside"])
    figure.suptitle(f"{report['dataset']}, {report['method']}", fontsize=12, color=plots.INK)
    plots.save(figure, path)
