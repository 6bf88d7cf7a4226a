"""How guidance, and what a hierarchical policy observes, were chosen on AntMaze: one change at a time, on other seeds
than those reported.

A cell is a task and a row: trained, evaluated and, where its critic weights examples, diagnosed; same network, data,
updates, K, temperature and evaluation. Only guidance and critic change or, in ENCODINGS, hierarchy and observation.
A finished cell is RESULTS/TASK-ROW.json and is not run again. The scores reported are the suite's.
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import shared

RESULTS = shared.RESULTS / "scores" / "guidance"
TASKS = ("umaze", "umaze-noisy", "umaze-mixed", "umaze-diverse", "medium-play", "medium-diverse")
# The method that a row starts from, and its changes; ENCODINGS are a flat policy that observes its own frame, and the
# hierarchy in the world's frame and in its own.
ROWS, ENCODINGS = shared.ROWS["tuning"], shared.ROWS["encodings"]
ALL_ROWS = ROWS | ENCODINGS


def run_cell(task: str, row: str, runs: Path) -> dict[str, Any]:
    """Trains, evaluates and diagnoses one cell; a run that was stopped resumes."""
    method, changes = ALL_ROWS[row]
    workdir = runs / f"{task}-{row}"
    command = shared.command(__file__, tasks=task, rows=row)
    trained = shared.train(f"antmaze.py:{task},{method}", workdir, shared.ROWS["guidance"] | changes)
    diagnostics = None
    if method == "gtp-mc":
        shared.run_python(["experiments/diagnose.py", f"--workdir={workdir}", "--states=8"])
        diagnostics = shared.read(shared.ROOT / workdir / "diagnostics.json")
    return {"task": task, "method": row, "command": command, **trained, "diagnostics": diagnostics}


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are not there yet."""
    runs = Path("runs/guidance")
    arguments = shared.parse(__doc__, argv, tasks=TASKS, rows=ALL_ROWS, runs=runs, results=RESULTS)
    cells = [(task, row) for task in arguments.tasks for row in arguments.rows]
    shared.run_cells(arguments.results, {"-".join(cell): partial(run_cell, *cell, arguments.runs) for cell in cells})
