"""Many seeds in one program: `vmap` over the seeds of a device, `pmap` over devices, `scan` over updates.

What a seed draws is a function of its own number and of the step, so its initial parameters, keys and batch indices do
not depend on how many other seeds run or where.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gtp_jax.parallel.compiler import Device, update_options
from gtp_jax.types import Array, Key, Metrics

_AXIS = "device"


def seed_keys(seeds: Sequence[int]) -> tuple[Key, Key]:
    """The keys of the seeds, each [S]: one for the learner, one for its minibatches."""
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed, impl="threefry2x32")))(jnp.asarray(seeds))
    return keys[:, 0], keys[:, 1]


def batch_indices(data_key: Key, step: Array, batch_size: int, num_rows: int) -> Array:
    """[B] rows of the dataset for one update, drawn with replacement: a pure function of the seed and the step."""
    return jax.random.randint(jax.random.fold_in(data_key, step), (batch_size,), 0, num_rows)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _from_all_devices(leaf: Array) -> Array:
    """The leaf of each device, [D, ...]; JAX gathers no keys, but their data."""
    if _is_key(leaf):
        data = jax.lax.all_gather(jax.random.key_data(leaf), _AXIS)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.lax.all_gather(leaf, _AXIS)


def useful_devices(num_seeds: int, available: int, platform: str) -> int:
    """How many of the available devices help: on CPUs one for each seed, since seeds take turns on them.

    Elsewhere as many as leave each with the fewest seeds, and no more than that takes.
    """
    return min(num_seeds, available) if platform == "cpu" else -(-num_seeds // -(-num_seeds // available))


def choose_devices(num_seeds: int, count: int = 0) -> list[Device]:
    """The devices to use: `count` of them, or for 0 as many as help.

    Raises ValueError where there are not so many devices, or not so many seeds.
    """
    available = jax.local_devices()
    count = count or useful_devices(num_seeds, len(available), available[0].platform)
    if count > len(available):
        raise ValueError(f"devices = {count}, but JAX finds {len(available)}: {available}")
    if count > num_seeds:
        raise ValueError(f"devices = {count} must be at most num_seeds = {num_seeds}")
    return available[:count]


def device_beside(training: Sequence[Device], overlap: str) -> Device | None:
    """The CPU, to compute on while the `training` devices update, or None to wait for them.

    `overlap` is "always", "never", or "auto" for where training leaves the CPU idle. Raises ValueError for "always"
    where JAX was started without the CPU.
    """
    if overlap == "never" or (overlap == "auto" and training[0].platform == "cpu"):
        return None
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        if overlap == "auto":
            return None
        needed = f"eval.overlap = {overlap!r} needs the CPU beside {training[0]}"
        raise ValueError(f"{needed}; add cpu to JAX_PLATFORMS") from error


class Seeds:
    """The states of S seeds on D devices, laid out [D, ceil(S/D), ...], and the compiled program that advances them.

    Where S does not divide among the devices, the first seeds are there twice, and their copies are not gathered. On
    CPUs the seeds then take turns instead: every device holds all of them, [D, S, ...], and updates one at a time.
    """

    def __init__(
        self,
        init: Callable[..., Any],
        update: Callable[[Any, Any], tuple[Any, Metrics]],
        data: Any,
        *,
        seeds: Sequence[int],
        batch_size: int,
        own: Sequence[Any] = (),
        at_once: int = 0,
        devices: Sequence[Device] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        """Places the data, once on every device.

        Args:
          init: (key, *own) -> state of one seed.
          update: (state, batch) -> (state, metrics) for one seed; the state has a field `step`.
          data: pytree of arrays [N, ...].
          seeds: the seeds' numbers, S of them.
          batch_size: rows in a minibatch.
          own: further arguments of `init`, pytrees of [S, ...], such as hyperparameters that differ between the seeds.
          at_once: how many seeds a device updates side by side, the others after them; 0 for all of them.
          devices: where to run; the first device by default.
          options: of the compiler; `compiler.update_options` by default.
        """
        self.seeds = tuple(seeds)
        self.devices = list(devices or jax.local_devices()[:1])
        count, num_devices = len(self.seeds), len(self.devices)
        rotating = count > num_devices and count % num_devices > 0 and self.devices[0].platform == "cpu"
        self._shape = (num_devices, count if rotating else -(-count // num_devices))
        self._slots = np.arange(math.prod(self._shape)) % count  # the seed of each; the first S are in their order
        mesh = Mesh(np.array(self.devices), (_AXIS,))
        self._per_device = NamedSharding(mesh, PartitionSpec(_AXIS))
        # One seed after the other, since a vmapped program may round differently at another width.
        self._init = jax.jit(lambda *arguments: jax.lax.map(lambda one: init(*one), arguments))
        self._own = tuple(own)
        self.data = jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
        self._data_keys = self.place(seed_keys(self.seeds)[1])
        num_rows = jax.tree.leaves(data)[0].shape[0]

        def step(state, data_key, data):
            rows = batch_indices(data_key, state.step, batch_size, num_rows)
            return update(state, jax.tree.map(lambda column: column[rows], data))

        def advance_all(states, data_keys, data, length):
            def advance(pair):
                state, data_key = pair
                state, metrics = jax.lax.scan(lambda state, _: step(state, data_key, data), state, length=length)
                return state, jax.tree.map(lambda value: jnp.mean(value, axis=0), metrics)

            if 0 < at_once < self._shape[1]:
                return jax.lax.map(advance, (states, data_keys), batch_size=at_once if at_once > 1 else None)
            return jax.vmap(advance)((states, data_keys))

        def take_turns(states, data_keys, data, length):
            """In D parts of the updates of each seed: in a round every device has the next part of another seed."""
            device = jax.lax.axis_index(_AXIS)

            def one_round(carry, number):
                states, sums = carry
                turns = number * num_devices + jnp.arange(num_devices)
                mine, part = turns[device] % count, turns[device] // count
                one, data_key = jax.tree.map(lambda leaf: leaf[mine], (carry, data_keys))

                def body(_, pair):
                    state, metrics = step(pair[0], data_key, data)
                    return state, jax.tree.map(jnp.add, pair[1], metrics)

                one = jax.lax.fori_loop(part * length // num_devices, (part + 1) * length // num_devices, body, one)
                every = jax.tree.map(_from_all_devices, one)
                return jax.tree.map(lambda leaf, new: leaf.at[turns % count].set(new), (states, sums), every), None

            first = jax.tree.map(lambda leaf: leaf[0], (states, data_keys))
            _, metrics = jax.eval_shape(step, *first, data)
            sums = jax.tree.map(lambda metric: jnp.zeros((count, *metric.shape), metric.dtype), metrics)
            (states, sums), _ = jax.lax.scan(one_round, (states, sums), jnp.arange(count))
            return states, jax.tree.map(lambda value: value / length, sums)

        self._advance = jax.pmap(
            take_turns if rotating else advance_all,
            axis_name=_AXIS,
            in_axes=(0, 0, None),
            static_broadcasted_argnums=3,
            donate_argnums=0,
            devices=self.devices,
        )
        self._options = dict(update_options(self.devices[0]) if options is None else options)
        self._compiled: dict[int, Callable[..., Any]] = {}  # by number of updates
        self.compile_seconds = 0.0

    def init(self) -> Any:
        """The first state of every seed, on the devices."""
        return self.place(self._init(seed_keys(self.seeds)[0], *self._own))

    def advance(self, state: Any, num_updates: int) -> tuple[Any, Metrics]:
        """Runs `num_updates` updates of every seed in one dispatch; the given state is consumed.

        Returns the new state and the metrics' means over the updates, laid out as the state.
        """
        if num_updates not in self._compiled:
            started = time.perf_counter()
            lowered = self._advance.lower(state, self._data_keys, self.data, num_updates)
            self._compiled[num_updates] = lowered.compile(self._options)
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[num_updates](state, self._data_keys, self.data)

    def place(self, tree: Any) -> Any:
        """From a pytree of [S, ...] to the layout of the devices."""

        def lay_out(leaf: Any) -> Any:
            leaf = leaf if len(self._slots) == len(self.seeds) else leaf[self._slots]
            return leaf.reshape(*self._shape, *leaf.shape[1:])

        return jax.device_put(jax.tree.map(lay_out, tree), self._per_device)

    def gather(self, tree: Any) -> Any:
        """From the layout of the devices to host arrays [S, ...], whatever their number; keys become their data."""

        def fetch(leaf):
            if _is_key(leaf):
                leaf = jax.random.key_data(leaf)
            host = np.array(jax.device_get(leaf))  # a copy: the buffer may be donated to the next update
            return host.reshape(-1, *host.shape[2:])[: len(self.seeds)]

        return jax.tree.map(fetch, tree)
