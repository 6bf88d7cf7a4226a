"""Whether a run that is killed again and again ends as if nothing had been.

A shrunk run is trained once without interruption. Then the same command is killed by SIGKILL at a random moment and
started again, until it ends; its data are collected anew each time round. What it leaves is compared bit for bit, but
for run.log and the timing. Two kills in three are spread evenly over the time of a whole run; every third one waits for
something that is soon over and strikes within 50 ms. RESULTS/soak.json is written after each run, and resumed.
"""

import collections
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import runs

from benchmarks import shared

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


def strike(child: subprocess.Popen, run: Path, data: Path, rng: np.random.Generator, aimed: bool, whole: float) -> str:
    """Kills a run at a random moment, `whole` being the seconds of a whole run, and returns the phase that it hit.

    If `aimed`, it waits for something that is soon over. "" is a run that ended before.
    """
    since, aim, moment = time.time(), None, float(rng.uniform(0, whole))
    if aimed:
        collected = list(data.glob("gtp/antmaze/*/data"))
        aim, moment = str(rng.choice([WRITING, ENDING] if collected else [COLLECTING, WRITING, ENDING])), None
    while child.poll() is None:
        after = time.time() - since
        if moment is None and phase(run, data, since) == aim:
            moment = after + float(rng.uniform(0, 0.05))
        if moment is not None and after >= moment:
            hit = phase(run, data, since)
            child.kill()
            return hit if child.wait() == -signal.SIGKILL else ""
        time.sleep(0.002 if aim else 0.01)
    return ""


def killed_run(runner: Any, run: Path, rng: np.random.Generator, first: int, most: int, whole: float) -> list[str]:
    """What the kills of one run hit, at most so many, numbered from `first` on; then it is left to end."""
    hits, data = [], Path(runner.env["MINARI_DATASETS_PATH"])
    while True:
        child, aimed = runner.start(f"--workdir={run}"), (first + len(hits)) % 3 == 2
        if len(hits) < most and (hit := strike(child, run, data, rng, aimed, whole)):
            hits.append(hit)
            child.stdout.close()
            continue
        output = child.communicate(timeout=600)[0]
        assert child.returncode == 0, output
        return hits


def summarise(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Kills by what they hit, runs, and runs that differ."""
    hits = sum((collections.Counter(each["hit"]) for each in rounds), collections.Counter())
    differing = sum(bool(each["differences"]) for each in rounds)
    return {"kills": hits.total(), "runs": len(rounds), "runs_that_differ": differing, "hit": dict(hits.most_common())}


def main(argv: list[str] | None = None) -> None:
    """Kills, compares and writes."""
    arguments = shared.parse(__doc__, argv, kills=100, seed=0, results=shared.RESULTS / "trust")
    about = shared.source(shared.command(__file__, kills=arguments.kills, seed=arguments.seed))
    path = arguments.results / "soak.json"
    before = shared.read(path) if path.exists() else {}
    same = all(before.get(name) == about[name] for name in ("command", "commit"))
    rounds = before["rounds"] if same else []
    with tempfile.TemporaryDirectory() as folder:
        runner, reference, run = runs.Runner(Path(folder)), Path(folder) / "reference", Path(folder) / "killed"
        runner(f"--workdir={reference}")  # compiles
        shutil.rmtree(reference)
        started = time.monotonic()
        runner(f"--workdir={reference}")
        whole = time.monotonic() - started
        while (done := summarise(rounds)["kills"]) < arguments.kills:
            shutil.rmtree(runner.env["MINARI_DATASETS_PATH"])
            rng, most = np.random.default_rng((arguments.seed, len(rounds))), arguments.kills - done
            hits = killed_run(runner, run, rng, done, most, whole)
            rounds.append({"hit": collections.Counter(hits), "differences": runs.differences(run, reference)})
            shutil.rmtree(run)
            shared.write(path, about | summarise(rounds) | {"rounds": rounds})
            print(summarise(rounds), flush=True)
