"""Draws the figures of docs/method.md: the flow map on two modes in one dimension, and the grid of training times.

python docs/figures.py [--out=docs]

The data are 0.5 N(-1, 0.15^2) + 0.5 N(1, 0.15^2); their denoiser has a closed form, so what is drawn is the true map.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gtp_jax.flow import map as flow_map
from gtp_jax.flow.times import Schedule, curriculum
from gtp_jax.types import Array

STD = 0.15
SUBSTEPS = 400
# Legible on a light and on a dark page.
GREY, FAINT, BLUE, ORANGE, GREEN = "#7c8594", "#9aa3b2", "#2f86d6", "#e07b00", "#1f9e6e"


def denoiser(x: Array, t: Array) -> Array:
    """E[x_0 | x_t] for the two modes: each mode's own posterior mean, weighted by the mode's posterior share."""
    variance = STD**2 + t**2
    share = jnp.tanh(x / variance)  # of the right mode minus that of the left one
    return (t**2 * share + STD**2 * x) / variance


def field(x: Array, t: Array, s: Array) -> Array:
    """The instantaneous velocity as a callable of a flow map; s plays no part."""
    del s
    return (x - denoiser(x, t)) / t


@jax.jit
def true_map(x: Array, t: Array, s: Array) -> Array:
    """Phi(x_t, t, s) for x [B], by Heun's method in equal steps of log t; s may be 0."""
    times = jnp.geomspace(t, jnp.maximum(s, 1e-4), SUBSTEPS + 1)

    def step(x, pair):
        return flow_map.heun_step(field, x, *(jnp.full(x.shape, each) for each in pair)), None

    x, _ = jax.lax.scan(step, x, (times[:-1], times[1:]))
    return x


