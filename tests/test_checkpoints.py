"""Checkpoints: every bit of every leaf, whatever the devices, and errors for what does not fit or is damaged."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from oracles import assert_trees_equal, settings_with
from runs import benchmark
from toy import full_disk

from gtp_jax.config.trials import Trial
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, RunInfo, Saved
from gtp_jax.types import Layout

damages = benchmark("trust/damages")

INFO = RunInfo(
    settings=settings_with(),
    trials=(Trial(0, {"eta": 0.3}), Trial(1, {"eta": 0.3})),
    observer={"transform": "identity", "mean": [0.5, float(np.float32(0.1))], "std": [1.0, 3e-4]},
    layout=None,
    action_low=(-1.0,),
    action_high=(float(np.float32(0.1)),),
    fingerprint="ä",
    diverged=[{"seed": 1, "eta": 0.3, "updates": [6, 10], "reason": "policy/loss is not finite"}],
    continued_from=None,
    versions={"python": "3", "gtp_jax": None},
)


def tree(scale=1.0):
    """Leaves of every type that a state has, with the values that text formats lose."""
    rng = np.random.default_rng(0)
    special = np.array([np.nan, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    return Saved(
        policy={"params": {"Dense_0": {"kernel": (scale * rng.normal(size=(2, 4, 3))).astype(np.float32)}}},
        critic={"special": np.stack([special, special])},
        training={
            "step": np.full(2, 7, np.int32),
            "key": rng.integers(2**32, size=(2, 2), dtype=np.uint32),
            "opt": (np.arange(2, dtype=np.int32), {"mu": np.ones((2, 3), np.float32)}),
            "flag": np.array([True, False]),
            "policy_ema": None,
        },
    )


def like(saved):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved)


def assert_restores(checkpoints, step, expected):
    """Every bit of the arrays and the same structure."""
    restored = checkpoints.restore(step, like(expected))
    bits = lambda leaf: np.ascontiguousarray(leaf).view(np.uint8)
    assert_trees_equal(jax.tree.map(bits, restored), jax.tree.map(bits, expected))
    assert jax.tree.map(lambda leaf: leaf.dtype, restored) == jax.tree.map(lambda leaf: leaf.dtype, expected)


@pytest.fixture
def checkpoints(tmp_path):
    with contextlib.closing(Checkpoints(tmp_path / "checkpoints")) as made:
        yield made


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A directory with the steps 1 and 2, to read only, and what they hold."""
    made = Checkpoints(tmp_path_factory.mktemp("two_steps"))
    contents = {step: (INFO._replace(unwritten={"loss": [float(step), None]}), tree(step)) for step in (1, 2)}
    for step, (info, arrays) in contents.items():
        made.save(step, arrays, info)
    made.close()
    return made.directory, {step: (info.to_json(), arrays) for step, (info, arrays) in contents.items()}


@pytest.fixture
def saved(two_steps):
    with contextlib.closing(Checkpoints(two_steps[0])) as made:
        yield made


def test_everything_comes_back(saved):
    """Also in a manager that did not save it; the info without the arrays, and one item without the others."""
    assert saved.steps() == [1, 2]
    assert_restores(saved, 2, tree(2))
    assert saved.info(2) == INFO._replace(unwritten={"loss": [2.0, None]})
    restored = saved.restore(1, Saved(like(tree().policy), None, None))
    assert_trees_equal(jax.tree.map(np.asarray, restored.policy), tree().policy)
    assert restored.critic is None and restored.training is None


def test_brackets_and_stars_in_a_path_are_no_pattern(tmp_path):
    with contextlib.closing(Checkpoints(tmp_path / "[1] *?")) as made:
        made.save(1, tree(), INFO)
    assert_restores(made, 1, tree())


