"""Directories of runs made to do harm: refused with one line, and nothing outside them is read or written."""

import copy
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import stored
from oracles import quick_jit, random_batch, settings_with
from refusals import ROOT, commands
from stored import huge, refusal

import gtp_jax
from gtp_jax.agent import build
from gtp_jax.datasets import Observer
from gtp_jax.runs import directory
from gtp_jax.runs.checkpoints import SCHEMA, Checkpoints, Saved


class Trained(NamedTuple):
    """A run with one checkpoint, as small as can be."""

    directory: Path
    arrays: Saved
    about: dict


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    settings = settings_with(policy__name="gaussian", guidance__name="none", num_seeds=1)
    agent, hparams = build.make(settings, -np.ones(2, np.float32), np.ones(2, np.float32))
    batch = random_batch(1)
    state = quick_jit(jax.vmap(lambda key: agent.init(key, batch, hparams)))(jax.random.split(jax.random.key(0), 1))
    about = {
        "schema": SCHEMA,
        "settings": settings,
        "lanes": [{"seed": 0}],
        "observer": Observer("identity", np.zeros(3, np.float32), np.ones(3, np.float32)).spec(),
        "action_low": [-1.0, -1.0],
        "action_high": [1.0, 1.0],
    }
    checkpoints = Checkpoints(directory / "checkpoints")
    arrays = jax.tree.map(np.asarray, Saved(state.policy_ema, state.critic_ema, {"step": state.step}))
    checkpoints.save(1, arrays, about)
    checkpoints.close()
    assert gtp_jax.load_policy(directory)(np.zeros(3)).shape == (2,)
    return Trained(directory, arrays, about)


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.directory, tmp_path / "run")


def changed(about, **changes):
    """What a checkpoint says of itself, with changes, `settings__policy__name="evil"`."""
    about = copy.deepcopy(about)
    for name, value in changes.items():
        *parents, last = name.split("__")
        part = about
        for parent in parents:
            part = part[parent]
        if value is KeyError:
            del part[last]
        else:
            part[last] = value
    return json.loads(json.dumps(about))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings__policy__name": "../../evil"}, "policy.name = '../../evil' must be one of"),
        ({"settings__policy__name": "os"}, "policy.name = 'os' must be one of"),
        ({"settings__policy__hidden": [10**9]}, "policy.hidden = [1000000000] must be"),
        ({"settings__policy__hidden": ["8"]}, "policy.hidden = ['8'] must be"),
        ({"settings__num_seeds": 10**12}, "num_seeds = 1000000000000 must be"),
        ({"settings__matmul_precision": "exec"}, "matmul_precision = 'exec' must be one of"),
        ({"settings__evil": 1}, "no setting 'evil'"),
        ({"settings": []}, "must be a group of settings"),
        ({"settings": KeyError}, "settings"),
        ({"lanes": "all"}, "lanes"),
        ({"lanes": [{"seed": "0"}]}, "lanes: {'seed': '0'} must name a seed"),
        ({"lanes": [3]}, "lanes"),
        ({"lanes": []}, "cannot be loaded"),
        ({"lanes": KeyError}, "lanes"),
        ({"observer": {"transform": "os.system", "mean": [0], "std": [1]}}, "no observation transform 'os.system'"),
        ({"observer__mean": "0"}, "cannot be loaded"),
        ({"observer__std": [0.0, 1.0, 1.0]}, "std finite and positive"),
        ({"action_low": [float("nan"), 0.0]}, "must be finite bounds"),
        ({"action_low": 3}, "must be finite bounds"),
        ({"action_high": [-2.0, -2.0]}, "must be finite bounds"),
        ({"schema": {"a": 1}}, "written in layout"),
        ({"schema": 1, "versions": 5}, "cannot be loaded"),
    ],
)
def test_what_a_checkpoint_says_of_itself_is_checked(trained, monkeypatch, changes, says):
    about = changed(trained.about, **changes)
    monkeypatch.setattr(Checkpoints, "about", lambda self, step: about)
    text = refusal(lambda: gtp_jax.load_policy(trained.directory))
    assert says in text and "checkpoints" in text, text


