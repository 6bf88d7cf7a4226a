"""Many seeds in one program: independent of one another, of their grouping and of the devices."""

import functools
import itertools
from types import SimpleNamespace
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, seed_of

from gtp_jax.parallel.seeds import Seeds, batch_indices, choose_devices, device_beside, seed_keys, useful_devices


class Counter(NamedTuple):
    """A learner that costs nothing to compile: it remembers its key and which rows it saw."""

    value: jax.Array
    key: jax.Array
    step: jax.Array
    seen: jax.Array  # counts of the rows


@functools.cache
def counter(seeds, devices=1, at_once=0):
    """An engine, compiled once for all tests; five updates of it: the states before and after, and the metrics."""
    init = lambda key: Counter(jax.random.normal(key, (3,)), key, jnp.int32(0), jnp.zeros(8, jnp.int32))

    def update(state, batch):
        seen = state.seen.at[batch["row"]].add(1)
        state = state._replace(step=state.step + 1, seen=seen, value=jnp.sin(state.value) + batch["row"].mean())
        return state, {"row": batch["row"].mean(), "step": state.step}

    data, used = {"row": np.arange(8)}, jax.devices()[:devices]
    engine = Seeds(init, update, data, seeds=seeds, batch_size=4, devices=used, at_once=at_once)
    first = engine.init()
    initial = engine.gather(first)
    return engine, (initial, *map(engine.gather, engine.advance(first, 5)))


def test_batch_indices_are_pinned():
    """Part of what a seed means: a change here changes every result."""
    keys = [seed_keys([seed])[1][0] for seed in (0, 7)]
    np.testing.assert_array_equal(batch_indices(keys[0], 0, 6, 1000), [317, 631, 792, 562, 424, 372])
    np.testing.assert_array_equal(batch_indices(keys[1], 3, 6, 100_000), [41140, 79200, 41416, 56071, 73216, 4299])


@pytest.mark.parametrize("seeds", [[3], [5, 3], [1, 2, 3, 4], [3, 9, 8]])
def test_the_keys_of_a_seed_do_not_depend_on_the_others(seeds):
    every = np.stack([jax.random.key_data(keys) for keys in seed_keys(seeds)])
    alone = np.stack([jax.random.key_data(keys) for keys in seed_keys([3])])
    np.testing.assert_array_equal(every[:, seeds.index(3)], alone[:, 0])
    assert len(np.unique(every.reshape(-1, 2), axis=0)) == 2 * len(seeds)


@pytest.mark.parametrize(
    ("seeds", "devices"), [((5, 3), 1), ((5, 3), 2), ((1, 3, 7, 4), 2), ((7, 1, 2, 4, 3), 1), ((7, 3, 5), 2), ((3,), 2)]
)
def test_initial_states_and_batches_do_not_depend_on_neighbours_or_devices(seeds, devices):
    """Bit for bit: initial values, keys, and the rows of every minibatch."""
    for one, many in zip(counter((3,))[1], counter(seeds, devices)[1], strict=True):
        one, many = seed_of(one, 0), seed_of(many, seeds.index(3))
        if isinstance(one, Counter):  # `value` is the sum of several numbers, whose order may differ
            one, many = (tree._replace(value=np.zeros(())) if tree.step else tree for tree in (one, many))
        assert_trees_equal(one, many)


def test_rows_are_those_of_batch_indices_and_metrics_are_means_over_the_chunk():
    _, (_, state, metrics) = counter((5, 3), 1)
    np.testing.assert_allclose(metrics["step"], [3, 3])
    for place, seed in enumerate((5, 3)):
        rows = [batch_indices(seed_keys([seed])[1][0], step, 4, 8) for step in range(5)]
        np.testing.assert_array_equal(state.seen[place], np.bincount(np.concatenate(rows), minlength=8))


