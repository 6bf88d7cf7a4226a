"""The suite: every task by every method, cell by cell.

A cell is a task and a method: one run of experiments/run.py, three seeds, and the same network, data, updates, learning
rate, temperature and evaluation for every method of a task; policy, critic and guidance change, with the rewards, K and
gradient norm that belong to them. U-Maze's cells of GTP come from umaze.py, five seeds. A finished cell is
RESULTS/DATA/TASK/METHOD.json and is not run again; a run that was stopped resumes at its last checkpoint. Several
machines each take a part of the list, and the files are put together afterwards. report.py makes the page.
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import shared
from gtp_jax.config.methods import method_refusal
from gtp_jax.config.tasks import TASK_FAMILIES, TASKS, Task
from gtp_jax.runs import metrics

RESULTS = shared.RESULTS / "scores" / "suite"
ORDER = tuple(shared.ROWS["tasks"])  # by their value to this project
METHODS, SETTINGS = shared.ROWS["methods"], shared.ROWS["suite"]


def possible_cells(tasks: list[str], methods: list[str], data: str) -> list[tuple[Task, str]]:
    """The cells that can be run: tasks with such data, methods with what they need of them."""
    chosen = [TASKS[name] for name in tasks if getattr(TASKS[name], data)]
    return [(task, method) for task in chosen for method in methods if not method_refusal(method, task)]


def run_cell(task: Task, method: str, data: str, runs: Path) -> dict[str, Any]:
    """Trains and evaluates one cell; a run that was stopped resumes."""
    episodes = TASK_FAMILIES[task.family].episodes
    settings = SETTINGS | {"eval.num_episodes": episodes, "eval.progress_episodes": episodes // 5}
    workdir = runs / task.name / (method if data == "builtin" else f"{method}-hosted")
    config = f"{task.family}.py:{getattr(task, data)},{method}"
    command = shared.command(__file__, tasks=task.name, methods=method, hosted=data == "hosted")
    return finished_cell(task, method, data, command, workdir, config, settings)


def finished_cell(
    task: Task, method: str, data: str, command: str, workdir: Path, config: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """What is kept of a run that is made here, unless it has ended before."""
    about = {"task": task.name, "method": method, "data": data, "command": command}
    about |= shared.train(config, workdir, settings)
    about["learning_rate"] = shared.read(shared.ROOT / workdir / "config.json")["policy"]["learning_rate"]
    rows = metrics.read_rows(shared.ROOT / workdir / "metrics.jsonl")
    return about | {"curve": [{key: row[key] for key in ("step", "seed", "score")} for row in rows if "score" in row]}


def main(argv: list[str] | None = None) -> None:
    """Runs the cells that are not there yet."""
    options = {"tasks": ORDER, "methods": METHODS, "hosted": False}
    arguments = shared.parse(__doc__, argv, **options, runs=Path("runs/suite"), results=RESULTS)
    data = "hosted" if arguments.hosted else "builtin"
    cells = possible_cells(arguments.tasks, arguments.methods, data)
    names = {
        f"{data}/{task.name}/{method}": partial(run_cell, task, method, data, arguments.runs) for task, method in cells
    }
    shared.run_cells(arguments.results, names)
