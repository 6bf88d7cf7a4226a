"""experiments/run.py end to end: files, resuming bit for bit, signals, two devices, and one line for what is wrong."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch

from gtp_jax import recipes, records
from gtp_jax.checkpoint import Checkpoints, Saved

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


def final_arrays(directory):
    """All arrays of the last checkpoint, as what a state of these settings must look like."""
    settings = json.loads((directory / "config.json").read_text())
    agent, hparams = recipes.make(settings, -np.ones(8, np.float32), np.ones(8, np.float32))
    example = random_batch(1, obs_dim=36, action_dim=8)
    keys = jax.random.split(jax.random.key(0), settings["num_seeds"])
    state = jax.eval_shape(jax.vmap(lambda key: agent.init(key, example, hparams)), keys)
    rest = state._replace(policy_ema=None, critic_ema=None, key=jax.eval_shape(jax.random.key_data, state.key))
    checkpoints = Checkpoints(directory / "checkpoints")
    assert checkpoints.steps()[-1] == settings["num_updates"]
    saved = checkpoints.restore(checkpoints.steps()[-1], Saved(state.policy_ema, state.critic_ema, rest._asdict()))
    checkpoints.close()
    return jax.tree.map(np.asarray, saved)


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(runner):
    """An uninterrupted run, from nothing: its directory and what it printed."""
    directory = runner.folder / "whole"
    return directory, runner(f"--workdir={directory}")


def test_a_run_leaves_what_it_promises(whole):
    directory, output = whole
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    assert names == {"config.json", "metrics.jsonl", "checkpoints", "summary.json", "curves.png", "maze.png"}
    for name in ("curves.png", "maze.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")
    for word in (
        "gtp, twin_q critic, advantage eta = 1, K = 2, temperature 0.5",
        "gtp/antmaze/umaze-600-v0",
        "cpu:0",
        "95 % interval",
        "behaviour policy",
    ):
        assert word in output, output
    assert str(directory / "summary.json") in output
    assert "Traceback" not in output and "Warning" not in output

    rows = records.read(directory / "metrics.jsonl")
    assert [(row["step"], row["seed"]) for row in rows] == [(s, i) for s in range(5, UPDATES + 1, 5) for i in (0, 1)]
    assert {row["step"] for row in rows if "score" in row} == {20, 40, 60}
    assert all({"policy/loss", "critic/loss", "guidance/effective_share"} <= row.keys() for row in rows)


def test_the_summary_says_what_a_reader_must_know(whole):
    summary = summary_of(whole[0])
    assert summary.keys() == {
        *("schema", "dataset", "fingerprint", "behaviour", "env", "algorithm", "seeds", "num_updates", "eval_episodes"),
        *("num_steps", "temperature", "score", "device", "versions", "commit", "timing"),
    }
    assert summary["dataset"] == "gtp/antmaze/umaze-600-v0" and len(summary["fingerprint"]) == 64
    assert (summary["seeds"], summary["num_updates"], summary["eval_episodes"]) == ([0, 1], UPDATES, 2)
    score = summary["score"]
    assert score.keys() == {"per_seed", "mean", "std", "iqm", "ci95"} and len(score["per_seed"]) == 2
    assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]
    assert 0 <= summary["behaviour"]["behaviour_success"] <= 1
    assert summary["device"]["platform"] == "cpu" and len(summary["device"]["used"]) == 1
    assert {"python", "jax", "gtp_jax"} <= summary["versions"].keys()
    timing = summary["timing"]
    assert timing.keys() == {
        *("updates_per_second", "seed_updates_per_second", "compile_seconds", "wall_seconds", "finished")
    }
    assert timing["seed_updates_per_second"] == pytest.approx(2 * timing["updates_per_second"])
    last = [row["score"] for row in records.read(whole[0] / "metrics.jsonl") if row["step"] == UPDATES]
    assert last == score["per_seed"]


def test_a_finished_run_says_so(whole, runner):
    directory, _ = whole
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}
    output = runner(f"--workdir={directory}")
    assert "holds the finished run" in output and "95 % interval" in output
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"} == before


def assert_same_result(directory, other):
    assert_trees_equal(final_arrays(directory), final_arrays(other))
    assert (directory / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    one, two = ({k: v for k, v in summary_of(path).items() if k != "timing"} for path in (directory, other))
    assert one == two


def test_a_killed_run_ends_as_if_nothing_had_been(whole, runner):
    """kill -9 during an evaluation; the same command again: parameters, metrics and summary bit for bit."""
    directory = runner.folder / "killed"
    child = runner.start(f"--workdir={directory}")
    wait_until_step(child, directory, 35, checkpoint=25)
    child.kill()
    output = child.communicate()[0]
    assert child.returncode == -signal.SIGKILL, output
    assert not (directory / "summary.json").exists()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}")
    assert_same_result(directory, whole[0])


def test_signals_leave_a_checkpoint(whole, runner):
    """SIGTERM and, after going on, Ctrl-C: the chunk in progress is finished and saved, and the exit code says why."""
    directory = runner.folder / "signals"
    for number, step, code in ((signal.SIGTERM, 15, 143), (signal.SIGINT, 35, 130)):
        child = runner.start(f"--workdir={directory}")
        wait_until_step(child, directory, step)
        child.send_signal(number)
        output = child.communicate(timeout=120)[0]
        assert child.returncode == code and "stopped and saved" in output, output
        checkpoints = Checkpoints(directory / "checkpoints")
        assert checkpoints.steps()[-1] == max(steps_in(directory)) in (step, step + 5)
        checkpoints.close()
        assert not (directory / "summary.json").exists()
    rows = records.read(directory / "metrics.jsonl")
    assert rows == records.read(whole[0] / "metrics.jsonl")[: len(rows)]


def test_two_devices_from_another_directory(whole, runner):
    """A bare name finds its config anywhere; the first ten losses are those of one device within 1e-4."""
    home = runner.folder / "elsewhere"
    home.mkdir()
    output = runner(config="antmaze:tiny", cwd=home, cpu_devices=2, log_every=1)
    directory = home / "runs" / "antmaze-tiny"
    used = summary_of(directory)["device"]["used"]
    assert len(set(used)) == 2 and ", ".join(used) in output
    two = records.read(directory / "metrics.jsonl")
    assert len(two) == 2 * UPDATES
    for row in (row for row in records.read(whole[0] / "metrics.jsonl") if row["step"] <= 10):
        chunk = [r for r in two if r["seed"] == row["seed"] and row["step"] - 5 < r["step"] <= row["step"]]
        for name in ("policy/loss", "critic/loss"):
            assert np.mean([r[name] for r in chunk]) == pytest.approx(row[name], rel=1e-4)


TINY, SMALL_DATA = "--config=antmaze.py:tiny", f"--config.dataset={SHRUNK['dataset']}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config=nosuch.py"], ["nosuch.py", "antmaze.py"]),
        ([TINY, "--config.nosuch=1"], ["nosuch"]),
        ([TINY, "--config.num_updates=many"], ["num_updates", "many"]),
        ([TINY, "--config.policy.learning_rate=-1.0"], ["policy.learning_rate", "-1.0"]),
        (["--config=antmaze.py:umazes"], ["umazes", "gtp/antmaze/umaze-v0"]),
        ([TINY, SMALL_DATA, "--config.policy.name=gpt"], ["gpt", "gtp"]),
        ([TINY, SMALL_DATA, "--config.critic.activation=mich"], ["mich", "mish"]),
        ([], ["config"]),
    ],
    ids=["config", "key", "type", "range", "task", "policy", "activation", "nothing"],
)
def test_mistakes_end_early_with_one_line(runner, whole, tmp_path, words, says):
    done = subprocess.run(
        [sys.executable, str(RUN), *words, "--workdir=run"],
        cwd=tmp_path,
        env=runner.env,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr, done.stderr
    assert all(word in done.stderr for word in says), done.stderr
    assert not (tmp_path / "run").exists()


# The pieces, in this process.


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("experiments_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_of_configs_are_resolved(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = str(RUN.parent / "configs" / "antmaze.py")
    rest = ["--config.seed=3", "--workdir=x"]
    for words in (["--config=antmaze.py"], ["--config=antmaze"], ["--config", "antmaze.py"]):
        assert script.resolve_config(["run.py", *words, *rest]) == ["run.py", f"--config={shipped}", *rest]
    assert script.resolve_config(["--config=antmaze:D4RL/antmaze/umaze-v1"]) == [
        f"--config={shipped}:D4RL/antmaze/umaze-v1"
    ]
    (tmp_path / "antmaze.py").write_text("")  # the working directory comes first
    assert script.resolve_config(["--config=antmaze:tiny"]) == ["--config=antmaze.py:tiny"]
    with pytest.raises(ValueError, match="--config=nosuch: no file 'nosuch'.*which has antmaze.py"):
        script.resolve_config(["--config=nosuch"])


def test_default_directories(script):
    assert script.default_workdir(["--config=/x/antmaze.py"]) == Path("runs/antmaze")
    assert script.default_workdir(["--config=/x/antmaze.py:a/b-v1", "--config.seed=1"]) == Path("runs/antmaze-a-b-v1")
    assert script.default_workdir(["--config=antmaze.py:umaze,gtp-bc"]) == Path("runs/antmaze-umaze-gtp-bc")


def test_the_share_of_gpu_memory_is_set_before_jax_starts(script, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    script.start_jax({"gpu_memory_fraction": 0.25, "cpu_devices": 2})
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.25"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    script.start_jax({"gpu_memory_fraction": 0.25, "cpu_devices": 2})
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5"  # what the user set himself
