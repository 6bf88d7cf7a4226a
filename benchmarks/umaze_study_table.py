"""Prints the tables of the U-Maze study and of benchmarks/denoising.py, in Markdown, and draws return against latency.

python benchmarks/umaze_study_table.py [--write]

With --write the tables go into docs/family.md and the picture beside it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from flow_map_table import DOCS, MEMBERS, STEPS
from scipy import stats
from table import insert

RESULTS = Path(__file__).parent / "results"


def load(results: Path) -> dict[str, dict]:
    """The finished cells by row, members first."""
    cells = {path.stem: json.loads(path.read_text()) for path in (results / "umaze_study").glob("*.json")}
    order = [*MEMBERS, *sorted(set(cells) - set(MEMBERS))]
    return {row: cells[row] for row in order if row in cells}


def scores(cell: dict) -> dict[int, float]:
    """The mean score over seeds and episodes by K."""
    return {e["num_steps"]: e["score"]["mean"] for e in cell["evaluations"]}


def table(cells: dict[str, dict], deterministic: dict[str, dict]) -> str:
    """Mean score at each K, the half-width of its widest interval, and the error of samples at temperature 0."""
    last = ("95 % interval, up to", "error, K = 1", "K = 5")
    lines = ["| row | " + " | ".join([*(f"K = {k}" for k in STEPS), *last]) + " |", "|---" * 9 + "|"]
    pairs = []
    for row, cell in cells.items():
        by_steps = scores(cell)
        values = [f"{by_steps[int(k)]:.0f}" if int(k) in by_steps else "" for k in STEPS]
        widest = max(np.ptp(e["score"]["ci95"]) / 2 for e in cell["evaluations"])
        errors = {int(k): 1000 * np.mean(each) for k, each in deterministic[row].items()}
        pairs += [(error, by_steps[k]) for k, error in errors.items()]
        shown = " | ".join(f"{errors[k]:.1f}" if k in errors else "" for k in (1, 5))
        lines.append(f"| {row} | " + " | ".join(values) + f" | ± {widest:.0f} | {shown} |")
    summary, evaluation = next((c["summary"], c["evaluations"][0]) for c in cells.values())
    commits = {str(cell["summary"]["commit"])[:10]: None for cell in cells.values()}
    lines += [
        "",
        f"{summary['dataset']}; {summary['num_updates']:,} updates, {len(summary['seeds'])} seeds x "
        f"{evaluation['episodes']} episodes, temperature {evaluation['temperature']:g}, one sample per action, last "
        f"checkpoint; {summary['device']['platform']}, jax {summary['versions']['jax']}, mujoco "
        f"{summary['versions']['mujoco']}, {evaluation['date'][:10]}, commits {', '.join(commits)}. Error: 1000 x mean "
        f"squared distance of samples at temperature 0 from held-out actions, per number of the action; its rank "
        f"correlation with the score, over rows and K = 1, 5, is {stats.spearmanr(*zip(*pairs, strict=True))[0]:.2f}.",
    ]
    return "\n".join(lines)


def denoising_table(result: dict, cells: dict[str, dict]) -> str:
    """1000 x the denoiser's error at some noise levels, the score at K = 5 beside it."""
    levels = result["noise_levels"]
    shown = [i for i, level in enumerate(levels) if level > 0.05][::2]
    header = " | ".join(f"t = {levels[i]:.2g}" for i in shown)
    lines = [f"| row | {header} | score, K = 1 | K = 5 |", "|---" * (len(shown) + 3) + "|"]
    for row, errors in result["rows"].items():
        values = " | ".join(f"{1000 * np.mean(errors[i]):.1f}" for i in shown)
        by_steps = scores(cells[row])
        lines.append(f"| {row} | {values} | {by_steps[1]:.0f} | {by_steps[5]:.0f} |")
    lines += [
        "",
        f"1000 x mean squared error per number of the action, {result['dataset']}, mean of 2 seeds; "
        f"{result['device']['platform']}, jax {result['versions']['jax']}, {result['date'][:10]}, commit "
        f"{str(result['commit'])[:10]}.",
    ]
    return "\n".join(lines)


def draw(cells: dict[str, dict], latency: dict, path: Path) -> None:
    """Score against milliseconds per action, one line for each member, one point for each K."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timed = [cell for cell in latency["cells"] if cell["batch"] == 1]
    milliseconds = {(cell["row"], cell["num_steps"]): cell["milliseconds"] for cell in timed}
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#999999", "#B8A100")
    for row, colour in zip(MEMBERS, colours, strict=True):
        if row not in cells:
            continue
        points = [(milliseconds[row, k], score, k) for k, score in scores(cells[row]).items()]
        x, y, steps = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker="o", ms=4, lw=1.3, label=row.replace("_", " "))
        for point in points if len(points) == 1 or row == "gtp" else ():
            axes.annotate(f"K = {point[2]}", point[:2], xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.set(xlabel="milliseconds per action", ylabel="score, %", ylim=(-3, 103))
    axes.grid(color="#E6E6E6", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    device = latency["device"]
    axes.set_title(
        f"cloning U-Maze, temperature 1; K = 1, 2, 3, 5, 10; {device['platform']}, {device['host_cores']} cores",
        fontsize=10,
    )
    figure.savefig(path, dpi=140)


def main() -> None:
    """Prints and draws what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/family.md")
    arguments = parser.parse_args()
    cells = load(RESULTS)
    denoising = json.loads((RESULTS / "denoising.json").read_text())
    texts = {"umaze": table(cells, denoising["deterministic"]), "denoising": denoising_table(denoising, cells)}
    print("\n\n".join(texts.values()))
    draw(cells, json.loads((RESULTS / "latency-cpu.json").read_text()), DOCS / "umaze_study.png")
    if arguments.write:
        page = DOCS / "family.md"
        for name, text in texts.items():
            page.write_text(insert(page.read_text(), name, text))


if __name__ == "__main__":
    main()
