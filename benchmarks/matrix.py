"""Every policy with every guidance, and with every critic, from the command line, on a shrunk U-Maze: does it train?

    python benchmarks/matrix.py [--runs=DIR] [--updates=100]

Each row is `python experiments/run.py --config=antmaze.py:tiny --config.policy.name=... --config.guidance.name=...`.
Writes results/matrix.json, the rows with the last losses of both seeds; the scores of so short a run say nothing. Rows
that are there already are not run again.
Ends with exit code 1 where a row failed or a number is not finite.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

from gtp_jax import critics, files, policies
from gtp_jax.agent import build
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.runs import provenance
from gtp_jax.runs.metrics import read_rows

ROOT = Path(__file__).resolve().parents[1]


def rows() -> list[tuple[str, str, str]]:
    """(policy, guidance, critic): every guidance with the twin critic, advantage weights with the others, too."""
    every = itertools.product(build.names(policies), GUIDANCE, build.names(critics))
    return [row for row in every if row[2] == "twin_q" or row[1] == "advantage"]


def run(row: tuple[str, str, str], workdir: Path, updates: int) -> dict:
    """Trains one row and reads what it logged last."""
    policy, guidance, critic = row
    command = ["python", "experiments/run.py", "--config=antmaze.py:tiny", f"--config.policy.name={policy}"]
    command += [f"--config.guidance.name={guidance}", f"--config.critic.name={critic}"]
    command += [f"--config.num_updates={updates}", f"--workdir={workdir}"]
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    result = {"policy": policy, "guidance": guidance, "critic": None if guidance == "none" else critic}
    result |= {"command": " ".join(command[:-1]), "exit": done.returncode}
    if done.returncode:
        return result | {"error": done.stderr.strip().splitlines()[-1:]}
    last = read_rows(ROOT / workdir / "metrics.jsonl")[-2:]
    losses = [{name: value for name, value in metrics.items() if "/" in name} for metrics in last]
    return result | {"updates": last[0]["step"], "last": losses}


def sound(result: dict) -> bool:
    """Whether a row ended well and every number is finite (records write null for one that is not)."""
    return result["exit"] == 0 and all(value is not None for losses in result["last"] for value in losses.values())


def main() -> None:
    """Runs every row and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/matrix"), help="below the repository's root")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/matrix.json"), help="likewise")
    parser.add_argument("--updates", type=int, default=100)
    arguments = parser.parse_args()
    path = ROOT / arguments.results
    rows_there = json.loads(path.read_text())["rows"] if path.exists() else []
    results = [result for result in rows_there if sound(result)]
    about = {
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    there = {(result["policy"], result["guidance"], result["critic"] or "twin_q") for result in results}
    for row in rows():
        if row not in there:
            results.append(run(row, arguments.runs / "-".join(row), arguments.updates) | about)
            print(json.dumps({"row": " ".join(row), "sound": sound(results[-1])}), flush=True)
            files.write_json(path, {"rows": results})
    failed = [result["command"] for result in results if not sound(result)]
    sys.exit(f"{len(failed)} rows failed:\n" + "\n".join(failed) if failed else 0)


if __name__ == "__main__":
    main()
