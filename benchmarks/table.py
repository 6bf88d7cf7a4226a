"""Prints the README's table, in Markdown, from the committed results, and writes it there with --write.

python benchmarks/table.py [--results=benchmarks/results]
"""

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
ROWS = {"gtp": "GTP", "gtp-bc": "GTP-BC (eta = 0)"}


def cell(score: dict) -> str:
    """`93.7 [90.1, 96.4]`: the mean over seeds with its 95 % interval."""
    low, high = score["ci95"]
    return f"{score['mean']:.1f} [{low:.1f}, {high:.1f}]"


def umaze(results: Path) -> str:
    """The U-Maze table: a row for each method and temperature, a column for each K."""
    lines, first, date = [], None, ""
    for row, name in ROWS.items():
        folder = results / f"umaze-{row}"
        evaluations = json.loads((folder / "evaluations.json").read_text())
        first = first or json.loads((folder / "summary.json").read_text())
        date = max(date, *(e["date"][:10] for e in evaluations))
        steps = sorted({e["num_steps"] for e in evaluations})
        if not lines:
            lines += [
                "| method | temperature | " + " | ".join(f"K = {k}" for k in steps) + " |",
                "|---|---|" + "---|" * len(steps),
            ]
        for temperature in sorted({e["temperature"] for e in evaluations}, reverse=True):
            cells = [
                cell(e["score"])
                for k in steps
                for e in evaluations
                if e["num_steps"] == k and e["temperature"] == temperature
            ]
            lines.append(f"| {name} | {temperature:g} | " + " | ".join(cells) + " |")
    behaviour = first["behaviour"]["behaviour_success"]
    lines += [
        f"| behaviour policy in the data | | {100 * behaviour:.1f} |" + " |" * (len(steps) - 1),
        "",
        f"{first['dataset']}, {first['behaviour']['transitions']:,} transitions; {first['num_updates']:,} updates, "
        f"{len(first['seeds'])} seeds x {first['eval_episodes']} episodes, one sample per action, last checkpoint; "
        f"{first['device']['platform']}, {first['device']['host_cores']} cores, jax {first['versions']['jax']}, "
        f"mujoco {first['versions']['mujoco']}, commit {str(first['commit'])[:10]}, {date}.",
    ]
    return "\n".join(lines)


def insert(readme: str, name: str, table: str) -> str:
    """The README with what stands between its two comments `name` replaced by the table."""
    head, opening, rest = readme.partition(f"<!-- {name} -->\n")
    _, closing, tail = rest.partition(f"<!-- /{name} -->")
    return f"{head}{opening}{table}\n{closing}{tail}"


def main() -> None:
    """Prints the table and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="into README.md")
    arguments = parser.parse_args()
    table = umaze(arguments.results)
    print(table)
    if arguments.write:
        README.write_text(insert(README.read_text(), "umaze", table))


if __name__ == "__main__":
    main()