def test_checkpoints_that_are_too_large_lead_out_or_are_pickled(run, tmp_path, sentinel):
    step = run / "checkpoints" / "1"
    for name in ("about/metadata", "digest/metadata", "policy/_METADATA", "_CHECKPOINT_METADATA"):
        kept = (step / name).read_bytes()
        huge(step / name)
        assert "104,857,600 bytes" in refusal(lambda: gtp_jax.load_policy(run, step=1))
        (step / name).unlink()
        (tmp_path / "elsewhere").write_bytes(kept)
        (step / name).symlink_to(tmp_path / "elsewhere")
        assert "leads out of its folder" in refusal(lambda: gtp_jax.load_policy(run, step=1))
        (step / name).unlink()
        (step / name).write_bytes(pickle.dumps(stored.Sentinel(sentinel)))
        if name != "_CHECKPOINT_METADATA":  # which Orbax reads only to tell
            refusal(lambda: gtp_jax.load_policy(run, step=1))
        (step / name).write_bytes(kept)
    assert gtp_jax.load_policy(run)(np.zeros(3)).shape == (2,)
    (step / "policy" / "d").rename(tmp_path / "d")
    (step / "policy" / "d").symlink_to(tmp_path / "d")
    assert "leads out of its folder" in refusal(lambda: gtp_jax.load_policy(run, step=1))


def test_directories_of_runs_whose_files_lead_elsewhere(tmp_path):
    """Starting a run there would otherwise empty or extend whatever the links lead to."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in (".lock", "metrics.jsonl", "config.json", "summary.json", "episodes.json"):
        run = tmp_path / f"run{name}"
        run.mkdir()
        (run / name).symlink_to(precious)

        def start(run=run):
            with directory.claim(run):
                pass

        assert "leads out of its folder" in refusal(start)
    assert precious.read_text() == "mine"
    run = tmp_path / "larger-disk"
    run.mkdir()
    (run / "checkpoints").symlink_to(tmp_path / "scratch")
    with directory.claim(run):
        pass


@pytest.mark.parametrize("content", [None, "[" * 100_000, "[]", '{"num_updates": "1"}', '"text"', "{", '{"policy": 3}'])
def test_config_json_of_a_hostile_run(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content) if content else huge(path)
    text = refusal(lambda: directory.settle(tmp_path, settings_with()))
    assert str(path) in text
    path.rename(tmp_path / "summary.json")
    if content != '{"num_updates": "1"}':
        assert "summary.json" in refusal(lambda: directory.finished(tmp_path, settings_with()))
    else:
        assert directory.finished(tmp_path, settings_with()) is None


def test_the_scripts_refuse_hostile_runs_in_one_line(trained, run, tmp_path):
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.save(2, trained.arrays, changed(trained.about, settings__policy__name="evil"))
    checkpoints.close()
    cases = [[f"--workdir={run}"]]
    (end,) = commands(ROOT / "experiments" / "evaluate.py", cases, tmp_path, {**os.environ})
    assert end.refused and "policy.name = 'evil'" in end.output, end
    sound = {
        "config": settings_with(),
        "episodes": {"lanes": [{"seed": 0}], "score": [[1.0]], "success": None},
        "summary": dict.fromkeys(("fingerprint", "dataset", "algorithm", "seeds", "device", "versions", "commit"), "x")
        | {"timing": {}},
    }
    wrong = {
        "config": [{"policy": 3}, [], {"evil": 1}],
        "episodes": [{}, {"lanes": 3, "score": [], "success": None}, {"lanes": [{"seed": 0}], "score": 1}, "x"],
        "summary": [{}, []],
    }
    cases = []
    for name, contents in wrong.items():
        for number, content in enumerate([*contents, None]):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            for each, right in sound.items():
                (folder / f"{each}.json").write_text(json.dumps(content if each == name else right))
            if content is None:
                huge(folder / f"{name}.json")
            cases.append([f"--out={tmp_path / 'joined'}", str(folder)])
    for words, end in zip(
        cases, commands(ROOT / "experiments" / "merge.py", cases, tmp_path, {**os.environ}), strict=True
    ):
        assert end.refused and words[1] in end.output, end
    assert not (tmp_path / "joined").exists()
