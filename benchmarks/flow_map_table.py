"""Prints the tables of the flow-map study, in Markdown, and draws its pictures from the committed cells.

python benchmarks/flow_map_table.py [--write]

With --write the tables go into docs/family.md.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from table import insert

RESULTS = Path(__file__).parent / "results" / "flow_map_study"
DOCS = Path(__file__).parents[1] / "docs"
MEMBERS = (
    "gtp",
    "consistency",
    "ctm",
    "shortcut",
    "mean_flow",
    "flow_matching",
    "diffusion",
    "vp_diffusion",
    "gaussian",
)
STEPS = ("1", "2", "3", "5", "10")


def load(results: Path, task: str) -> dict[str, dict]:
    """The finished cells of a task by row, members first."""
    cells = {
        path.stem.removeprefix(f"{task}-"): json.loads(path.read_text()) for path in results.glob(f"{task}-*.json")
    }
    order = [*MEMBERS, *sorted(set(cells) - set(MEMBERS))]
    return {row: cells[row] for row in order if row in cells}


def members(cells: dict[str, dict]) -> dict[str, dict]:
    """The cells without ablations."""
    return {row: cell for row, cell in cells.items() if row in MEMBERS}


def table(cells: dict[str, dict]) -> str:
    """Median energy distance over the seeds at each K; below it, at K = 5, the share off every mode."""
    lines = ["| row | " + " | ".join(f"K = {k}" for k in STEPS) + " | off every mode, K = 5 |", "|---" * 7 + "|"]
    for row, cell in cells.items():
        by_steps = cell["num_steps"]
        values = [f"{np.median(by_steps[k]['energy_distance']):.4f}" if k in by_steps else "" for k in STEPS]
        last = by_steps.get("5") or by_steps[max(by_steps, key=int)]
        lines.append(f"| {row} | " + " | ".join(values) + f" | {100 * np.median(last['off_every_mode']):.1f} % |")
    first, commits = next(iter(cells.values())), {str(cell["commit"])[:10]: None for cell in cells.values()}
    lines += [
        "",
        f"Median of {len(first['seeds'])} seeds; {first['settings']['num_updates']:,} updates of batch "
        f"{first['settings']['batch_size']}; {first['device']['platform']}, jax {first['versions']['jax']}, "
        f"{first['date'][:10]}, commits {', '.join(commits)}. Two independent data sets are about 0.0003 apart.",
    ]
    return "\n".join(lines)


def draw(cells: dict[str, dict], task: str, path: Path) -> None:
    """All members side by side: the samples of one seed, at one step and at five."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(members(cells))
    figure = Figure(figsize=(1.75 * len(rows), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(rows), squeeze=False)
    limit = 1.3 if task == "density" else 6.3
    for column, row in enumerate(rows):
        for line, k in enumerate(("1", "5")):
            panel = axes[line, column]
            panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
            panel.spines[:].set_color("#CBD0D8")
            if line == 0:
                panel.set_title(row.replace("_", " "), fontsize=9)
            if column == 0:
                panel.set_ylabel(f"K = {k}", fontsize=9)
            if k not in cells[row]["num_steps"]:
                panel.text(0.5, 0.5, "fixed K", transform=panel.transAxes, ha="center", color="#999999", fontsize=8)
                continue
            picture = np.array(cells[row]["num_steps"][k]["picture"])
            if task == "density":
                panel.scatter(*picture.T, s=1.5, color="#0072B2", alpha=0.5, lw=0)
            else:
                for walk in picture:
                    panel.plot(*walk.T, color="#0072B2", alpha=0.25, lw=0.7)
    figure.savefig(path, dpi=140)


def main() -> None:
    """Prints and draws what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/family.md")
    arguments = parser.parse_args()
    page = DOCS / "family.md"
    for task in ("density", "goals"):
        cells = load(RESULTS, task)
        if cells:
            text = table(cells)
            print(f"### {task}\n\n{text}\n")
            draw(cells, task, DOCS / f"flow_map_{task}.png")
            if arguments.write:
                page.write_text(insert(page.read_text(), task, text))


if __name__ == "__main__":
    main()
