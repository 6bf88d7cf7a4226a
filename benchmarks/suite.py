"""The suite: every task by every row, cell by cell.

    python benchmarks/suite.py [--tasks=antmaze-umaze,...] [--rows=gtp-bc,...] [--data=hosted] [--part=1/2]

A cell is a task and a row: one run of experiments/run.py, three seeds, and the same network, data, updates, learning
rate, temperature and evaluation for every row of a task; policy, critic and guidance change, with the rewards, K and
gradient norm that belong to them. U-Maze's cells of gtp, gtp-bc and gtp-condition are the five seeds of
benchmarks/umaze.py. A finished cell is RESULTS/DATA/TASK/ROW.json and is not run again; one that was stopped goes on
from its last checkpoint. Several machines share nothing: each takes its part of the list, and the files are put
together afterwards. Cells that were not run are simply not there. benchmarks/report.py makes the page of them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import commands
from commands import ROOT

from gtp_jax import files
from gtp_jax.config import methods
from gtp_jax.config.tasks import TASKS, Task, configuration
from gtp_jax.runs.metrics import read_rows

RESULTS = Path("benchmarks/results/suite")
# By their value to this project.
ORDER = (
    *("antmaze-umaze", "antmaze-umaze-diverse", "antmaze-medium-play", "antmaze-medium-diverse"),
    *("hopper-medium", "walker2d-medium-replay", "antmaze-umaze-mixed", "antmaze-umaze-noisy"),
    *("hopper-medium-replay", "hopper-medium-expert", "walker2d-medium", "walker2d-medium-expert"),
    *("halfcheetah-medium", "halfcheetah-medium-replay", "halfcheetah-medium-expert"),
    *("antmaze-large-play", "antmaze-large-diverse"),
)
ROWS = (
    *("gtp-bc", "gtp", "gtp-condition", "gtp-outcome", "gtp-subgoal", "gtp-subgoal-bc"),
    *("diffusion-ql", "consistency-ac", "iql-flow"),
)
# In 20,000 updates the rates published for a million learn little: docs/guidance.md.
SETTINGS: dict[str, Any] = {
    "num_updates": 20_000,
    "num_seeds": 3,
    "log_every": 500,
    "checkpoint_every": 5_000,
    "eval.every": 5_000,
    "cpu_devices": 1,
    "policy.learning_rate": 1e-3,
    "policy.temperature": 0.5,
}


def words(task: Task, row: str, data: str, workdir: Path) -> list[str]:
    """The command of a cell's run, from the repository's root."""
    config = configuration(task)
    if data == "hosted":
        config = f"{config.partition(':')[0]}:{task.hosted}"
    episodes = {"eval.num_episodes": task.family.episodes, "eval.progress_episodes": task.family.episodes // 5}
    overrides = [f"--config.{key}={value}" for key, value in (SETTINGS | episodes).items()]
    return ["experiments/run.py", f"--config={config},{row}", f"--workdir={workdir}", *overrides]


def cells(tasks: list[str], rows: list[str], data: str) -> list[tuple[Task, str]]:
    """All cells that there can be: tasks with such data, rows with what they need of them."""
    chosen = [TASKS[name] for name in tasks]
    return [(task, row) for task in chosen for row in rows if getattr(task, data) and not methods.refusal(row, task)]


def curve(workdir: Path) -> list[dict[str, Any]]:
    """The scores of the evaluations on the way, by step and seed."""
    rows = read_rows(workdir / "metrics.jsonl")
    return [{key: row[key] for key in ("step", "seed", "score")} for row in rows if "score" in row]


def result(task: Task, row: str, data: str, workdir: Path, command: list[str]) -> dict[str, Any]:
    """What is kept of a finished run."""
    settings = json.loads((workdir / "config.json").read_text())
    return {
        "task": task.name,
        "row": row,
        "data": data,
        "command": f"python benchmarks/suite.py --tasks={task.name} --rows={row} --data={data}",
        "run": " ".join(["python", *command]),
        "learning_rate": settings["policy"]["learning_rate"],
        "summary": json.loads((workdir / "summary.json").read_text()),
        "curve": curve(workdir),
    }


def load(results: Path = ROOT / RESULTS) -> list[dict[str, Any]]:
    """The finished cells."""
    return [json.loads(path.read_text()) for path in sorted(results.glob("*/*/*.json"))]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(ORDER), help="of gtp_jax.tasks.TASKS, by commas")
    parser.add_argument("--rows", default=",".join(ROWS), help="of these, by commas")
    parser.add_argument("--data", choices=("embedded", "hosted"), default="embedded")
    parser.add_argument("--part", default="1/1", help="of the list of cells, as in 2/3")
    parser.add_argument("--runs", type=Path, default=Path("runs/suite"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=RESULTS, help="likewise")
    arguments = parser.parse_args(argv)
    for name, known in (("tasks", TASKS), ("rows", ROWS)):
        setattr(arguments, name, getattr(arguments, name).split(","))
        if wrong := [each for each in getattr(arguments, name) if each not in known]:
            parser.error(f"--{name}: {wrong[0]!r} is none of {', '.join(known)}")
    part, _, parts = arguments.part.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        parser.error(f"--part={arguments.part}: expected I/N with I from 1 to N, as in 2/3")
    arguments.part = slice(int(part) - 1, None, int(parts))
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are not there yet."""
    arguments = parse(argv)
    for task, row in cells(arguments.tasks, arguments.rows, arguments.data)[arguments.part]:
        path = ROOT / arguments.results / arguments.data / task.name / f"{row}.json"
        if path.exists():
            continue
        workdir = arguments.runs / task.name / (row if arguments.data == "embedded" else f"{row}-hosted")
        command = words(task, row, arguments.data, workdir)
        commands.python(command)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, result(task, row, arguments.data, ROOT / workdir, command))
        print(json.dumps({"task": task.name, "row": row, "score": json.loads(path.read_text())["summary"]["score"]}))


if __name__ == "__main__":
    main()
