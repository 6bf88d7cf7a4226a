"""What the score approximation costs: the practical and the ideal objective of GTP, measured apart.

Writes RESULTS/theorem.json and draws the figure of docs/theorem.md. Quadrature and closed forms in float64; nothing is
trained.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import shared

# Noise z ~ N(0, 1) by the trapezoidal rule, whose error here is below 1e-12.
Z = np.linspace(-9.0, 9.0, 6001)
WEIGHT = np.exp(-0.5 * Z**2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0])


def field(x: np.ndarray, t: float) -> np.ndarray:
    """dx/dt of the variance-exploding ODE for data uniform on {-1, +1}, whose denoiser is tanh(x/t^2)."""
    return (x - np.tanh(x / t**2)) / t


def solve(x: np.ndarray, t: float, u: float, num_steps: int, order: int) -> np.ndarray:
    """From t to u in equal steps of Euler's (order 1) or Heun's method (order 2)."""
    h = (u - t) / num_steps
    for i in range(num_steps):
        here = field(x, t + i * h)
        if order == 2:
            here = 0.5 * (here + field(x + h * here, t + (i + 1) * h))
        x = x + h * here
    return x


def two_points_distance(t: float, u: float, num_steps: int, order: int) -> float:
    """E |x + u z - Phi_h(x + t z, t, u)|^2 for data on {-1, +1}; by symmetry x = 1 stands for both."""
    return float(np.sum(WEIGHT * (1 + u * Z - solve(1 + t * Z, t, u, num_steps, order)) ** 2))


def gaussian_difference(t: float, u: float, std: float) -> float:
    """L_prac - L_ideal at the true map for data N(0, std^2), tau = u: the same mean square, in closed form.

    x + u z - sqrt((S^2 + u^2)/(S^2 + t^2)) (x + t z) is Gaussian.
    """
    ratio = np.sqrt((std**2 + u**2) / (std**2 + t**2))
    return (1 - ratio) ** 2 * std**2 + (u - ratio * t) ** 2


def trained_map_bias(intervals: int, std: float, t: float = 2.0) -> float:
    """|slope of the minimiser of eq. 17 - slope of the true map| from t to 0, on a uniform grid of so many intervals.

    On Gaussian data the minimiser is linear: each link multiplies the slope by (S^2 + t u)/(S^2 + t^2), the regression
    of x + u z on x + t z.
    """
    times = np.linspace(t, 0.0, intervals + 1)
    slope = np.prod((std**2 + times[:-1] * times[1:]) / (std**2 + times[:-1] ** 2))
    return float(abs(slope - std / np.sqrt(std**2 + t**2)))


def order(sizes: np.ndarray, errors: np.ndarray) -> float:
    """The exponent p of errors ~ sizes^p, from the two smallest sizes."""
    return float(np.log(errors[-2] / errors[-1]) / np.log(sizes[-2] / sizes[-1]))


def measure(figure: Path | None = None) -> dict[str, Any]:
    """All series and orders, drawn where asked."""
    steps, gaps, intervals = 2 ** np.arange(0, 9), 0.5 ** np.arange(1, 11), 10 * 2 ** np.arange(0, 8)
    pairs = [(1.0, 0.5), (1.0, 0.9), (1.0, 0.99), (2.0, 0.1)]
    two_points = np.array([two_points_distance(1.0, 1.0 - gap, 256, 2) for gap in gaps])
    gaussian = np.array([gaussian_difference(1.0, 1.0 - gap, 0.5) for gap in gaps])
    bias = np.array([trained_map_bias(int(n), 0.5) for n in intervals])
    result = {
        "solver_steps": steps.tolist(),
        "over_solver_steps": {
            f"t={t:g}, u={u:g}": {str(p): [two_points_distance(t, u, int(n), p) for n in steps] for p in (1, 2)}
            for t, u in pairs
        },
        "gaps": gaps.tolist(),
        "over_gap_two_points": two_points.tolist(),
        "over_gap_gaussian": gaussian.tolist(),
        "order_over_gap": {"two points": order(gaps, two_points), "gaussian": order(gaps, gaussian)},
        "intervals": intervals.tolist(),
        "trained_map_bias": bias.tolist(),
        "order_of_trained_map_bias": order(1 / intervals, bias),
    }
    if figure:
        draw(result, figure)
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """Three panels: over the solver's step, over the gap, and the trained map's bias."""
    figure = Figure(figsize=(11.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    for name, series in result["over_solver_steps"].items():
        left.loglog(1 / np.array(result["solver_steps"]), series["2"], "o-", ms=3, label=name)
    left.set(xlabel="solver step h / (t - u)", title="fixed (t, u): does not vanish with h", ylabel="L_prac - L_ideal")
    for name, key in (("two points", "over_gap_two_points"), ("Gaussian", "over_gap_gaussian")):
        middle.loglog(result["gaps"], result[key], "o-", ms=3, label=name)
    middle.set(xlabel="gap t - u, at t = 1", title="vanishes with the gap, order 2")
    right.loglog(1 / np.array(result["intervals"]), result["trained_map_bias"], "o-", ms=3)
    right.set(xlabel="largest gap / T", title="bias of the trained map, order 1")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.title.set_fontsize(10)
    for axes in (left, middle):
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


main = partial(shared.measure, __file__, __doc__, measure, figure=shared.ROOT / "docs" / "theorem.png")
