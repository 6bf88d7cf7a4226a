"""Prints the tables of docs/guidance.md, and README's of AntMaze, in Markdown, from cells of guidance.py and suite.py.

python benchmarks/guidance_table.py [--write]

Cells that nobody ran say so.
"""

import argparse
import json
from pathlib import Path

import suite
from guidance import LEVELS, RESULTS, ROOT, ROWS, TASKS
from report_pictures import Cells
from report_tables import by_place, markdown
from table import README, insert

PAGE = ROOT / "docs" / "guidance.md"
SHORT = ("gtp-bc", "gtp", "gtp-subgoal-bc", "gtp-subgoal")
REPORTED = ("gtp-bc", "gtp", "gtp-condition", "gtp-outcome", "gtp-subgoal", "gtp-subgoal-bc")


def load(results: Path) -> Cells:
    """The finished cells by task and row."""
    cells = (json.loads(path.read_text()) for path in sorted(results.glob("*.json")))
    return {(each["task"], each["row"]): each for each in cells}


def critics(cells: Cells) -> str:
    """What the critics of the cells know: one line each."""
    lines = [
        "| data | row | spread of returns | value's error about the data | about held-out episodes | correlation "
        "there | effective share of the weights |",
        "|---" * 7 + "|",
    ]
    for (task, row), each in cells.items():
        if found := each["diagnostics"]:
            own, held = found["values_of_the_data"], found["values"]
            numbers = (own["spread"], own["error"], held["error"], held["correlation"])
            shown = " | ".join("-" if number is None else f"{number:.2g}" for number in numbers)
            lines.append(f"| {task} | {row} | {shown} | {found['weights']['effective_share']:.2f} |")
    if len(lines) == 2:
        return "No critic was looked into."
    return "\n".join(lines)


def reported(rows: tuple[str, ...]) -> str:
    """AntMaze's cells of the suite, of some of its rows."""
    found, names = by_place(suite.load()), [f"antmaze-{task}" for task in TASKS]
    return markdown({key: each for key, each in found.items() if key[0] in names and key[1] in rows}, names, rows)


def tables(cells: Cells) -> dict[str, str]:
    """Every table by its name in the page."""

    def part(rows: list[str]) -> str:
        own = {key: each for key, each in cells.items() if key[1] in rows}
        return markdown(own, [task for task in TASKS if any(task == key[0] for key in own)], rows)

    return {
        "report": reported(REPORTED),
        "levels": part(list(LEVELS)),
        "tuning": part([row for row in ROWS if row not in LEVELS]),
        "critics": critics(cells),
    }


def main() -> None:
    """Prints what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/guidance.md and README.md")
    arguments = parser.parse_args()
    for page, texts in ((PAGE, tables(load(ROOT / RESULTS))), (README, {"mazes": reported(SHORT)})):
        for name, text in texts.items():
            print(f"{text}\n")
            if arguments.write:
                page.write_text(insert(page.read_text(), name, text))


if __name__ == "__main__":
    main()
