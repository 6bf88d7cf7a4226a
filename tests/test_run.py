"""experiments/run.py end to end: files, resuming bit for bit, signals, two devices, and one line for what is wrong."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from logs import read_events
from runs import RUN, SHRUNK, UPDATES, differences, steps_in, summary_of, wait_until_step

from gtp_jax.runs.checkpoints import Checkpoints
from gtp_jax.runs.metrics import read_rows


def test_a_run_leaves_what_it_promises(whole):
    directory, output = whole
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("config.json", "metrics.jsonl", "metrics.csv", "run.log", "checkpoints", "summary.json", "episodes.json"),
        *("curves.png", "maze.png"),
    }
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

    rows = read_rows(directory / "metrics.jsonl")
    assert [(row["step"], row["seed"]) for row in rows] == [(s, i) for s in range(5, UPDATES + 1, 5) for i in (0, 1)]
    assert {row["step"] for row in rows if "score" in row} == {20, 40, 60}
    assert all({"policy/loss", "critic/loss", "guidance/effective_share"} <= row.keys() for row in rows)


def test_the_summary_says_what_a_reader_must_know(whole):
    summary = summary_of(whole[0])
    assert summary.keys() == {
        *("schema", "dataset", "fingerprint", "behaviour", "env", "algorithm", "seeds", "num_updates", "eval_episodes"),
        "continued_from",
        *(
            "num_steps",
            "temperature",
            "matmul_precision",
            "score",
            "diverged",
            "device",
            "versions",
            "commit",
            "timing",
        ),
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
    last = [row["score"] for row in read_rows(whole[0] / "metrics.jsonl") if row["step"] == UPDATES]
    assert last == score["per_seed"]
    episodes = json.loads((whole[0] / "episodes.json").read_text())
    assert episodes["lanes"] == [{"seed": 0}, {"seed": 1}]
    assert [np.mean(each) for each in episodes["score"]] == score["per_seed"]


def test_a_finished_run_says_so(whole, runner):
    directory, _ = whole
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}
    output = runner(f"--workdir={directory}")
    assert "holds the finished run" in output and "95 % interval" in output
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"} == before


def test_the_same_command_gives_the_same_files(whole, runner):
    directory = runner.folder / "again"
    runner(f"--workdir={directory}")
    assert differences(directory, whole[0]) == []


def test_a_killed_run_ends_as_if_nothing_had_been(whole, runner):
    """kill -9 during an evaluation; the same command again: every file bit for bit, and no step is logged twice."""
    directory = runner.folder / "killed"
    child = runner.start(f"--workdir={directory}", **{"log.tensorboard": True})
    wait_until_step(child, directory, 35, checkpoint=25)
    child.kill()
    output = child.communicate()[0]
    assert child.returncode == -signal.SIGKILL, output
    assert not (directory / "summary.json").exists()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}", **{"log.tensorboard": True})
    assert differences(directory, whole[0], but=("config.json", "tensorboard")) == []
    steps = list(range(5, UPDATES + 1, 5))
    for seed in (0, 1):
        events = read_events(directory / "tensorboard" / f"seed={seed}")
        assert [step for name, step, _ in events if name == "policy/loss"] == steps


def test_evaluations_beside_the_updates_change_nothing(whole, runner):
    directory = runner.folder / "beside"
    output = runner(f"--workdir={directory}", **{"eval.overlap": "always"})
    assert "beside the updates" in output and "between updates" in whole[1]
    assert differences(directory, whole[0], but=("config.json",)) == []


def test_a_training_that_diverges_is_named_and_the_rest_finishes(runner):
    """A sweep whose first value breaks: exit code 3, at the end and when asked again; no warning of a simulator."""
    directory = runner.folder / "diverged"
    settings = {"num_seeds": 1, "sweep.lambda_flow": "(1e38, 1.0)"}
    for output in (runner(f"--workdir={directory}", expect=3, **settings) for _ in range(2)):
        assert "seed = 0, lambda_flow = 1e+38 diverged during updates 1 to 5: critic/loss is not finite" in output
        assert "0.0 (diverged)" in output and output.count("(diverged)") == 1
        assert "Traceback" not in output and "Warning" not in output and "WARNING" not in output
    (record,) = summary_of(directory)["diverged"]
    assert {"seed": 0, "lambda_flow": 1e38, "updates": [1, 5]}.items() <= record.items()
    rows = read_rows(directory / "metrics.jsonl")
    assert [row["score"] for row in rows if row["lambda_flow"] == 1e38 and "score" in row] == [0, 0, 0]
    assert all(row["policy/loss"] is not None for row in rows if row["lambda_flow"] == 1)
    words = [f"--workdir={directory}", "--num_steps=1", "--episodes=1"]
    again = [sys.executable, str(RUN.with_name("evaluate.py")), *words]
    output = subprocess.run(again, env=runner.env, text=True, capture_output=True, check=True).stdout
    assert "seed = 0, lambda_flow = 1e+38 diverged during updates 1 to 5" in output
    (evaluated,) = json.loads((directory / "evaluations.json").read_text())
    assert evaluated["milliseconds_per_sample"] > 0  # of the second, which acts


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
    rows = read_rows(directory / "metrics.jsonl")
    assert rows == read_rows(whole[0] / "metrics.jsonl")[: len(rows)]


def test_two_devices_from_another_directory(whole, runner):
    """A bare name finds its config anywhere; the first ten losses are those of one device within 1e-4."""
    home = runner.folder / "elsewhere"
    home.mkdir()
    output = runner(config="antmaze:tiny", cwd=home, cpu_devices=2, log_every=1)
    directory = home / "runs" / "antmaze-tiny"
    used = summary_of(directory)["device"]["used"]
    assert len(set(used)) == 2 and ", ".join(used) in output
    two = read_rows(directory / "metrics.jsonl")
    assert len(two) == 2 * UPDATES
    for row in (row for row in read_rows(whole[0] / "metrics.jsonl") if row["step"] <= 10):
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
        (["--config=antmaze.py:umazes"], ["umazes", "did you mean 'umaze'"]),
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


def test_a_logger_without_its_package_is_refused_before_anything_is_made(runner, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['tensorboardX'] = None")
    done = subprocess.run(
        [sys.executable, str(RUN), TINY, "--config.log.tensorboard=True", "--workdir=run"],
        cwd=tmp_path,
        env=runner.env | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{runner.env.get('PYTHONPATH', '')}"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: log.tensorboard = True needs") and "pip install tensorboardX" in done.stderr
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
    rest = ["--config.seed_offset=3", "--workdir=x"]
    for words in (["--config=antmaze.py"], ["--config=antmaze"], ["--config", "antmaze.py"]):
        assert script.resolve_config(["run.py", *words, *rest]) == ["run.py", f"--config={shipped}", *rest]
    assert script.resolve_config(["--config=antmaze:D4RL/antmaze/umaze-v1"]) == [
        f"--config={shipped}:D4RL/antmaze/umaze-v1"
    ]
    (tmp_path / "antmaze.py").write_text("")  # the working directory comes first
    assert script.resolve_config(["--config=antmaze:tiny"]) == ["--config=antmaze.py:tiny"]
    with pytest.raises(ValueError, match="--config=nosuch: no file 'nosuch'.*which has adroit.py, antmaze.py, gym.py"):
        script.resolve_config(["--config=nosuch"])


def test_default_directories(script):
    assert script.default_workdir(["--config=/x/antmaze.py"]) == Path("runs/antmaze")
    assert script.default_workdir(["--config=/x/antmaze.py:a/b-v1", "--config.seed_offset=1"]) == Path(
        "runs/antmaze-a-b-v1"
    )
    assert script.default_workdir(["--config=antmaze.py:umaze,gtp-bc"]) == Path("runs/antmaze-umaze-gtp-bc")


def started(env, **settings):
    """What start_jax leaves, in a process of its own, since JAX reads it only once."""
    program = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location("experiments_run", {str(RUN)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from gtp_jax.settings import DEFAULTS
module.start_jax(DEFAULTS | {settings!r})
import jax
print(os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"], jax.config.jax_default_matmul_precision)
print(len(jax.devices()), jax.config.jax_compilation_cache_dir)
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XLA", "JAX", "XDG"))}
    done = subprocess.run([sys.executable, "-c", program], env=kept | env, text=True, capture_output=True, check=True)
    return done.stdout.split()


def test_what_jax_reads_only_once_is_set_before_it_starts(tmp_path):
    """Memory, precision, devices and the cache of compiled programs; what the user set in the environment stays."""
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    given = {"gpu_memory_fraction": 0.25, "cpu_devices": 3, "matmul_precision": "tensorfloat32"}
    assert started(cache, **given) == ["0.25", "tensorfloat32", "3", str(tmp_path / "gtp_jax" / "compiled")]
    own = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    assert started(cache | own, num_seeds=1) == ["0.5", "float32", "1", str(tmp_path / "mine")]
