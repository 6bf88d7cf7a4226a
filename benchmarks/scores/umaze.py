"""The built-in U-Maze at several K: the README's first command, advantage-conditioned, weighted and cloned, five seeds.

Each method's file is its cell of the suite, RESULTS/builtin/antmaze-umaze/METHOD.json, with the scores at every K and
temperature beside it. A finished cell is not run again. The pictures of the first method go to docs/.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import shared
from benchmarks.scores import suite
from gtp_jax.config.tasks import TASKS

# The directory below --runs and the preset of each method.
METHODS = {
    "gtp-hierarchical": ("antmaze", "antmaze.py"),
    "gtp-conditioned": ("antmaze-conditioned", "antmaze.py:umaze,gtp-conditioned"),
    "gtp": ("antmaze-gtp", "antmaze.py:umaze,gtp"),
    "gtp-bc": ("antmaze-bc", "antmaze.py:umaze,gtp-bc"),
}


def run_cell(method: str, runs: Path, num_steps: str, temperature: str) -> dict[str, Any]:
    """Trains one method with its preset's settings and evaluates it."""
    (name, config), options = METHODS[method], {"num_steps": num_steps, "temperature": temperature}
    task, command = TASKS["antmaze-umaze"], shared.command(__file__, methods=method, **options)
    cell = suite.finished_cell(task, method, "builtin", command, runs / name, config, {})
    for picture in ("maze", "curves") if name == "antmaze" else ():
        shutil.copy(shared.ROOT / runs / name / f"{picture}.png", shared.ROOT / "docs" / f"umaze_{picture}.png")
    return cell | {"evaluations": shared.evaluate(runs / name, **options)}


def main(argv: list[str] | None = None) -> None:
    """Runs the methods that are not there yet."""
    options = {"methods": METHODS, "num_steps": "1,2,5", "temperature": "1,0.5"}
    arguments = shared.parse(__doc__, argv, **options, runs=Path("runs"), results=suite.RESULTS)
    how = (arguments.runs, arguments.num_steps, arguments.temperature)
    cells = {f"builtin/antmaze-umaze/{method}": partial(run_cell, method, *how) for method in arguments.methods}
    shared.run_cells(arguments.results, cells)
