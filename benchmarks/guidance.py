"""Value guidance on AntMaze: cloning, GTP as published, and guidance by what followed in the data, cell by cell.

    python benchmarks/guidance.py [--group=report] [--tasks=umaze-noisy,...] [--rows=gtp-bc,...] [--runs=DIR]

A cell is a task and a row, trained and evaluated by experiments/run.py, and, where there is a critic, looked into by
experiments/diagnose.py: same network, data, updates, K, temperature and evaluation; only guidance and critic change. A
finished one is RESULTS/GROUP-TASK-ROW.json and is not run again. The group "report" holds the numbers to report, seeds
0, 1, 2 of 100 episodes each; "tuning" holds what was tried before, one thing changed at a time, on seed 100.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from gtp_jax import records

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results/guidance")
TASKS = ("umaze-noisy", "umaze-mixed", "umaze-diverse", "medium-play", "medium-diverse")
RECIPE = "gtp-outcome"


class Group(NamedTuple):
    """Cells that are comparable with each other."""

    settings: dict[str, Any]
    rows: dict[str, tuple[str, dict[str, Any]]]  # the method of gtp_jax.methods that a row starts from, and its changes


SHARED = {
    "num_updates": 20_000,
    "log_every": 500,
    "checkpoint_every": 20_000,
    "eval.every": 20_000,
    "eval.num_episodes": 100,
    "cpu_devices": 1,
}
GROUPS = {
    "report": Group(
        SHARED | {"num_seeds": 3},
        {name: (name, {}) for name in ("gtp-bc", "gtp", "gtp-success", RECIPE)},
    ),
    "tuning": Group(
        SHARED | {"seed_offset": 100, "num_seeds": 1},
        {
            "gtp-bc": ("gtp-bc", {}),
            "slower": ("gtp-bc", {"policy.learning_rate": 3e-4}),
            "no-waves": ("gtp-bc", {"data.observation": "goal-scales"}),
            "gtp-success": ("gtp-success", {}),
            RECIPE: (RECIPE, {}),
            "memorising": (RECIPE, {"critic.observes": "all", "critic.hidden": (256, 256, 256)}),
            "weaker": (RECIPE, {"guidance.eta": 1.0}),
            "filter": (RECIPE, {"guidance.name": "filter"}),
            "twenty-steps": (RECIPE, {"critic.n_step": 20}),
        },
    ),
}


def python(words: list[str]) -> None:
    """Runs a script from the repository's root."""
    print("python", *words, flush=True)
    subprocess.run([sys.executable, *words], check=True, cwd=ROOT)


def run_cell(group: str, task: str, row: str, runs: Path) -> dict[str, Any]:
    """Trains, evaluates and diagnoses one cell; a run that was stopped goes on."""
    settings, rows = GROUPS[group]
    method, changes = rows[row]
    workdir = runs / f"{group}-{task}-{row}"
    overrides = [f"--config.{name}={value}" for name, value in (settings | changes).items()]
    command = ["experiments/run.py", f"--config=antmaze.py:{task},{method}", f"--workdir={workdir}", *overrides]
    python(command)
    if method not in ("gtp-bc", "gtp-success"):
        python(["experiments/diagnose.py", f"--workdir={workdir}", "--states=8"])
    diagnostics = ROOT / workdir / "diagnostics.json"
    return {
        "group": group,
        "task": task,
        "row": row,
        "command": f"python benchmarks/guidance.py --group={group} --tasks={task} --rows={row}",
        "run": " ".join(["python", *command]),
        "summary": json.loads((ROOT / workdir / "summary.json").read_text()),
        "diagnostics": json.loads(diagnostics.read_text()) if diagnostics.exists() else None,
    }


def main() -> None:
    """Runs the cells that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=GROUPS, default="report")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rows", help="all of the group's by default")
    parser.add_argument("--runs", type=Path, default=Path("runs/guidance"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=RESULTS, help="likewise")
    arguments = parser.parse_args()
    results, known = ROOT / arguments.results, GROUPS[arguments.group].rows
    tasks, rows = arguments.tasks.split(","), arguments.rows.split(",") if arguments.rows else list(known)
    for name, given, there in (("tasks", tasks, TASKS), ("rows", rows, known)):
        if wrong := [each for each in given if each not in there]:
            parser.error(f"--{name}: {wrong[0]!r} is none of {', '.join(there)}")
    results.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for row in rows:
            path = results / f"{arguments.group}-{task}-{row}.json"
            if not path.exists():
                cell = run_cell(arguments.group, task, row, arguments.runs)
                records.write_json(path, cell)
                print(json.dumps({"task": task, "row": row, "score": cell["summary"]["score"]}), flush=True)


if __name__ == "__main__":
    main()
