"""The embedded U-Maze at several K: the main command, and one level, told, weighted, cloned.

    python benchmarks/umaze.py [--rows=gtp-subgoal,...] [--runs=runs] [--results=benchmarks/results]

Resumes like the runs it makes. Keeps each run's files, checkpoints left out, under RESULTS/umaze-ROW, writes the
suite's cells from them, and prints one JSON line for each row.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import suite
from commands import ROOT, python

from gtp_jax import files
from gtp_jax.config.tasks import TASKS

# Each row's directory below runs/, and its command's words; the first is the README's first command.
UPDATES = "--config.num_updates=20000"  # the default now; said because the committed cells name their commands
ROWS = {
    "gtp-subgoal": ("antmaze", ["--config=antmaze.py"]),
    "gtp-condition": ("antmaze-condition", ["--config=antmaze.py:umaze,gtp-condition", UPDATES]),
    "gtp": ("antmaze-gtp", ["--config=antmaze.py:umaze,gtp", UPDATES]),
    "gtp-bc": ("antmaze-bc", ["--config=antmaze.py:umaze,gtp-bc", UPDATES]),
}
KEPT = ("config.json", "summary.json", "metrics.jsonl", "evaluations.json", "curves.png", "maze.png")


def cell(row: str, folder: Path) -> dict[str, Any]:
    """The suite's cell of a row, from its kept files."""
    command = ["experiments/run.py", *ROWS[row][1]]
    found = suite.result(TASKS["antmaze-umaze"], row, "embedded", folder, command)
    return found | {"command": "python benchmarks/umaze.py"}


def main() -> None:
    """Runs and evaluates every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="likewise")
    parser.add_argument("--num_steps", default="1,2,5")
    parser.add_argument("--temperature", default="1,0.5")
    arguments = parser.parse_args()
    rows = arguments.rows.split(",")
    if wrong := [row for row in rows if row not in ROWS]:
        parser.error(f"--rows: {wrong[0]!r} is none of {', '.join(ROWS)}")
    for row in rows:
        name, words = ROWS[row]
        workdir = arguments.runs / name
        python(["experiments/run.py", *words, f"--workdir={workdir}"])
        options = [f"--num_steps={arguments.num_steps}", f"--temperature={arguments.temperature}"]
        python(["experiments/evaluate.py", f"--workdir={workdir}", *options])
        target = ROOT / arguments.results / f"umaze-{row}"
        target.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copy(ROOT / workdir / file, target / file)
        files.write_json(ROOT / arguments.results / f"suite/embedded/antmaze-umaze/{row}.json", cell(row, target))
        summary = json.loads((target / "summary.json").read_text())
        print(json.dumps({"row": row, **{key: summary[key] for key in ("algorithm", "score", "timing")}}))


if __name__ == "__main__":
    main()
