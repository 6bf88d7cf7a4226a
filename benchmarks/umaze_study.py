"""The family on the embedded U-Maze: behaviour cloning by every member and every ablation of GTP, at several K.

    python benchmarks/umaze_study.py [--rows=gtp,...] [--runs=DIR] [--results=DIR]

Same network, data, 20,000 updates and evaluation, two seeds of 50 episodes, temperature 1; only the policy's objective
changes. A cell is a row of `flow_map_study.ROWS`; each finished one is RESULTS/ROW.json and is not run again.
"""

import argparse
import json
from pathlib import Path

from commands import ROOT, python
from flow_map_study import FIXED_STEPS, ROWS, STEPS

from gtp_jax import files


def main() -> None:
    """Runs the rows that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--runs", type=Path, default=Path("runs/umaze_study"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/umaze_study"), help="likewise")
    arguments = parser.parse_args()
    results = ROOT / arguments.results
    results.mkdir(parents=True, exist_ok=True)
    for row in arguments.rows.split(","):
        if (results / f"{row}.json").exists():
            continue
        workdir = arguments.runs / row
        steps = FIXED_STEPS.get(row, STEPS)
        settings = {"num_seeds": 2, "num_updates": 20_000, "guidance.name": "none"}
        settings |= {"eval.num_episodes": 50, "eval.progress_episodes": 10}
        settings |= {"data.observation": "goal-scales", "policy.learning_rate": 3e-4}  # as when it was measured
        settings |= {"policy.temperature": 1.0, "policy.num_steps": steps[-1]}
        settings |= {f"policy.{name}": value for name, value in ROWS[row].items()}
        overrides = [f"--config.{name}={value}" for name, value in settings.items()]
        python(["experiments/run.py", "--config=antmaze.py:umaze,gtp", f"--workdir={workdir}", *overrides])
        sweep = f"--num_steps={','.join(map(str, steps))}"
        python(["experiments/evaluate.py", f"--workdir={workdir}", sweep, "--temperature=1", "--episodes=50"])
        cell = {
            "row": row,
            "command": f"python benchmarks/umaze_study.py --rows={row}",
            "summary": json.loads((ROOT / workdir / "summary.json").read_text()),
            "evaluations": json.loads((ROOT / workdir / "evaluations.json").read_text()),
        }
        files.write_json(results / f"{row}.json", cell)
        scores = {e["num_steps"]: e["score"]["mean"] for e in cell["evaluations"]}
        print(json.dumps({"row": row, **scores}), flush=True)


if __name__ == "__main__":
    main()