def test_a_run_without_critic_and_with_a_layout(checkpoints):
    cloning, layout = tree()._replace(critic=()), Layout(slice(0, 2), slice(2, 4), slice(4, 9), None, (0, 1, 2, 3))
    checkpoints.save(1, cloning, INFO._replace(layout=layout))
    checkpoints.close()
    assert_restores(checkpoints, 1, cloning)
    assert checkpoints.info(1) == INFO._replace(layout=layout)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 2, "versions": {"gtp_jax": "0.1"}}, "written in layout 2 by gtp_jax 0.1, and this version reads"),
        ({"settings": None}, "groups of settings"),
        ({"trials": []}, "trials"),
        ({"trials": [{"seed": "0"}]}, "must name a seed"),
        ({"observer": {"transform": "identity", "mean": 3}}, "mean"),
        ({"layout": 3}, "layout"),
        ({"action_low": [float("nan")]}, "action_low"),
        ({"action_low": "x"}, "action_low"),
        ({"action_high": [-2.0]}, "action_high"),
        ({"fingerprint": 0}, "fingerprint"),
        ({"diverged": [{"seed": 1, "updates": 3, "reason": ""}]}, "updates"),
        ({"continued_from": "there"}, "continued_from"),
        ({"versions": 5}, "versions"),
        ({"unwritten": True}, "unwritten"),
    ],
)
def test_an_info_that_no_run_writes_is_an_error(changes, says):
    with pytest.raises(ValueError, match=says):
        RunInfo.from_json(json.loads(json.dumps(INFO.to_json() | changes)))


def test_a_checkpoint_of_an_earlier_layout_is_not_called_damaged(two_steps, tmp_path):
    copy = shutil.copytree(two_steps[0], tmp_path / "copy")
    (copy / "2" / "info").rename(copy / "2" / "about")
    path = copy / "2" / "about" / "metadata"
    path.write_text(path.read_text().replace('"schema": 4', '"schema": 2'))
    with pytest.raises(ValueError, match="written in layout 2 by gtp_jax None, and this version reads") as error:
        Checkpoints(copy).info(2)
    assert not isinstance(error.value, DamagedCheckpoint)


def test_the_latest_two_and_the_best_are_kept(checkpoints):
    """By another process than that of the best, too; NaN, infinity, no score and an equal, older one are no best."""
    scores = {1: 5.0, 2: 9.0, 3: 9.0, 4: float("nan"), 5: float("inf"), 6: None, 7: 8.0, 10: 0.0}
    for step, score in scores.items():
        checkpoints.save(step, tree(step), INFO._replace(fingerprint=str(step)))
        checkpoints.scores |= {} if score is None else {step: score}
        if step in (3, 5):
            checkpoints.close()
            checkpoints, before = Checkpoints(checkpoints.directory), checkpoints
            checkpoints.scores |= before.scores
    checkpoints.close()
    assert checkpoints.steps() == [3, 7, 10]
    for step in (3, 7, 10):
        assert checkpoints.info(step).fingerprint == str(step)
        assert_restores(checkpoints, step, tree(step))


def test_arrays_that_do_not_fit_are_an_error(saved):
    """A cast would be silent, and would end a run that looks well."""
    right = ((2, 4, 3), "f4")
    for layer, shape, dtype in [("Dense_0", (2, 4, 5), "f4"), ("Dense_0", (2, 4, 3), "i4"), ("Dense_1", *right)]:
        wrong = {"params": {layer: {"kernel": jax.ShapeDtypeStruct(shape, np.dtype(dtype))}}}
        with pytest.raises(ValueError, match="kernel.*was saved as.*is expected"):
            saved.restore(2, Saved(wrong, None, None))


def test_a_flipped_bit_is_noticed_and_the_run_saves_again(checkpoints):
    """Orbax itself would return it as a number; and no later save is skipped for the damaged step."""
    large = Saved({"x": np.random.default_rng(0).normal(size=(2, 50_000))}, (), {"step": np.zeros(2, np.int32)})
    for step in (10, 20):
        checkpoints.save(step, large, INFO)
    checkpoints.close()
    damages.damage("flip a bit of an array", checkpoints.directory / "20", np.random.default_rng(0))
    with pytest.raises(DamagedCheckpoint, match="20.*is not what was saved|20 cannot be read"):
        checkpoints.restore(20, like(large))
    assert_restores(checkpoints, 10, large)
    assert checkpoints.set_aside(20) == checkpoints.directory / "damaged-20-1"
    for step in (15, 20):
        checkpoints.save(step, large, INFO._replace(fingerprint="again"))
        checkpoints.wait()
        assert checkpoints.steps()[-1] == step and checkpoints.info(step).fingerprint == "again"
        assert_restores(checkpoints, step, large)


