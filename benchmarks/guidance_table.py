"""Prints the tables of docs/guidance.md, in Markdown, from the committed cells of benchmarks/guidance.py.

python benchmarks/guidance_table.py [--write]

Cells that nobody ran say so.
"""

import argparse
import json
from pathlib import Path

from guidance import GROUPS, RESULTS, ROOT, TASKS
from table import cell, insert

PAGE = ROOT / "docs" / "guidance.md"


def load(results: Path) -> dict[tuple[str, str, str], dict]:
    """The finished cells by group, task and row."""
    cells = (json.loads(path.read_text()) for path in sorted(results.glob("*.json")))
    return {(each["group"], each["task"], each["row"]): each for each in cells}


def scores(cells: dict, group: str) -> str:
    """A row for each task, a column for each of the group's rows, and how they were made."""
    rows, found = GROUPS[group].rows, [each for (name, *_), each in cells.items() if name == group]
    tasks = [task for task in TASKS if group == "report" or any((group, task, row) in cells for row in rows)]
    lines = ["| data | behaviour | " + " | ".join(rows) + " |", "|---|---" + "|---" * len(rows) + "|"]
    for task in tasks:
        here = [cells.get((group, task, row)) for row in rows]
        behaviour = [100 * each["summary"]["behaviour"]["behaviour_success"] for each in here if each]
        shown = [cell(each["summary"]["score"]) if each else "not run" for each in here]
        lines.append(f"| {task} | {f'{behaviour[0]:.0f}' if behaviour else ''} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", origin(found)])


def origin(found: list[dict]) -> str:
    """Seeds, episodes, updates, sampler, machine, versions, dates and commits of cells."""
    if not found:
        return "No cell of this table was run."
    summaries = [each["summary"] for each in found]
    first = summaries[0]
    commits = dict.fromkeys(str(each["commit"])[:10] for each in summaries)
    dates = sorted({each["timing"]["finished"][:10] for each in summaries})
    return (
        f"{first['num_updates']:,} updates, seeds {', '.join(map(str, first['seeds']))} x {first['eval_episodes']} "
        f"episodes, K = {first['num_steps']}, temperature {first['temperature']:g}, one sample per action, last "
        f"checkpoint; {first['device']['platform']}, {first['device']['host_cores']} cores, jax "
        f"{first['versions']['jax']}, mujoco {first['versions']['mujoco']}; {', '.join(dates)}, commits "
        f"{', '.join(commits)}."
    )


def critics(cells: dict) -> str:
    """What the critics of the cells know: one line each."""
    lines = [
        "| data | row | spread of returns | value's error about the data | about held-out episodes | correlation "
        "there | effective share of the weights |",
        "|---" * 7 + "|",
    ]
    for (group, task, row), each in cells.items():
        if found := each["diagnostics"]:
            own, held = found["values_of_the_data"], found["values"]
            numbers = (own["spread"], own["error"], held["error"], held["correlation"])
            shown = " | ".join("-" if number is None else f"{number:.2g}" for number in numbers)
            lines.append(f"| {task} | {row} ({group}) | {shown} | {found['weights']['effective_share']:.2f} |")
    if len(lines) == 2:
        return "No critic was looked into."
    return "\n".join(lines)


def tables(cells: dict) -> dict[str, str]:
    """Every table by its name in the page."""
    return {group: scores(cells, group) for group in GROUPS} | {"critics": critics(cells)}


def main() -> None:
    """Prints what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/guidance.md")
    arguments = parser.parse_args()
    texts = tables(load(ROOT / RESULTS))
    print("\n\n".join(texts.values()))
    if arguments.write:
        for name, text in texts.items():
            PAGE.write_text(insert(PAGE.read_text(), name, text))


if __name__ == "__main__":
    main()
