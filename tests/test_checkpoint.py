"""Checkpoints: every bit of every leaf, whatever the devices, and refusal of what does not fit."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal
from runs import benchmark
from toy import full_disk

from gtp_jax.parallel.seeds import Seeds
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, Saved

damages = benchmark("damages")

ABOUT = {"schema": 1, "names": ["a", "b"], "nested": {"none": None, "rate": 3e-4, "yes": True}, "text": "ä"}


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


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints")
    yield made
    made.close()


@pytest.fixture(scope="module")
def saved_directory(tmp_path_factory):
    """Step 7 of `tree()`, to read only."""
    directory = tmp_path_factory.mktemp("saved")
    made = Checkpoints(directory)
    made.save(7, tree(), ABOUT)
    made.close()
    return directory


@pytest.fixture
def saved(saved_directory):
    made = Checkpoints(saved_directory)
    yield made
    made.close()


def test_everything_comes_back(saved):
    """Also in a manager that did not save it."""
    assert saved.steps() == [7]
    restored = saved.restore(7, like(tree()))
    assert_trees_equal(
        jax.tree.map(lambda leaf: np.asarray(leaf).view(np.uint8), restored.critic),
        {"special": tree().critic["special"].view(np.uint8)},
    )
    assert_trees_equal(jax.tree.map(np.asarray, restored), tree())
    assert jax.tree.structure(restored) == jax.tree.structure(tree())


def test_about_comes_back_without_the_arrays(saved):
    assert saved.about(7) == ABOUT


def test_one_item_alone(saved):
    restored = saved.restore(7, Saved(like(tree().policy), None, None))
    assert_trees_equal(jax.tree.map(np.asarray, restored.policy), tree().policy)
    assert restored.critic is None and restored.training is None


def test_a_run_without_critic(checkpoints):
    cloning = tree()._replace(critic=())
    checkpoints.save(1, cloning, ABOUT)
    checkpoints.close()
    restored = checkpoints.restore(1, like(cloning))
    assert restored.critic == ()
    assert_trees_equal(jax.tree.map(np.asarray, restored.policy), cloning.policy)


@pytest.mark.parametrize("reopened", [False, True])
def test_the_latest_two_and_the_best_are_kept(checkpoints, reopened):
    """Also by another process than the one that saved the best; NaN, infinity, no score and an equal, older one are no
    best."""
    scores = {1: 5.0, 2: 9.0, 3: 9.0, 4: float("nan"), 5: float("inf"), 6: None, 7: 8.0, 10: 0.0}
    for step, score in scores.items():
        checkpoints.save(step, tree(step), ABOUT | {"step": step, "score": score})
        if reopened:
            checkpoints.close()
            checkpoints = Checkpoints(checkpoints.directory)
    checkpoints.close()
    assert checkpoints.steps() == [3, 7, 10]
    for step in (3, 7, 10):
        assert checkpoints.about(step)["step"] == step
        restored = checkpoints.restore(step, like(tree()))
        assert_trees_equal(jax.tree.map(np.asarray, restored.policy), tree(step).policy)


def test_closing_waits_for_the_last_save(tmp_path):
    first = Checkpoints(tmp_path)
    first.save(1, tree(), ABOUT)
    first.close()
    second = Checkpoints(tmp_path)
    assert second.steps() == [1]
    second.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"params": {"Dense_0": {"kernel": jax.ShapeDtypeStruct((2, 4, 5), np.float32)}}},
        {"params": {"Dense_0": {"kernel": jax.ShapeDtypeStruct((3, 4, 3), np.float32)}}},
        {"params": {"Dense_0": {"kernel": jax.ShapeDtypeStruct((2, 4, 3), np.float16)}}},
        {"params": {"Dense_0": {"kernel": jax.ShapeDtypeStruct((2, 4, 3), np.int32)}}},
        {"params": {"Dense_1": {"kernel": jax.ShapeDtypeStruct((2, 4, 3), np.float32)}}},
    ],
    ids=["other width", "more seeds", "half precision", "integers", "another layer"],
)
def test_what_does_not_fit_is_refused(saved, wrong):
    """A cast would be silent, and would end a run that looks well."""
    with pytest.raises(ValueError, match="kernel.*was saved as.*is expected"):
        saved.restore(7, Saved(wrong, None, None))


@pytest.fixture
def damaged(checkpoints):
    """Steps 10 and 20, one bit of the newer one's array data flipped."""
    large = Saved({"x": np.random.default_rng(0).normal(size=(2, 50_000))}, (), {"step": np.zeros(2, np.int32)})
    for step in (10, 20):
        checkpoints.save(step, large, ABOUT)
    checkpoints.close()
    files = [path for path in (checkpoints.directory / "20").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    again = Checkpoints(checkpoints.directory)
    yield again, large
    again.close()


def test_damage_is_noticed(damaged):
    """A flipped bit in array data, which Orbax itself would return as a number."""
    checkpoints, large = damaged
    with pytest.raises(DamagedCheckpoint, match="20.*is not what was saved|20 cannot be read"):
        checkpoints.restore(20, like(large))
    assert_trees_equal(jax.tree.map(np.asarray, checkpoints.restore(10, like(large))), large)


@pytest.mark.parametrize("step", [15, 20])
def test_a_run_that_went_back_behind_a_damaged_step_saves_again(damaged, step):
    """From step 10 on, the run saves at 15 or at 20 again: neither save may be skipped for the damaged 20."""
    checkpoints, large = damaged
    assert checkpoints.set_aside(20).name == "damaged-20-1"
    checkpoints.save(step, large, ABOUT | {"again": True})
    checkpoints.close()
    assert checkpoints.steps()[-1] == step
    assert checkpoints.about(step)["again"] and (checkpoints.directory / "damaged-20-1").is_dir()
    assert_trees_equal(jax.tree.map(np.asarray, checkpoints.restore(step, like(large))), large)


# After the first read that fails Orbax leaves, and TensorStore finds nobody to tell of the others.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", damages.KINDS)
def test_every_kind_of_damage_is_noticed(kind, two_steps, tmp_path):
    """Either what the damage hit is not needed, or the step is named and the older one read: never wrong numbers."""
    directory, contents = two_steps
    for seed in range(4):
        copy = shutil.copytree(directory, tmp_path / str(seed))
        damages.KINDS[kind](copy / "2", np.random.default_rng(seed))
        assert damages.judge(contents, *damages.resume(copy, like(tree()))) in ("newest", "older")


def test_a_check_of_damages_can_fail(two_steps):
    contents = two_steps[1]
    assert damages.judge(contents, (2, contents[1]), []) == "silent"
    assert damages.judge(contents, (1, contents[1]), ["elsewhere/3 is damaged"]) == "unnamed"
    assert damages.judge(contents, (1, contents[1]), ["checkpoints/2 is damaged"]) == "older"
    assert damages.judge(contents, None, []) == "lost"


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A directory with the steps 1 and 2, and what they hold."""
    directory, contents = tmp_path_factory.mktemp("two_steps"), {}
    made = Checkpoints(directory)
    for step in (1, 2):
        contents[step] = (ABOUT | {"score": float(step)}, tree(step))
        made.save(step, contents[step][1], contents[step][0])
    made.close()
    return directory, contents


@pytest.mark.parametrize("item", ["about", "digest"])
def test_a_changed_number_in_the_small_files_is_noticed(two_steps, tmp_path, item):
    """`about` carries settings and the observations' statistics, which no array's digest covers."""
    copy = shutil.copytree(two_steps[0], tmp_path / "copy")
    path = copy / "2" / item / "metadata"
    text = path.read_text()
    assert "0.0003" in text or "[2, 4, 3]" in text
    path.write_text(text.replace("0.0003", "0.0001").replace("[2, 4, 3]", "[2, 4, 5]"))
    made = Checkpoints(copy)
    with pytest.raises(DamagedCheckpoint, match=f"2: {item} is not what was saved"):
        made.about(2)
    made.close()


def test_a_save_that_would_be_skipped_is_an_error(checkpoints):
    checkpoints.save(5, tree(), ABOUT)
    checkpoints.wait()
    for step in (4, 5):
        with pytest.raises(FailedSave, match=f"checkpoints/{step} could not be saved: step 5 is there"):
            checkpoints.save(step, tree(), ABOUT)


@pytest.mark.parametrize("where", ["before it begins", "in the background"])
def test_a_failed_save_is_said_once_and_the_next_one_succeeds(checkpoints, monkeypatch, where):
    """The disk is full for steps 3 and 4: what was there stays, what was half written goes, nothing is forgotten."""
    for step in (1, 2):
        checkpoints.save(step, tree(step), ABOUT)
    checkpoints.wait()
    name = "mkdir" if where == "before it begins" else "rename"
    with monkeypatch.context() as patch:
        for owner in (os, Path):
            patch.setattr(owner, name, full_disk)
        for step in (3, 4):
            with pytest.raises(FailedSave, match=f"/{step} could not be saved.*No space left"):
                checkpoints.save(step, tree(step), ABOUT)
                checkpoints.wait()
            checkpoints.wait()
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(5, tree(5), ABOUT)
    checkpoints.close()
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["2", "5"]
    assert_trees_equal(jax.tree.map(np.asarray, checkpoints.restore(2, like(tree()))), tree(2))


def test_closing_says_that_the_last_save_failed(checkpoints, monkeypatch):
    for owner in (os, Path):
        monkeypatch.setattr(owner, "rename", full_disk)
    checkpoints.save(1, tree(), ABOUT)
    with pytest.raises(FailedSave, match="/1 could not be saved.*No space left"):
        checkpoints.close()
    checkpoints.close()


def test_readers_leave_a_save_alone_that_a_writer_clears(checkpoints):
    """Whoever loads a policy while the run saves must not take its half-written step for what a kill left."""
    checkpoints.save(1, tree(), ABOUT)
    checkpoints.close()
    half = checkpoints.directory / "2.orbax-checkpoint-tmp"
    half.mkdir()
    reader = Checkpoints(checkpoints.directory, read_only=True)
    assert reader.steps() == [1] and reader.about(1) == ABOUT
    reader.close()
    assert half.exists()
    writer = Checkpoints(checkpoints.directory)
    writer.save(2, tree(), ABOUT)
    writer.close()
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["1", "2"]


def engine(seeds, devices):
    def init(key):
        return {"w": jax.random.normal(key, (3,)), "step": jnp.zeros((), jnp.int32), "key": key}

    return Seeds(init, lambda state, batch: (state, {}), np.zeros(4), seeds=seeds, batch_size=2, devices=devices)


def test_the_layout_does_not_depend_on_the_devices(checkpoints):
    """Saved from two devices, restored on one, and the other way round."""
    one, two = engine((0, 1), jax.devices()[:1]), engine((0, 1), jax.devices())
    here, there = (made.gather(made.init()) for made in (one, two))
    assert_trees_equal(here, there)
    checkpoints.save(1, Saved(there, (), {}), ABOUT)
    checkpoints.close()
    restored = checkpoints.restore(1, Saved(like(here), None, None)).policy
    for made, count in ((one, 1), (two, 2)):
        placed = made.place(restored)
        assert len(placed["w"].sharding.device_set) == count
        assert_trees_equal(made.gather(placed), here)
