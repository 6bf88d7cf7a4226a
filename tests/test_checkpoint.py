"""Checkpoints: every bit of every leaf, whatever the devices, and refusal of what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal

from gtp_jax.checkpoint import Checkpoints, DamagedCheckpoint, Saved
from gtp_jax.seeds import Seeds

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


def test_the_latest_two_are_kept(checkpoints):
    for step in (1, 2, 3, 10):
        checkpoints.save(step, tree(step), ABOUT | {"step": step})
    checkpoints.close()
    assert checkpoints.steps() == [3, 10]
    for step in (3, 10):
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
    checkpoints.save(step, large, ABOUT | {"again": True})
    checkpoints.close()
    assert checkpoints.steps()[-1] == step
    assert checkpoints.about(step)["again"]
    assert_trees_equal(jax.tree.map(np.asarray, checkpoints.restore(step, like(large))), large)


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
