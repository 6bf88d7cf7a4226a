"""The agent's update for many seeds: neighbours, chunks and devices change nothing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch, seed_of, settings_with

from gtp_jax.agent.build import build_agent
from gtp_jax.parallel.compiler import update_options
from gtp_jax.parallel.seeds import Seeds

DATA = random_batch(50)
SINGLY = 10 * (1,)  # updates in each dispatch
OPTIONS = update_options(jax.devices()[0]) | {"xla_backend_optimization_level": 0}  # as fast to compile as can be
# As small as an agent with a critic can be, since these laws do not depend on the policy class; guided as by gtp-q.
GUIDED = {"guidance__name": "q", "guidance__relative": True, "guidance__anchor": 1.0, "guidance__anchor_steps": 1}
SETTINGS = settings_with(
    **{"policy__name": "gaussian", "policy__num_steps": 1, "critic__num_steps": 1, "policy__learning_rate": 1e-3},
    **GUIDED,
    guidance__filter_temperature=0.05,
)
AGENT, HPARAMS = build_agent(SETTINGS, -np.ones(2, np.float32), np.ones(2, np.float32), None)


class Runs:
    """An engine with an agent for each seed and its first state, of which every run gets a copy to consume."""

    def __init__(self, *seeds, devices=1, at_once=0):
        init = lambda key: AGENT.init(key, jax.tree.map(lambda column: column[:1], DATA), HPARAMS)
        shared = {"batch_size": 16, "devices": jax.devices()[:devices], "options": OPTIONS, "at_once": at_once}
        self.engine = Seeds(init, AGENT.update, DATA, seeds=seeds, **shared)
        self.first = self.engine.init()

    def __call__(self, chunks=SINGLY):
        state, metrics = jax.tree.map(jnp.copy, self.first), []
        for length in chunks:
            state, values = self.engine.advance(state, length)
            metrics.append(self.engine.gather(values))
        return self.engine.gather(state), metrics


@pytest.fixture(scope="module")
def two():
    """Seeds 0 and 1 on one device."""
    return Runs(0, 1)


@pytest.fixture(scope="module")
def split():
    """Seeds 0 and 1 on a device each."""
    return Runs(0, 1, devices=2)


def test_neighbours_change_nothing(two):
    """Two seeds among four: equal after training, but for what another vmap width rounds (on jax 0.12, not on 0.10)."""
    (many, _), (few, _) = Runs(7, 1, 0, 5)(), two()
    for place, alone in ((2, 0), (1, 1)):
        chex.assert_trees_all_close(seed_of(many, place), seed_of(few, alone), rtol=1e-4, atol=1e-6)
    assert len(np.unique(jax.tree.leaves(many.policy)[0].reshape(4, -1), axis=0)) == 4


def test_chunks_do_not_matter_and_equal_runs_are_equal(two):
    """One dispatch of ten updates, ten of one, and the same again."""
    once, again = two(), two()
    assert_trees_equal(once, again)
    assert_trees_equal(two((10,))[0], once[0])


def test_two_devices_agree_with_one(two, split):
    """pmap over two devices: equal first states, and the first ten losses within 1e-4."""
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(split.first)} == {2}
    assert_trees_equal(split.engine.gather(split.first), two.engine.gather(two.first))
    (_, one), (_, other) = two(), split()
    for here, there in zip(one, other, strict=True):
        for name in ("policy/loss", "critic/loss"):
            np.testing.assert_allclose(here[name], there[name], rtol=1e-4)
    assert one[0]["policy/loss"][0] != one[0]["policy/loss"][1] and len({float(m["critic/q"][0]) for m in one}) > 5


def test_a_run_moves_between_devices(two, split):
    """Four updates on one device, three on two, three on one again: what a run does that resumes elsewhere."""
    expected, state = two()[0], two.engine.gather(two.first)
    for engine, length in ((two.engine, 4), (split.engine, 3), (two.engine, 3)):
        placed = engine.place(state._replace(key=jax.random.wrap_key_data(state.key, impl="threefry2x32")))
        for _ in range(length):
            placed, _ = engine.advance(placed, 1)
        state = engine.gather(placed)
    assert list(state.step) == [10, 10]
    np.testing.assert_array_equal(state.key, expected.key)
    chex.assert_trees_all_close(state.policy, expected.policy, rtol=1e-4, atol=1e-5)


def test_seeds_that_take_turns_are_those_that_come_one_after_the_other(two):
    """Three seeds on two devices, in chunks of 1, 4 and 5: whole parts, and parts of 0, 2 and 3 updates."""
    turns, single = Runs(0, 1, 2, devices=2), Runs(0, 1, 2, at_once=1)
    (state, metrics), (expected, others) = turns((1, 4, 5)), single((1, 4, 5))
    assert_trees_equal((state.key, state.step), (expected.key, expected.step))
    chex.assert_trees_all_close(state._replace(key=None), expected._replace(key=None), rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(metrics, others, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(seed_of(state.policy, 1), seed_of(two()[0].policy, 1), rtol=1e-4, atol=1e-6)
    assert_trees_equal(turns((1, 4, 5)), (state, metrics))
    assert_trees_equal(turns((10,))[0], state)
    held, _ = turns.engine.advance(turns.engine.init(), 5)
    for leaf in jax.tree.leaves(held.policy):  # every device holds all of them
        here, there = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        np.testing.assert_array_equal(here, there)
