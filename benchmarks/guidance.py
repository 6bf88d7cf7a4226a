"""How guidance of one level, and what two levels see, were chosen on AntMaze: one thing changed at a time, on other
seeds than those reported, cell by cell.

    python benchmarks/guidance.py [--tasks=umaze-noisy,...] [--rows=gtp-bc,...] [--runs=DIR]

A cell is a task and a row, trained and evaluated by experiments/run.py, and, where its critic weighs, looked into by
experiments/diagnose.py: same network, data, updates, K, temperature and evaluation; only guidance and critic change or,
in LEVELS, the levels and what they observe. A finished one is RESULTS/TASK-ROW.json and is not run again. What is
reported is benchmarks/suite.py's, on other seeds. Cells say by which command of their time they were run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from commands import ROOT, python

from gtp_jax import files

RESULTS = Path("benchmarks/results/guidance")
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
# The method of gtp_jax.methods that a row starts from, and its changes.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "gtp-bc": ("gtp-bc", {}),
    "longer": ("gtp-bc", {"num_updates": 60_000, "eval.progress_episodes": 50}),
    "slower": ("gtp-bc", {"policy.learning_rate": 3e-4}),
    "no-waves": ("gtp-bc", {"data.observation": "goal-scales"}),
    "gtp-success": ("gtp-success", {}),
    "gtp-outcome": ("gtp-outcome", {}),
    "gtp-condition": ("gtp-condition", {}),
    "memorising": ("gtp-outcome", {"critic.observes": "all", "critic.hidden": (256, 256, 256)}),
    "filter": ("gtp-outcome", {"guidance.name": "filter"}),
    "twenty-steps": ("gtp-outcome", {"critic.n_step": 20}),
}
_SEEDS = {"seed_offset": 101, "num_seeds": 2}
# One level in the body's own frame, and two in the world's and in the body's.
LEVELS: dict[str, tuple[str, dict[str, Any]]] = {
    "one-level-egocentric": ("gtp-bc", _SEEDS | {"data.observation": "maze-egocentric"}),
    "vector": ("gtp-subgoal", _SEEDS | {"data.observation": "maze-scales", "policy.subgoal_way": "vector"}),
    "bearing": ("gtp-subgoal", _SEEDS),
}
ROWS |= LEVELS


def run_cell(task: str, row: str, runs: Path) -> dict[str, Any]:
    """Trains, evaluates and diagnoses one cell; a run that was stopped goes on."""
    method, changes = ROWS[row]
    workdir = runs / f"{task}-{row}"
    overrides = [f"--config.{name}={value}" for name, value in (SETTINGS | changes).items()]
    command = ["experiments/run.py", f"--config=antmaze.py:{task},{method}", f"--workdir={workdir}", *overrides]
    python(command)
    if method == "gtp-outcome":
        python(["experiments/diagnose.py", f"--workdir={workdir}", "--states=8"])
    diagnostics = ROOT / workdir / "diagnostics.json"
    return {
        "task": task,
        "row": row,
        "command": f"python benchmarks/guidance.py --tasks={task} --rows={row}",
        "run": " ".join(["python", *command]),
        "summary": json.loads((ROOT / workdir / "summary.json").read_text()),
        "diagnostics": json.loads(diagnostics.read_text()) if diagnostics.exists() else None,
    }


def main() -> None:
    """Runs the cells that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--runs", type=Path, default=Path("runs/guidance"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=RESULTS, help="likewise")
    arguments = parser.parse_args()
    results = ROOT / arguments.results
    tasks, rows = arguments.tasks.split(","), arguments.rows.split(",")
    for name, given, there in (("tasks", tasks, TASKS), ("rows", rows, ROWS)):
        if wrong := [each for each in given if each not in there]:
            parser.error(f"--{name}: {wrong[0]!r} is none of {', '.join(there)}")
    results.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for row in rows:
            path = results / f"{task}-{row}.json"
            if not path.exists():
                cell = run_cell(task, row, arguments.runs)
                files.write_json(path, cell)
                print(json.dumps({"task": task, "row": row, "score": cell["summary"]["score"]}), flush=True)


if __name__ == "__main__":
    main()
