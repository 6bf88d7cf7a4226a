"""Starting experiments/run.py as a user does, shrunk, and reading what it leaves."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from oracles import settings_with
from orbax.checkpoint import CheckpointManager, args

from gtp_jax.config import trials
from gtp_jax.datasets import Observer
from gtp_jax.runs.checkpoints import RunInfo

ROOT = Path(__file__).parents[1]
RUN = ROOT / "experiments" / "run.py"
UPDATES = 60
# Evaluations take most of the time, and are where a signal meets the run; checkpoints are due at other steps.
SHRUNK = {
    "dataset": "gtp/antmaze/umaze-600-v0",
    "num_updates": UPDATES,
    "cpu_devices": 1,
    "log_every": 5,
    "checkpoint_every": 25,
    "batch_size": 16,
    "guidance.eta": 1.0,
    "policy.num_steps": 2,
    "policy.temperature": 0.5,
    "policy.hidden": "(8,)",
    "critic.hidden": "(8,)",
    "eval.every": 20,
    "eval.num_episodes": 2,
    "eval.progress_episodes": 1,
    "eval.num_envs": 2,
}


def benchmark(name):
    """A module of benchmarks/, such as "trust/soak"."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"benchmarks.{name.replace('/', '.')}")


class Runner:
    """Starts runs that share the collected data and, since they compile the same programs, the compiled ones."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            **os.environ,
            "MINARI_DATASETS_PATH": str(folder / "minari"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        }

    def start(self, *words, config="antmaze.py:tiny", cwd=ROOT, **changes):
        settings = [f"--config.{name}={value}" for name, value in (SHRUNK | changes).items()]
        command = [sys.executable, str(RUN), f"--config={config}", *settings, *words]
        return subprocess.Popen(
            command, cwd=cwd, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __call__(self, *words, expect=0, **settings):
        """Runs to the end and returns the output."""
        child = self.start(*words, **settings)
        output = child.communicate(timeout=300)[0]
        assert child.returncode == expect, output
        return output


def steps_in(directory):
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def wait_until_step(child, directory, step, checkpoint=None):
    """Waits for a step in metrics.jsonl and, if given, for a finished checkpoint."""
    deadline = time.monotonic() + 200
    awaited = directory if checkpoint is None else directory / "checkpoints" / str(checkpoint)
    while max(steps_in(directory), default=0) < step or not awaited.is_dir():
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()[0]
        time.sleep(0.01)


def run_info(changes=(), **fields):
    """What a checkpoint says of a run of tiny networks; changes are settings by dotted name."""
    settings = settings_with(num_seeds=1).replace(dict(changes))
    given = {
        "settings": settings,
        "trials": trials.trials(settings),
        "observer": Observer("identity", np.zeros(3, np.float32), np.ones(3, np.float32)).spec(),
        "layout": None,
        "action_low": (-1.0, -1.0),
        "action_high": (1.0, 1.0),
        "fingerprint": "aa",
        "diverged": [],
        "continued_from": None,
        "versions": {"jax": "1", "numpy": "2"},
    }
    return RunInfo(**given | fields)


def arrays(directory, step=None):
    """Every array of a checkpoint, the newest by default, by its name, as Orbax reads it unasked."""
    with CheckpointManager(directory / "checkpoints") as manager:
        step = manager.latest_step() if step is None else step
        items = {"policy", "critic", "training"} & {path.name for path in (manager.directory / str(step)).iterdir()}
        read = manager.restore(step, args=args.Composite(**{name: args.StandardRestore() for name in items}))
    leaves = jax.tree_util.tree_leaves_with_path({name: read[name] for name in items})
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def final_arrays(directory):
    """The arrays of the last update's checkpoint."""
    return arrays(directory, json.loads((directory / "config.json").read_text())["num_updates"])


def times(directory):
    """When each file of a directory was last written, apart from the lock's."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def differences(directory, other, but=()):
    """What two finished runs do not share, bit for bit, by name: all files but those named, of the checkpoints the last
    one's arrays, of summary.json all but timing and commit. run.log holds times."""
    one, two = final_arrays(directory), final_arrays(other)
    assert one.keys() == two.keys()
    found = [name for name in one if one[name].dtype != two[name].dtype or one[name].tobytes() != two[name].tobytes()]
    one, two = (summary_of(path) | {"timing": None, "commit": None} for path in (directory, other))
    found += [f"summary.json: {name}" for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
    apart = {"summary.json", "checkpoints", "run.log", *but}
    one, two = (
        {path.name: path.read_bytes() for path in each.iterdir() if path.name not in apart}
        for each in (directory, other)
    )
    return found + [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
