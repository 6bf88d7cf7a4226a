"""Prints the U-Maze table, in Markdown, from the committed results.

python benchmarks/table.py [--results=benchmarks/results] [--write]

With --write it goes into docs/results.md, and the rows at the main command's temperature into README.md.
"""

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
ROWS = {
    "gtp-subgoal": "GTP in two levels, told what did better",
    "gtp-condition": "GTP, told what did better",
    "gtp": "GTP, the paper's weights",
    "gtp-bc": "GTP-BC",
}


def cell(score: dict) -> str:
    """`93.7 [90.1, 96.4]`: the mean over seeds with its 95 % interval."""
    if score["mean"] is None:
        return "diverged"
    low, high = score["ci95"]
    return f"{score['mean']:.1f} [{low:.1f}, {high:.1f}]"


def umaze(results: Path, *, short: bool = False) -> str:
    """The U-Maze table: a row for each method and temperature, a column for each K; `short`: the run's temperature."""
    lines, first, dates, commits = [], None, set(), []
    for row, name in ROWS.items():
        folder = results / f"umaze-{row}"
        evaluations = json.loads((folder / "evaluations.json").read_text())
        summary = json.loads((folder / "summary.json").read_text())
        first = first or summary
        commits.append(str(summary["commit"])[:10])
        dates |= {e["date"][:10] for e in evaluations}
        steps = sorted({e["num_steps"] for e in evaluations})
        if not lines:
            lines += [
                "| method | updates | temperature | " + " | ".join(f"K = {k}" for k in steps) + " |",
                "|---|---|---|" + "---|" * len(steps),
            ]
        temperatures = {first["temperature"]} if short else {e["temperature"] for e in evaluations}
        for temperature in sorted(temperatures, reverse=True):
            cells = [
                cell(e["score"])
                for k in steps
                for e in evaluations
                if e["num_steps"] == k and e["temperature"] == temperature
            ]
            lines.append(f"| {name} | {summary['num_updates']:,} | {temperature:g} | " + " | ".join(cells) + " |")
    behaviour = first["behaviour"]["behaviour_success"]
    lines += [
        f"| behaviour policy in the data | | | {100 * behaviour:.1f} |" + " |" * (len(steps) - 1),
        "",
        f"{first['dataset']}, {first['behaviour']['transitions']:,} transitions; "
        f"{len(first['seeds'])} seeds x {first['eval_episodes']} episodes, one sample per action, last checkpoint; "
        f"{first['device']['platform']}, {first['device']['host_cores']} cores, jax {first['versions']['jax']}, "
        f"mujoco {first['versions']['mujoco']}, commits {', '.join(dict.fromkeys(commits))}, "
        f"{', '.join(sorted(dates))}.",
    ]
    return "\n".join(lines)


def insert(page: str, name: str, table: str) -> str:
    """The page with what stands between its two comments `name` replaced by the table; ValueError without them."""
    if page.count(f"<!-- {name} -->\n") != 1 or page.count(f"<!-- /{name} -->") != 1:
        raise ValueError(f"the page must hold <!-- {name} --> and <!-- /{name} -->, once each")
    head, opening, rest = page.partition(f"<!-- {name} -->\n")
    _, closing, tail = rest.partition(f"<!-- /{name} -->")
    return f"{head}{opening}{table}\n{closing}{tail}"


def main() -> None:
    """Prints the tables and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="into README.md and docs/results.md")
    arguments = parser.parse_args()
    for page, short in ((README, True), (PAGE, False)):
        table = umaze(arguments.results, short=short)
        print(f"{table}\n")
        if arguments.write:
            page.write_text(insert(page.read_text(), "umaze", table))


if __name__ == "__main__":
    main()
