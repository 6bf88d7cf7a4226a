"""Seeds times swept values, and what a sweep means: the same numbers as the trainings one by one."""

import importlib.util
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch, settings_with

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.config import trials
from gtp_jax.config.settings import DEFAULTS, HPARAMS, check, flatten, is_cloning
from gtp_jax.parallel.seeds import Seeds
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows

DATA = random_batch(32)
BOUND = np.ones(DATA.action.shape[1], np.float32)


def swept(**values):
    return settings_with(sweep=DEFAULTS["sweep"] | values)


def test_every_seed_with_every_combination_seeds_side_by_side():
    settings = swept(eta=(0.1, 1.0), discount=(0.9, 0.99)) | {"seed_offset": 3, "num_seeds": 2}
    found = trials.lanes(settings)
    assert [lane.label() for lane in found[:3]] == [
        {"seed": 3, "eta": 0.1, "discount": 0.9},
        {"seed": 4, "eta": 0.1, "discount": 0.9},
        {"seed": 3, "eta": 0.1, "discount": 0.99},
    ]
    assert len(found) == 8
    assert trials.combinations(found)[3] == ({"eta": 1.0, "discount": 0.99}, [6, 7])
    assert trials.from_labels([lane.label() for lane in found]) == found
    each = trials.hyperparameters(settings, found)
    assert each["eta"] == [0.1] * 4 + [1.0] * 4 and each["discount"] == [0.9, 0.9, 0.99, 0.99] * 2
    assert each["policy_lr"] == [settings["policy"]["learning_rate"]] * 8


def test_without_a_sweep_there_is_one_combination():
    found = trials.lanes(settings_with(num_seeds=3))
    assert trials.combinations(found) == [({}, [0, 1, 2])] and found[2].label() == {"seed": 2}


def test_what_may_be_swept_is_what_lives_in_the_state():
    _, hparams = build.make(settings_with(), -BOUND, BOUND)
    assert set(hparams) == set(HPARAMS) == set(DEFAULTS["sweep"])
    assert set(HPARAMS.values()) <= {name for name, _ in flatten(DEFAULTS)}


def states(settings, found):
    """The states of lanes after three updates."""
    agent, _ = build.make(settings, -BOUND, BOUND)
    example = jax.tree.map(lambda column: column[:1], DATA)
    own = {name: jnp.float32(each) for name, each in trials.hyperparameters(settings, found).items()}
    engine = Seeds(
        lambda key, hparams: agent.init(key, example, hparams),
        agent.update,
        DATA,
        seeds=[lane.seed for lane in found],
        batch_size=8,
        own=[own],
    )
    state, _ = engine.advance(engine.init(), 3)
    return engine.gather(state)


def test_a_sweep_equals_its_trainings_one_by_one():
    """Bit for bit at the same width: a lane is what it is where every lane trains with the value as a plain setting."""
    settings = swept(eta=(0.5, 2.0)) | {"num_seeds": 2}
    together = states(settings, trials.lanes(settings))
    for i, eta in enumerate((0.5, 2.0)):
        alone = states(settings_with(guidance__eta=eta), [trials.Lane(seed, {}) for seed in (0, 1, 0, 1)])
        mine = [jax.tree.map(lambda leaf, i=i: leaf[2 * i : 2 * i + 2], tree) for tree in (together, alone)]
        assert_trees_equal(*mine)
    first = jax.tree.leaves(together.policy)[0]
    assert (first[0] != first[2]).any() and (first[0] != first[1]).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eta": (0.1, -1.0)}, "sweep.eta.*-1.0 must be a number at least 0.*guidance.eta"),
        ({"discount": (0.9, 1.1)}, "sweep.discount.*1.1"),
        ({"policy_lr": (1e-3, 1e-3)}, "twice"),
        ({"eta": ("high",)}, "'high'"),
        ({"eta": (True,)}, "True"),
        ({"eta": ((0.1, 1.0),)}, "must be a number"),
    ],
)
def test_values_are_checked_before_anything_runs(values, message):
    with pytest.raises(ValueError, match=message):
        check(swept(**values))


