"""How good the embedded locomotion data are: collects what is not there, and scores its own episodes.

python benchmarks/behaviour.py [--write]

Writes results/behaviour.json; --write puts the table into docs/data.md, beside what a clone of
D4RL's data of the same name was published to score.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from table import insert

from gtp_jax import datasets, files
from gtp_jax.config.tasks import GYM, TASKS
from gtp_jax.runs import provenance, scores

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/behaviour.json", ROOT / "docs" / "data.md"


def measure(dataset_id: str) -> dict:
    """Scores of a dataset's episodes, the last one left out, which is cut to size."""
    data = datasets.load(dataset_id)
    returns = np.bincount(data.episode, weights=data.batch.reward)[:-1]
    each = scores.normalised(scores.family(dataset_id), returns)
    return {
        "dataset": dataset_id,
        "fingerprint": data.fingerprint,
        "transitions": len(data.episode),
        "episodes": len(each),
        "score": float(each.mean()),
        "deviation": float(each.std()),
        "quarters": np.percentile(each, [0, 25, 50, 75, 100]).tolist(),
    }


def table(measured: dict) -> str:
    """A row for each locomotion dataset."""
    lines = [
        "| dataset | stages (steps of training) | episodes | score of an episode | lowest, quartiles, highest "
        "| a clone of D4RL's |",
        "|---|---|---|---|---|---|",
    ]
    found = {each["dataset"]: each for each in measured["rows"]}
    for task in TASKS.values():
        if task.family is GYM:
            each = found[task.embedded]
            family, name = task.embedded.removesuffix("-v0").split("/")[1:]
            controllers = datasets.TASKS[family][name].controllers
            steps = ", ".join(f"{int(file.partition('_')[2].removesuffix('.npz')):,}" for file in controllers)
            quarters = ", ".join(f"{value:.0f}" for value in each["quarters"])
            lines.append(
                f"| `{task.embedded}` | {steps} | {each['episodes']:,} "
                f"| {each['score']:.1f} +- {each['deviation']:.1f} | {quarters} | {task.scores['BC']:.1f} |"
            )
    about = f"{measured['command']}, {measured['date'][:10]}, mujoco {measured['versions']['mujoco']}, "
    return "\n".join([*lines, "", f"{about}commit {str(measured['commit'])[:10]}."])


def main() -> None:
    """Measures, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="only put the table of the committed file into docs/data.md"
    )
    arguments = parser.parse_args()
    if not arguments.write:
        rows = []
        for task in TASKS.values():
            if task.family is GYM:
                rows.append(measure(task.embedded))
                print(json.dumps(rows[-1]), flush=True)
        about = {"date": provenance.now(), "device": provenance.device(), "versions": provenance.versions()}
        command = "python benchmarks/behaviour.py"
        files.write_json(RESULTS, {"command": command, "rows": rows, **about, "commit": provenance.commit()})
    text = table(json.loads(RESULTS.read_text()))
    print(text)
    if arguments.write:
        PAGE.write_text(insert(PAGE.read_text(), "behaviour", text))


if __name__ == "__main__":
    main()
