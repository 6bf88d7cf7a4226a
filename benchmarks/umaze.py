"""The embedded U-Maze: the main command, the paper's weights and behaviour cloning, each at several K.

    python benchmarks/umaze.py [--rows=gtp-subgoal,...] [--runs=runs] [--results=benchmarks/results]

Resumes like the runs it makes. Keeps each run's files, checkpoints left out, under RESULTS/umaze-ROW, writes the
suite's cell of each row from them, and prints one JSON line for it. The row gtp-condition was run as the main command
of its time.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import suite
from commands import ROOT, python

from gtp_jax import records
from gtp_jax.tasks import TASKS

# The directory below runs/ and the configuration of each row; the first is what the README's first command runs.
ROWS = {
    "gtp-subgoal": ("antmaze", "antmaze.py"),
    "gtp-condition": ("antmaze-condition", "antmaze.py:umaze,gtp-condition"),
    "gtp": ("antmaze-gtp", "antmaze.py:umaze,gtp"),
    "gtp-bc": ("antmaze-bc", "antmaze.py:umaze,gtp-bc"),
}
KEPT = ("config.json", "summary.json", "metrics.jsonl", "evaluations.json", "curves.png", "maze.png")


def cell(row: str, folder: Path) -> dict[str, Any]:
    """The suite's cell of a row, from its kept files."""
    command = ["experiments/run.py", f"--config={ROWS[row][1]}"]
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
        name, config = ROWS[row]
        workdir = arguments.runs / name
        python(["experiments/run.py", f"--config={config}", f"--workdir={workdir}"])
        options = [f"--num_steps={arguments.num_steps}", f"--temperature={arguments.temperature}"]
        python(["experiments/evaluate.py", f"--workdir={workdir}", *options])
        target = ROOT / arguments.results / f"umaze-{row}"
        target.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copy(ROOT / workdir / file, target / file)
        found = cell(row, target)
        records.write_json(ROOT / arguments.results / f"suite/embedded/antmaze-umaze/{row}.json", found)
        summary = found["summary"]
        print(json.dumps({"row": row, **{key: summary[key] for key in ("algorithm", "score", "timing")}}))


if __name__ == "__main__":
    main()
