"""How guidance, and what a hierarchical policy observes, were chosen on AntMaze: one change at a time, on other seeds
than those reported.

    python benchmarks/scores/guidance.py [--tasks=umaze-noisy,...] [--rows=gtp-bc,...]

A cell is a task and a row: trained, evaluated and, where its critic weights examples, diagnosed; same network, data,
updates, K, temperature and evaluation. Only guidance and critic change or, in ENCODINGS, hierarchy and observation.
A finished cell is RESULTS/TASK-ROW.json and is not run again. The scores reported are the suite's.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, __file__.rpartition("/benchmarks/")[0])

from benchmarks import shared

RESULTS = shared.RESULTS / "scores" / "guidance"
TASKS = ("umaze", "umaze-noisy", "umaze-mixed", "umaze-diverse", "medium-play", "medium-diverse")
SETTINGS = {
    "num_updates": 20_000,
    "log_every": 500,
    "checkpoint_every": 20_000,
    "eval.every": 20_000,
    "eval.num_episodes": 100,
    "cpu_devices": 1,
    "seed_offset": 100,
    "num_seeds": 1,
}
# The method that a row starts from, and its changes.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "gtp-bc": ("gtp-bc", {}),
    "longer": ("gtp-bc", {"num_updates": 60_000, "eval.progress_episodes": 50}),
    "slower": ("gtp-bc", {"policy.learning_rate": 3e-4}),
    "no-fourier-features": ("gtp-bc", {"data.observation": "goal-scales"}),
    "gtp-success": ("gtp-success", {}),
    "gtp-mc": ("gtp-mc", {}),
    "gtp-conditioned": ("gtp-conditioned", {}),
    "overfitting": ("gtp-mc", {"critic.observation": "all", "critic.hidden": (256, 256, 256)}),
    "filter": ("gtp-mc", {"guidance.name": "filter"}),
    "twenty-steps": ("gtp-mc", {"critic.n_step": 20}),
}
_SEEDS = {"seed_offset": 101, "num_seeds": 2}
_WORLD = {"data.observation": "maze-scales", "policy.subgoal_encoding": "displacement"}
# A flat policy that observes its own frame, and the hierarchy in the world's frame and in its own.
ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "flat-egocentric": ("gtp-bc", _SEEDS | {"data.observation": "maze-egocentric"}),
    "displacement": ("gtp-hierarchical", _SEEDS | _WORLD),
    "egocentric": ("gtp-hierarchical", _SEEDS),
}
ALL_ROWS = ROWS | ENCODINGS


def run_cell(task: str, row: str, runs: Path) -> dict[str, Any]:
    """Trains, evaluates and diagnoses one cell; a run that was stopped resumes."""
    method, changes = ALL_ROWS[row]
    workdir = runs / f"{task}-{row}"
    command = shared.command(__file__, tasks=task, rows=row)
    trained = shared.train(f"antmaze.py:{task},{method}", workdir, SETTINGS | changes)
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


if __name__ == "__main__":
    main()
