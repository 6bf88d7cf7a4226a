"""Whether a run that is killed again and again ends as if nothing had been.

    nice python benchmarks/soak.py [--kills=100] [--seed=0]

A shrunk run is trained once without interruption. Then the same command is started, killed by SIGKILL at a random
moment and started again, until it ends; its data are collected anew each time round. What it leaves is compared bit for
bit: every array of the last checkpoint, every other file but run.log, and summary.json but for its timing. Two kills in
three are at a moment drawn evenly over the time of a whole run; every third one waits for something that is soon over
(the collection, a checkpoint being written, the last files) and strikes within 50 ms. Prints one JSON line, and writes
results/soak.json after each run, from which the same command goes on.
"""

import argparse
import collections
import contextlib
import importlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.runs import provenance

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
runs = importlib.import_module("runs")

RESULT = ROOT / "benchmarks" / "results" / "soak.json"
COLLECTING, WRITING, ENDING = "collecting data", "writing a checkpoint", "writing the last files"


def phase(run: Path, data: Path, since: float) -> str:
    """What a run that was started at `since` is doing, by what it has left on the disk."""

    def new(folder: Path, pattern: str) -> bool:
        with contextlib.suppress(FileNotFoundError):  # a file may go between its listing and the question for its age
            return any(path.stat().st_mtime >= since for path in folder.glob(pattern))
        return False

    if new(data, "gtp/antmaze/.*.building-*"):
        return COLLECTING
    if new(run, "checkpoints/*.orbax-checkpoint-tmp*"):
        return WRITING
    if new(run, "maze.png"):
        return ENDING
    return "training or evaluating" if new(run, "metrics.jsonl") else "starting"


def strike(child: subprocess.Popen, run: Path, data: Path, rng: np.random.Generator, number: int, whole: float):
    """Kills a run at a random moment and returns what it hit; None where the run ended before.

    Args:
      child: the run.
      run: its directory.
      data: the folder that its dataset is collected into.
      rng: draws the moment.
      number: of the kill; every third one is aimed.
      whole: the seconds that a whole run takes.
    """
    since, aim, moment = time.time(), None, float(rng.uniform(0, whole))
    if number % 3 == 2:
        collected = list(data.glob("gtp/antmaze/*/data"))
        aim, moment = str(rng.choice([WRITING, ENDING] if collected else [COLLECTING, WRITING, ENDING])), None
    while child.poll() is None:
        after = time.time() - since
        if moment is None and phase(run, data, since) == aim:
            moment = after + float(rng.uniform(0, 0.05))
        if moment is not None and after >= moment:
            hit = {"aimed_at": aim, "after_seconds": round(after, 3), "hit": phase(run, data, since)}
            child.kill()
            child.wait()
            return hit if child.returncode == -signal.SIGKILL else None
        time.sleep(0.002 if aim else 0.01)
    return None


def killed_run(
    runner: Any, name: str, rng: np.random.Generator, *, first: int, most: int, whole: float
) -> tuple[Path, list[dict]]:
    """One run with at most so many kills, then left to end: its directory and the kills, numbered from `first` on."""
    run, kills = runner.folder / name, []
    while True:
        child = runner.start(f"--workdir={run}")
        number = first + len(kills)
        if len(kills) < most:
            hit = strike(child, run, Path(runner.env["MINARI_DATASETS_PATH"]), rng, number, whole)
            if hit:
                kills.append({"number": number} | hit)
                child.stdout.close()
                continue
        output = child.communicate(timeout=600)[0]
        assert child.returncode == 0, output
        return run, kills


def write(command: str, commit: str | None, rounds: list[dict]) -> dict:
    """Writes what is known so far, and returns it without the single kills."""
    kills = [kill for each in rounds for kill in each["kills"]]
    result = {
        "command": command,
        "kills": len(kills),
        "runs": len(rounds),
        "runs_that_differ": sum(bool(each["differences"]) for each in rounds),
        "hit": dict(collections.Counter(kill["hit"] for kill in kills).most_common()),
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    files.write_json(RESULT, result | {"rounds": rounds})
    return result


def main() -> None:
    """Kills, compares and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    commit = provenance.commit()
    command = f"python benchmarks/soak.py --kills={arguments.kills} --seed={arguments.seed}"
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    rounds = before["rounds"] if (before.get("command"), before.get("commit")) == (command, commit) else []
    with tempfile.TemporaryDirectory() as folder:
        runner, reference = runs.Runner(Path(folder)), Path(folder) / "reference"
        runner(f"--workdir={reference}")  # compiles
        shutil.rmtree(reference)
        started = time.monotonic()
        runner(f"--workdir={reference}")
        whole = time.monotonic() - started
        while (done := sum(len(each["kills"]) for each in rounds)) < arguments.kills:
            shutil.rmtree(runner.env["MINARI_DATASETS_PATH"])
            rng, most = np.random.default_rng((arguments.seed, len(rounds))), arguments.kills - done
            run, kills = killed_run(runner, "killed", rng, first=done, most=most, whole=whole)
            rounds.append({"kills": kills, "differences": runs.differences(run, reference)})
            shutil.rmtree(run)
            result = write(command, commit, rounds)
            print(f"{result['kills']} kills, {len(rounds)} runs, {result['runs_that_differ']} differ", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