def test_sweeping_what_the_method_never_reads_is_refused():
    cloning = settings_with(guidance__name="none", sweep=DEFAULTS["sweep"] | {"discount": (0.9, 0.99)})
    with pytest.raises(ValueError, match="sweep.discount.*means nothing to gtp-bc"):
        build.check(cloning)
    build.check(swept(discount=(0.9, 0.99), policy_lr=(1e-4, 1e-3), eta=(0.0, 1.0)))


def test_zero_among_swept_eta_keeps_the_critic():
    assert not is_cloning(swept(eta=(0.0, 1.0)))
    assert is_cloning(swept(eta=(0.0,)))
    assert not is_cloning(settings_with(guidance__eta=0.0, sweep=DEFAULTS["sweep"] | {"eta": (1.0,)}))


def merge_module():
    path = Path(__file__).parents[1] / "experiments" / "merge.py"
    spec = importlib.util.spec_from_file_location("merge", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finished_run(folder, seeds, **config):
    """The files of a finished run of two episodes a seed: only an odd seed succeeds, and only in the first."""
    labels = [{"seed": seed, "eta": eta} for eta in (0.1, 1.0) for seed in seeds]
    folder.mkdir()
    success = [[label["seed"] % 2 == 1, False] for label in labels]
    files.write_json(folder / "config.json", {"seed_offset": seeds[0], "num_seeds": len(seeds), "devices": 1} | config)
    for step in (1, 2):
        rows = to_rows(step, labels, {"policy/loss": np.arange(len(labels)) + 10.0 * seeds[0]})
        append_rows(folder / "metrics.jsonl", rows)
    score = 100 * np.array(success)
    files.write_json(folder / "episodes.json", {"lanes": labels, "score": score, "success": success})
    about = dict.fromkeys(("dataset", "algorithm", "fingerprint", "device", "versions", "commit", "timing"), "same")
    files.write_json(folder / "summary.json", about | {"seeds": seeds, "sweep": []})
    return folder


def test_merged_runs_are_one_run(tmp_path, capsys):
    module = merge_module()
    parts = [finished_run(tmp_path / "b", [2, 3], devices=2), finished_run(tmp_path / "a", [0, 1])]
    module.main([*map(str, parts), f"--out={tmp_path / 'all'}"])
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2, 3] and "timing" not in summary
    assert [row["eta"] for row in summary["sweep"]] == [0.1, 1.0]
    for row in summary["sweep"]:
        assert row["score"]["per_seed"] == [0, 50, 0, 50]
    rows = read_rows(tmp_path / "all" / "metrics.jsonl")
    assert [(row["step"], row["eta"], row["seed"]) for row in rows] == [
        (step, eta, seed) for step in (1, 2) for eta in (0.1, 1.0) for seed in range(4)
    ]
    assert [row["policy/loss"] for row in rows[:4]] == [0, 1, 20, 21]
    assert json.loads((tmp_path / "all" / "config.json").read_text())["num_seeds"] == 4
    assert (tmp_path / "all" / "curves.png").exists()
    assert "eta = 0.1: 25.0" in capsys.readouterr().out


def test_seeds_with_a_gap_are_in_no_config(tmp_path):
    """Its first seed and their number would name seeds that were not trained."""
    parts = [finished_run(tmp_path / "a", [0, 1]), finished_run(tmp_path / "b", [5, 6])]
    merge_module().main([*map(str, parts), f"--out={tmp_path / 'all'}"])
    config = json.loads((tmp_path / "all" / "config.json").read_text())
    assert config.keys() == DEFAULTS.keys() - {"seed_offset", "num_seeds"} and config["devices"] == 1
    assert json.loads((tmp_path / "all" / "summary.json").read_text())["seeds"] == [0, 1, 5, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: finished_run(folder / "b", [1, 2]), "both hold .*1.*seed_offset"),
        (
            lambda folder: finished_run(folder / "b", [2, 3], batch_size=7),
            "different experiments: batch_size: 7 and 256",
        ),
        (lambda folder: folder / "nowhere", "no finished run"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, capsys, change, message):
    first, second = finished_run(tmp_path / "a", [0, 1]), change(tmp_path)
    with pytest.raises(SystemExit) as exit_code:
        merge_module().main([str(first), str(second), f"--out={tmp_path / 'all'}"])
    assert exit_code.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1 and not (tmp_path / "all").exists()
