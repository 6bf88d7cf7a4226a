"""Starting experiments/run.py as a user does, shrunk, and reading what it leaves."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from oracles import random_batch

from gtp_jax.agent import build
from gtp_jax.config import trials
from gtp_jax.runs.checkpoints import Checkpoints, Saved

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
    """A module of benchmarks/."""
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as when it runs as a script
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Runner:
    """Starts runs that share the collected data and, since they compile the same programs, the compiled ones."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            **os.environ,
            "MINARI_DATASETS_PATH": str(folder / "minari"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
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
    while max(steps_in(directory), default=0) < step or not (
        checkpoint is None or (directory / "checkpoints" / str(checkpoint)).is_dir()
    ):
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()[0]
        time.sleep(0.01)


def state_like(directory):
    """What the state of a run with these settings looks like."""
    settings = json.loads((directory / "config.json").read_text())
    agent, hparams = build.make(settings, -np.ones(8, np.float32), np.ones(8, np.float32))
    example = random_batch(1, obs_dim=60, action_dim=8)
    keys = jax.random.split(jax.random.key(0), len(trials.lanes(settings)))
    state = jax.eval_shape(jax.vmap(lambda key: agent.init(key, example, hparams)), keys)
    rest = state._replace(policy_ema=None, critic_ema=None, key=jax.eval_shape(jax.random.key_data, state.key))
    return Saved(state.policy_ema, state.critic_ema, rest._asdict())


def final_arrays(directory):
    """All arrays of the last checkpoint, which must be that of the last update."""
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    step = checkpoints.steps()[-1]
    assert step == json.loads((directory / "config.json").read_text())["num_updates"]
    saved = checkpoints.restore(step, state_like(directory))
    checkpoints.close()
    return jax.tree.map(np.asarray, saved)


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def differences(directory, other, but=()):
    """What two finished runs do not share, bit for bit, by name: all files but those named, of the checkpoints the last
    one's arrays, of summary.json all but the timing. run.log holds times."""
    arrays, others = (jax.tree_util.tree_leaves_with_path(final_arrays(path)) for path in (directory, other))
    found = [
        jax.tree_util.keystr(path)
        for (path, one), (_, two) in zip(arrays, others, strict=True)
        if one.dtype != two.dtype or one.tobytes() != two.tobytes()
    ]
    one, two = (summary_of(path) | {"timing": None} for path in (directory, other))
    found += [f"summary.json: {name}" for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
    apart = {"summary.json", "checkpoints", "run.log", *but}
    one, two = (
        {path.name: path.read_bytes() for path in each.iterdir() if path.name not in apart}
        for each in (directory, other)
    )
    return found + [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
