"""The family on the built-in U-Maze: behaviour cloning by every policy class and every ablation of GTP, at several K.

Same network, data, 20,000 updates and evaluation, two seeds of 50 episodes, temperature 1; only the policy's objective
changes. The rows are those of flow_map_study.py; a finished one is RESULTS/ROW.json and is not run again.
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import shared
from benchmarks.family.flow_map_study import FIXED_STEPS, ROWS, STEPS, policy_settings

RESULTS = shared.RESULTS / "family" / "umaze_study"


def run_cell(row: str, workdir: Path) -> dict[str, Any]:
    """Trains one row and evaluates it at every K."""
    steps, command = FIXED_STEPS.get(row, STEPS), shared.command(__file__, rows=row)
    settings = {"num_seeds": 2, "num_updates": 20_000, "guidance.name": "none"}
    settings |= {"eval.num_episodes": 50, "eval.progress_episodes": 10}
    settings |= {"data.observation": "goal-scales", "policy.learning_rate": 3e-4}  # as when it was measured
    settings |= {"policy.temperature": 1.0, "policy.num_steps": steps[-1]} | policy_settings(row)
    trained = shared.train("antmaze.py:umaze,gtp", workdir, settings)
    evaluations = shared.evaluate(workdir, num_steps=",".join(map(str, steps)), temperature=1, episodes=50)
    return {"row": row, "command": command, **trained, "evaluations": evaluations}


def main(argv: list[str] | None = None) -> None:
    """Runs the rows that are not there yet."""
    arguments = shared.parse(__doc__, argv, rows=ROWS, runs=Path("runs/umaze_study"), results=RESULTS)
    shared.run_cells(arguments.results, {row: partial(run_cell, row, arguments.runs / row) for row in arguments.rows})
