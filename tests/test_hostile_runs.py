"""Directories of runs made to do harm: refused with one line, and nothing outside them is read or written."""

import json
import pickle
import shutil

import numpy as np
import pytest
import stored
from oracles import settings_with
from stored import huge, refusal
from toy import Untrained

import gtp_jax
from gtp_jax.config.table import flatten, nested
from gtp_jax.runs import directory
from gtp_jax.runs.checkpoints import Checkpoints
from gtp_jax.runs.info import RunInfo

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one checkpoint, as small as can be."""
    found = Untrained(tmp_path_factory.mktemp("trained"), guidance__name="none")
    assert found.policy(np.zeros(3)).shape == (2,)
    return found


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.directory, tmp_path / "run")


def changed(trained, changes):
    """What a checkpoint says of itself, with changes by dotted name; None leaves a part out."""
    text = {name: value for name, value in flatten(trained.info.to_json()) if not name.startswith(tuple(changes))}
    return json.loads(json.dumps(nested(text | {name: value for name, value in changes.items() if value is not None})))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings.policy.name": "../../evil"}, "policy.name = '../../evil' must be one of"),
        ({"settings.policy.name": "os"}, "policy.name = 'os' must be one of"),
        ({"settings.policy.hidden": [10**9]}, "policy.hidden = (1000000000,) must be"),
        ({"settings.policy.hidden": ["8"]}, "policy.hidden = ('8',) must be"),
        ({"settings.num_seeds": 10**12}, "num_seeds = 1000000000000 must be"),
        ({"settings.matmul_precision": "exec"}, "matmul_precision = 'exec' must be one of"),
        ({"settings.evil": 1}, "no setting 'evil'"),
        ({"settings": []}, "must be groups of settings"),
        ({"settings": None}, "settings"),
        ({"trials": [3]}, "trials"),
        ({"observer": {"transform": "os.system", "mean": [0], "std": [1]}}, "no observation transform 'os.system'"),
        ({"observer.mean": "0"}, "cannot be loaded"),
        ({"observer.std": [0.0, 1.0, 1.0]}, "std finite and positive"),
        ({"schema": {"a": 1}}, "written in layout"),
    ],
)
def test_what_a_checkpoint_says_of_itself_is_checked(trained, monkeypatch, changes, says):
    info = changed(trained, changes)
    monkeypatch.setattr(Checkpoints, "info", lambda self, step: RunInfo.from_json(info))
    text = refusal(lambda: gtp_jax.load_policy(trained.directory))
    assert says in text and "checkpoints" in text, text


def test_checkpoints_that_are_too_large_lead_out_or_are_pickled(run, tmp_path, sentinel):
    step = run / "checkpoints" / "1"
    for name in ("info/metadata", "digest/metadata", "policy/_METADATA", "_CHECKPOINT_METADATA"):
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
        with pytest.raises(ValueError, match="leads out of its folder"), directory.claim(run):
            pass
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
    text = refusal(lambda: directory.resume_settings(tmp_path, settings_with()))
    assert str(path) in text
    path.rename(tmp_path / "summary.json")
    if content != '{"num_updates": "1"}':
        assert "summary.json" in refusal(lambda: directory.finished(tmp_path, settings_with()))
    else:
        assert directory.finished(tmp_path, settings_with()) is None


def test_the_commands_refuse_hostile_runs_in_one_line(trained, run, tmp_path, monkeypatch, refused):
    text = changed(trained, {"settings.policy.name": "evil"})
    with monkeypatch.context() as patch:
        patch.setattr(RunInfo, "to_json", lambda self: text)
        trained.save(2, trained.state.policy_ema, run / "checkpoints")
    assert "policy.name = 'evil'" in refused("evaluate", f"--workdir={run}")
    sound = {
        "config": settings_with().to_json(),
        "episodes": {"trials": [{"seed": 0}], "score": [[1.0]], "success": None},
        "summary": dict.fromkeys(("fingerprint", "dataset", "algorithm", "seeds", "device", "versions", "commit"), "x")
        | {"timing": {}},
    }
    wrong = {
        "config": [{"policy": 3}, [], {"evil": 1}],
        "episodes": [{}, {"trials": 3, "score": [], "success": None}, {"trials": [{"seed": 0}], "score": 1}, "x"],
        "summary": [{}, []],
    }
    for name, contents in wrong.items():
        for number, content in enumerate([*contents, None]):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            for each, right in sound.items():
                (folder / f"{each}.json").write_text(json.dumps(content if each == name else right))
            if content is None:
                huge(folder / f"{name}.json")
            assert str(folder) in refused("merge", f"--out={tmp_path / 'joined'}", str(folder))
    assert not (tmp_path / "joined").exists()