def trajectory(x: float, t: float, s: float, points: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Times and points of the trajectory through x at t, down to s."""
    times = np.linspace(t, s, points)
    return times, np.array([true_map(jnp.array([x]), t, float(each))[0] for each in times])


def canvas(width: float, height: float, columns: int = 1):
    """A figure and its axes, without background."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for panel in axes:
        panel.patch.set_alpha(0)
        panel.tick_params(colors=GREY)
        panel.spines[:].set_color(FAINT)
        panel.spines[["top", "right"]].set_visible(False)
        for label in (panel.xaxis.label, panel.yaxis.label, panel.title):
            label.set_color(GREY)
    return figure, axes


def background(panel, top: float, limit: float) -> None:
    """Trajectories from evenly spaced points at the largest time."""
    for x in np.linspace(-limit, limit, 14):
        panel.plot(*trajectory(x, top, 0.0), color=FAINT, lw=0.7, alpha=0.6)
    panel.set(xlim=(top * 1.02, -0.06 * top), ylim=(-1.75, 1.75), xlabel="time t, from noise to data", ylabel="x")


def mark(panel, t: float, x: float, text: str, colour: str, offset: tuple[float, float]) -> None:
    """A dot and its name."""
    panel.plot([t], [x], "o", color=colour, ms=6, zorder=4)
    panel.annotate(text, (t, x), offset, textcoords="offset points", color=colour, fontsize=12)


def draw_map(path: Path) -> None:
    """Phi, phi and u between two times, and the denoiser, where both times are the same."""
    top, t, s, x = 2.0, 1.7, 0.3, 0.36
    figure, (left, right) = canvas(9.2, 3.9, 2)
    for panel in (left, right):
        background(panel, top, 2.6)
        panel.plot(*trajectory(x, t, 0.0), color=BLUE, lw=2)
        mark(panel, t, x, "$x_t$", BLUE, (-4, 9))
    arrived = float(true_map(jnp.array([x]), t, s)[0])
    u = (arrived - x) / (s - t)
    left.plot([s, 0], [arrived, x - t * u], color=ORANGE, lw=1.6, ls="--")
    left.plot([t, s], [x, arrived], color=ORANGE, lw=2)
    mark(left, s, arrived, r"$\Phi(x_t, t, s)$", BLUE, (-72, 10))
    mark(left, 0.0, x - t * u, r"$\phi(x_t, t, s)$", ORANGE, (-46, -20))
    left.plot([], [], color=ORANGE, label="slope: $u(x_t, t, s)$")
    left.set_title("two times: a chord")
    tangent = float(denoiser(jnp.array([x]), jnp.array([t]))[0])
    right.plot([t, 0], [x, tangent], color=GREEN, lw=1.6, ls="--", label="slope: $u(x_t, t, t)$")
    mark(right, 0.0, tangent, r"$\phi(x_t, t, t) = E[x | x_t]$", GREEN, (-150, -22))
    right.set_title("one time: the tangent")
    for panel in (left, right):
        panel.legend(loc="lower left", frameon=False, labelcolor=GREY, fontsize=11)
    save(figure, path)


def draw_target(path: Path) -> None:
    """What eq. 17 compares: jumps to tau from two points on one ray of noise."""
    top, t, v, tau, a, z = 2.0, 1.45, 1.0, 0.35, 1.0, -0.72
    figure, (panel,) = canvas(6.4, 3.9)
    background(panel, top, 2.6)
    panel.axvline(tau, color=FAINT, lw=0.8)
    panel.annotate(r"$\tau$", (tau, -1.7), (4, 2), textcoords="offset points", color=GREY, fontsize=12)
    panel.plot([top, 0], [a + top * z, a], color=GREY, lw=1.4, ls=":")
    mark(panel, 0.0, a, "$a$", GREY, (-4, 9))
    for time, name, colour, offset, jump in (
        (t, "$a + t z$", ORANGE, (-20, 10), r"$\Phi(a + t z, t, \tau)$, trained"),
        (v, "$a + v z$", GREEN, (-22, 10), r"$\Phi(a + v z, v, \tau)$, followed"),
    ):
        x = a + time * z
        panel.plot(*trajectory(x, time, tau), color=colour, lw=2, label=jump)
        mark(panel, time, x, name, colour, offset)
        mark(panel, tau, float(true_map(jnp.array([x]), time, tau)[0]), "", colour, (0, 0))
    panel.legend(loc="lower left", frameon=False, labelcolor=GREY, fontsize=11)
    save(figure, path)


def draw_grid(path: Path) -> None:
    """The times of training as the grid grows, and one draw of t, v and tau."""
    schedule = Schedule()
    figure, (panel,) = canvas(9.2, 3.0)
    counts = [int(curriculum(step, 8)) for step in range(6)]  # of eight; the last two would be solid bars
    for row, count in enumerate(counts):
        times = np.repeat(np.asarray(schedule.at(jnp.arange(count + 1) / count)), 3)
        ticks = np.tile([row - 0.25, row + 0.25, np.nan], count + 1)  # one path for all
        panel.plot(times, ticks, color=BLUE, lw=0.8, alpha=min(1.0, 0.45 + 8 / count))
    times = np.asarray(schedule.at(jnp.arange(counts[0] + 1) / counts[0]))
    for index, name, colour in ((2, "$t$", ORANGE), (3, "$v$", GREEN), (6, r"$\tau$", GREY)):
        panel.plot([times[index]], [0], "o", color=colour, ms=6, zorder=4)
        panel.annotate(name, (times[index], 0), (-3, 9), textcoords="offset points", color=colour, fontsize=12)
    panel.set(xscale="log", xlabel="time t, from noise to data", ylabel="intervals", ylim=(len(counts) - 0.5, -1.0))
    panel.set_yticks(range(len(counts)), [str(count) for count in counts])
    panel.invert_xaxis()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """As SVG without a date, so that nothing changes when nothing changes."""
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "path.simplify_threshold": 0.5}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    draw_map(out / "method_map.svg")
    draw_target(out / "method_target.svg")
    draw_grid(out / "method_grid.svg")


if __name__ == "__main__":
    main()