@pytest.mark.parametrize("devices", [1, 2])
def test_gather_undoes_place(devices):
    engine, _ = counter((5, 3), devices)
    uneven = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "key": jax.random.split(jax.random.key(0), 3)}
    there = counter((7, 3, 5), devices)[0]
    placed = there.place(uneven)
    assert placed["x"].shape == (devices, 3, 2)
    assert_trees_equal(there.gather(placed), uneven | {"key": jax.random.key_data(uneven["key"])})
    tree = {"float": np.ones((2, 3), np.float32) / 3, "bool": np.array([True, False]), "nothing": None}
    placed = engine.place(tree)
    assert placed["float"].shape == (devices, 2 // devices, 3)
    assert len(placed["float"].sharding.device_set) == devices
    assert_trees_equal(engine.gather(placed), tree)
    keys = jax.random.split(jax.random.key(0), 2)
    np.testing.assert_array_equal(engine.gather(engine.place(keys)), jax.random.key_data(keys))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_state_is_consumed_and_nothing_moves_between_host_and_devices(devices):
    """Neither data, state nor constants: a transfer would raise an error. Gathered arrays stay."""
    engine, _ = counter((5, 3), devices)
    state = engine.init()
    host = engine.gather(state)
    before = jax.tree.map(np.copy, host)
    with jax.transfer_guard("disallow"):
        after, _ = engine.advance(state, 5)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))
        after, metrics = engine.advance(after, 5)
        jax.block_until_ready(metrics)
    np.testing.assert_array_equal(engine.gather(after).step, [10, 10])
    assert_trees_equal(host, before)


def test_chunks_of_one_length_are_traced_once():
    chex.clear_trace_counter()
    update = chex.assert_max_traces(lambda state, batch: (state._replace(step=state.step + 1), {}), n=1)
    init = lambda key: Counter(None, None, jnp.int32(0), None)
    engine = Seeds(init, update, np.arange(8), seeds=(0, 1), batch_size=4, devices=jax.devices())
    state = engine.init()
    for _ in range(4):
        state, _ = engine.advance(state, 3)
    np.testing.assert_array_equal(engine.gather(state).step, [12, 12])
    assert engine.compile_seconds > 0


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_groups_of_seeds_are_all_of_them(at_once):
    """Five seeds in groups, the last one smaller: keys, rows and order as side by side."""
    whole, parts = counter((7, 1, 2, 4, 3), 1), counter((7, 1, 2, 4, 3), 1, at_once)
    lowered = [each._advance.lower(each.init(), each._data_keys, each.data, 5).as_text() for each, _ in (whole, parts)]
    loops = [text.count("stablehlo.while") for text in lowered]
    assert loops[1] > loops[0]  # one more, over the groups
    (_, (_, expected, metrics)), (_, (_, got, values)) = whole, parts
    np.testing.assert_allclose(got.value, expected.value, rtol=1e-5)
    assert_trees_equal(got._replace(value=None), expected._replace(value=None))
    np.testing.assert_allclose(values["row"], metrics["row"], rtol=1e-6)


def test_own_arguments_of_a_seed_reach_its_first_state():
    init = lambda key, one, two: one + two["x"]
    own = [jnp.arange(4.0), {"x": jnp.arange(4.0) * 10}]
    engine = Seeds(init, lambda s, b: (s, {}), np.arange(8), seeds=range(4), batch_size=2, own=own)
    np.testing.assert_array_equal(engine.gather(engine.init()), [0, 11, 22, 33])


def test_as_many_devices_work_as_help():
    """Of all numbers of accelerators, the smallest one whose fullest has the fewest seeds; of cores one for each."""
    for seeds, available in itertools.product(range(1, 13), range(1, 9)):
        fullest = {count: -(-seeds // count) for count in range(1, available + 1)}
        assert useful_devices(seeds, available, "gpu") == min(fullest, key=lambda count: (fullest[count], count))
        assert useful_devices(seeds, available, "cpu") == min(seeds, available)
    assert [len(choose_devices(seeds)) for seeds in (1, 2, 3, 4)] == [1, 2, 2, 2]
    assert len(choose_devices(4, 1)) == 1
    with pytest.raises(ValueError, match="devices = 2 must be at most num_seeds = 1"):
        choose_devices(1, 2)
    with pytest.raises(ValueError, match="devices = 4, but JAX finds 2"):
        choose_devices(4, 4)


def test_the_cpu_computes_beside_where_updates_leave_it_idle():
    elsewhere, cpu = SimpleNamespace(platform="gpu"), jax.local_devices(backend="cpu")[0]
    assert device_beside([cpu], "auto") is device_beside([elsewhere], "never") is None
    assert device_beside([elsewhere], "auto") is device_beside([cpu], "always") is cpu
