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

from gtp_jax import files
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.runs import loggers
from gtp_jax.runs.metrics import read_rows

LABELS = [{"seed": 0, "eta": 0.5}, {"seed": 1, "eta": 0.5}]
NAMES = ("seed=0,eta=0.5", "seed=1,eta=0.5")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def open_metrics(workdir, tensorboard=False, wandb=""):
    return loggers.Metrics(workdir, LABELS, {"tensorboard": tensorboard, "wandb": wandb}, {"num_updates": 4})


def values(step):
    """Of two trainings, the second one's loss not finite at step 3; scored at step 2."""
    loss = {"policy/loss": np.array([step, math.nan if step == 3 else step / 3])}
    return loss | ({"score": np.array([50.0, 100.0])} if step == 2 else {})


def write(metrics, steps):
    for step in steps:
        metrics.write(step, values(step))


def expected(steps):
    """(training, metric, step, value) of every number."""
    return {
        (name, metric, step, None if math.isnan(each[i]) else each[i])
        for step in steps
        for metric, each in values(step).items()
        for i, name in enumerate(NAMES)
    }


def test_the_table_holds_the_rows_of_the_record(tmp_path):
    metrics = open_metrics(tmp_path)
    metrics.start(0)
    assert not (tmp_path / "metrics.csv").exists()
    write(metrics, (1, 2, 3))
    metrics.close()
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["step", "seed", "eta", "policy/loss", "score"]
    read = [{name: float(value) for name, value in row.items() if value} for row in table]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert read == [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert table[5]["policy/loss"] == table[0]["score"] == ""


def test_after_a_crash_the_table_forgets_what_the_record_forgets(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder, crash in ((whole, False), (resumed, True)):
        folder.mkdir()
        metrics = open_metrics(folder)
        metrics.start(0)
        if crash:
            write(metrics, (1, 2, 3))
            metrics.publish()
            with open(folder / "metrics.jsonl", "a") as file:
                file.write('{"step": 4, "see')
            metrics = open_metrics(folder)
            metrics.start(2)
            assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 4
            write(metrics, (3, 4))
        else:
            write(metrics, (1, 2, 3, 4))
        metrics.close()
    for name in ("metrics.csv", "metrics.jsonl"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


def rounded(numbers):
    """As event files hold them, in float32."""
    return {(*names, value if value is None else float(np.float32(value))) for *names, value in numbers}


def scalars(workdir):
    return [
        (name, metric, step, None if math.isnan(value) else value)
        for name in NAMES
        for metric, step, value in read_events(workdir / "tensorboard" / name)
    ]


def test_event_files_hold_every_number_once(tmp_path):
    """Also after a crash and a resume, and where they were asked for later."""
    metrics = open_metrics(tmp_path)
    metrics.start(0)
    write(metrics, (1,))
    metrics = open_metrics(tmp_path, tensorboard=True)
    metrics.start(1)
    write(metrics, (2, 3))
    metrics.close()
    assert set(scalars(tmp_path)) == rounded(expected((1, 2, 3)))
    for path in tmp_path.rglob("events.*"):  # their names hold the second in which they were made
        path.rename(path.with_name("events.out.tfevents.1000000000.here"))
    metrics = open_metrics(tmp_path, tensorboard=True)
    metrics.start(2)
    write(metrics, (3, 4))
    metrics.close()
    found = scalars(tmp_path)
    assert len(found) == len(set(found)) and set(found) == rounded(expected((1, 2, 3, 4)))
    assert [step for name, metric, step, _ in found if (name, metric) == (NAMES[0], "policy/loss")] == [1, 2, 3, 4]


def sent(history):
    return {
        (training, metric, step, None if math.isnan(value) else value)
        for step, row in history
        for name, value in row.items()
        for metric, _, training in [name.rpartition("/")]
    }


def test_weights_and_biases_keeps_every_step_once_offline(tmp_path):
    """As one run over a crash, also where it was asked for later."""
    metrics = open_metrics(tmp_path)
    metrics.start(0)
    write(metrics, (1,))
    for after, steps in ((1, (2, 3)), (2, (3, 4))):
        metrics = open_metrics(tmp_path, wandb="project")
        metrics.start(after)
        write(metrics, steps)
        metrics.close()
        history = read_history(tmp_path, last=steps[-1])
        assert [step for step, _ in history] == list(range(1, steps[-1] + 1))
        assert sent(history) == expected(range(1, steps[-1] + 1))
        (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
        assert path.stem == "run-" + json.loads((tmp_path / "wandb.json").read_text())["id"]


def test_a_server_gets_what_it_does_not_hold(tmp_path, monkeypatch):
    """Of a run that is resumed it says the next step; what it had before is neither sent again nor left out."""
    import wandb

    class Run:
        step, got = 3, []

        def log(self, values, *, step, commit):
            assert commit
            self.got.append((step, values))

        def finish(self):
            self.got.append("finished")

    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **given: asked.update(given) or Run())
    files.write_json(tmp_path / "wandb.json", {"id": "abc"})
    metrics = open_metrics(tmp_path, wandb="project")
    write(metrics, (1, 2, 3))
    assert [step for step, _ in Run.got] == [3]
    metrics = open_metrics(tmp_path, wandb="project")
    Run.got.clear()
    metrics.start(2)
    write(metrics, (3, 4))
    metrics.close()
    assert [step for step, _ in Run.got[:-1]] == [3, 4] and Run.got[-1] == "finished"
    assert (asked["id"], asked["resume"], asked["project"]) == ("abc", "allow", "project")
    assert asked["config"] == {"num_updates": 4}


def test_a_missing_login_is_one_line_with_the_cure(tmp_path):
    """In a process of its own, since Weights & Biases reads the environment once."""
    program = f"""
from pathlib import Path
from gtp_jax import loggers
try:
    loggers.WandB(Path({str(tmp_path)!r}), "project", {{}})
except ValueError as error:
    print(error)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, text=True, capture_output=True)
    assert re.fullmatch("log.wandb = 'project': .*wandb login.*WANDB_MODE=offline\n", done.stdout), done
    assert not (tmp_path / "wandb.json").exists()


def test_a_missing_package_is_refused_with_the_cure(monkeypatch):
    asked = {"tensorboard": True, "wandb": "project"}
    loggers.check(asked)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        with pytest.raises(ValueError, match=f"log.{name} = .*{package}.*not installed: pip install {package}"):
            loggers.check(DEFAULTS["log"] | {name: asked[name]})
    loggers.check(DEFAULTS["log"])