# After the first read that fails Orbax stops waiting, and TensorStore reports the others to nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", damages.KINDS)
def test_every_kind_of_damage_is_noticed(kind, two_steps, tmp_path):
    """Either what the damage hit is not needed, or the step is named and the older one read: never wrong numbers."""
    directory, contents = two_steps
    for seed in range(3):
        copy = shutil.copytree(directory, tmp_path / str(seed))
        damages.damage(kind, copy / "2", np.random.default_rng(seed))
        assert damages.judge(contents, *damages.resume(copy, like(tree()))) in ("newest", "older")


def test_a_check_of_damages_can_fail(two_steps):
    contents = two_steps[1]
    assert damages.judge(contents, (2, contents[1]), []) == "silent"
    assert damages.judge(contents, (1, contents[1]), ["elsewhere/3 is damaged"]) == "unnamed"
    assert damages.judge(contents, (1, contents[1]), ["checkpoints/2 is damaged"]) == "older"
    assert damages.judge(contents, None, []) == "lost"


@pytest.mark.parametrize("item", ["info", "digest"])
def test_a_changed_number_in_the_small_files_is_noticed(two_steps, tmp_path, item):
    """`info` carries settings and the observations' statistics, which no array's digest covers."""
    copy = shutil.copytree(two_steps[0], tmp_path / "copy")
    path = copy / "2" / item / "metadata"
    text = path.read_text()
    assert "0.0003" in text or "[2, 4, 3]" in text
    path.write_text(text.replace("0.0003", "0.0001").replace("[2, 4, 3]", "[2, 4, 5]"))
    with pytest.raises(DamagedCheckpoint, match=f"2: {item} is not what was saved"):
        Checkpoints(copy).info(2)


def test_a_save_that_would_be_skipped_is_an_error(checkpoints):
    checkpoints.save(5, tree(), INFO)
    for step in (4, 5):
        with pytest.raises(FailedSave, match=f"checkpoints/{step} could not be saved: step 5 exists"):
            checkpoints.save(step, tree(), INFO)


@pytest.mark.parametrize("where", ["before it begins", "in the background"])
def test_a_failed_save_is_an_error_once_and_the_next_one_succeeds(checkpoints, monkeypatch, where):
    """The disk is full for steps 3 and 4: older steps stay, half-written ones go, nothing is forgotten."""
    for step in (1, 2):
        checkpoints.save(step, tree(step), INFO)
    checkpoints.wait()
    with monkeypatch.context() as patch:
        for owner in (os, Path):
            patch.setattr(owner, "mkdir" if where == "before it begins" else "rename", full_disk)
        for step in (3, 4):
            with pytest.raises(FailedSave, match=f"/{step} could not be saved.*No space left"):
                checkpoints.save(step, tree(step), INFO)
                checkpoints.close()  # which waits
            checkpoints.close()
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(5, tree(5), INFO)
    checkpoints.close()
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["2", "5"]
    assert_restores(checkpoints, 2, tree(2))


def test_readers_leave_a_save_alone_that_a_writer_clears(checkpoints):
    """Whoever loads a policy while the run saves must not take its half-written step for what a kill left."""
    checkpoints.save(1, tree(), INFO)
    checkpoints.close()
    half = checkpoints.directory / "2.orbax-checkpoint-tmp"
    half.mkdir()
    with contextlib.closing(Checkpoints(checkpoints.directory, read_only=True)) as reader:
        assert reader.steps() == [1] and reader.info(1) == INFO
    assert half.exists()
    with contextlib.closing(Checkpoints(checkpoints.directory)) as writer:
        writer.save(2, tree(), INFO)
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["1", "2"]
