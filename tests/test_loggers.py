"""What repeats metrics.jsonl repeats it exactly: CSV, TensorBoard's event files, Weights & Biases offline."""

import csv
import importlib.util
import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from logs import read_events, read_history
from oracles import settings_with

from gtp_jax import files
from gtp_jax.runs import loggers
from gtp_jax.runs.metrics import read_rows

LABELS = [{"seed": 0, "eta": 0.5}, {"seed": 1, "eta": 0.5}]
NAMES = ("seed=0,eta=0.5", "seed=1,eta=0.5")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def values(step):
    """Of two trials, the second one's loss not finite at step 3; scored at step 2."""
    loss = {"policy/loss": np.array([step, math.nan if step == 3 else step / 3])}
    return loss | ({"score": np.array([50.0, 100.0])} if step == 2 else {})


def log(workdir, *steps, after=0, close=True, **asked):
    """Writes some steps, as a run that starts after a step; without `close` it is killed then."""
    settings = settings_with(**{f"log__{name}": value for name, value in asked.items()})
    metrics = loggers.MetricsLog(workdir, LABELS, settings)
    metrics.start(after)
    for step in steps:
        metrics.write(step, values(step))
    if close:
        metrics.close()
    return metrics


def expected(*steps, kind=float):
    """(trial, metric, step, value) of every number."""
    return {
        (name, metric, step, None if math.isnan(each[i]) else float(kind(each[i])))
        for step in steps
        for metric, each in values(step).items()
        for i, name in enumerate(NAMES)
    }


def test_the_table_holds_the_rows_of_the_record(tmp_path):
    """Also after a crash, when it forgets what the record forgets."""
    log(tmp_path, 1, 2, 3, close=False).publish()
    log(tmp_path, after=2, close=False)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 4
    log(tmp_path, 3, 4, after=2)
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["step", "seed", "eta", "policy/loss", "score"]
    read = [{name: float(value) if value else None for name, value in row.items()} for row in table]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert read == [{"score": None, **row} for row in rows] and rows[5]["policy/loss"] is None and len(rows) == 8


def test_event_files_hold_every_number_once(tmp_path):
    """In float32; also after a crash, and where the setting was added later."""
    log(tmp_path, 1, close=False)
    for after, steps in ((1, (2, 3)), (2, (3, 4))):
        log(tmp_path, *steps, after=after, tensorboard=True)
        found = [
            (name, metric, step, None if math.isnan(value) else value)
            for name in NAMES
            for metric, step, value in read_events(tmp_path / "tensorboard" / name)
        ]
        assert len(found) == len(set(found)) and set(found) == expected(*range(1, steps[-1] + 1), kind=np.float32)
        for path in tmp_path.rglob("events.*"):  # their names hold the second in which they were made
            path.rename(path.with_name("events.out.tfevents.1000000000.here"))


def test_weights_and_biases_keeps_every_step_once_offline(tmp_path):
    """As one run over a crash, also where the setting was added later."""
    log(tmp_path, 1, close=False)
    for after, steps in ((1, (2, 3)), (2, (3, 4))):
        log(tmp_path, *steps, after=after, wandb="project")
        history = read_history(tmp_path, last=steps[-1])
        assert [step for step, _ in history] == list(range(1, steps[-1] + 1))
        sent = {
            (trial, metric, step, None if math.isnan(value) else value)
            for step, row in history
            for name, value in row.items()
            for metric, _, trial in [name.rpartition("/")]
        }
        assert sent == expected(*range(1, steps[-1] + 1))
        (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
        assert path.stem == "run-" + json.loads((tmp_path / "wandb.json").read_text())["id"]


def test_a_server_gets_what_it_does_not_hold(tmp_path, monkeypatch):
    """A resumed run tells the next step; steps before it are neither sent again nor left out."""
    import wandb

    class Run:
        step, got = 3, []

        def log(self, values, *, step, commit):
            assert commit
            self.got.append(step)

        def finish(self):
            self.got.append("finished")

    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **given: asked.update(given) or Run())
    files.write_json(tmp_path / "wandb.json", {"id": "abc"})
    log(tmp_path, 1, 2, 3, wandb="project", close=False)
    assert Run.got == [3]
    log(tmp_path, 3, 4, after=2, wandb="project")
    assert Run.got == [3, 3, 4, "finished"]
    assert (asked["id"], asked["resume"], asked["project"]) == ("abc", "allow", "project")
    assert asked["config"] == settings_with(log__wandb="project").to_json()


def test_a_missing_login_is_one_line_with_the_cure(tmp_path):
    """In a process of its own, since Weights & Biases reads the environment once."""
    program = "from pathlib import Path; from gtp_jax.runs import loggers; loggers.WandB(Path('.'), 'project', {})"
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, cwd=tmp_path, text=True, capture_output=True)
    says = "ValueError: log.wandb = 'project': .*wandb login.*WANDB_MODE=offline"
    assert sum(bool(re.fullmatch(says, line)) for line in done.stderr.splitlines()) == 1, done
    assert not (tmp_path / "wandb.json").exists()


def test_a_missing_package_is_an_error_with_the_cure(monkeypatch):
    asked = settings_with(log__tensorboard=True).log, settings_with(log__wandb="project").log
    for each in asked:
        loggers.check_extras(each)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for each, name, package in zip(asked, ("tensorboard", "wandb"), ("tensorboardX", "wandb"), strict=True):
        with pytest.raises(ValueError, match=f"log.{name} = .*{package}.*not installed: pip install {package}"):
            loggers.check_extras(each)
    loggers.check_extras(settings_with().log)
