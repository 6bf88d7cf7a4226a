"""Many seeds in one program: `vmap` over the seeds of a device, `pmap` over devices, `scan` over updates.

What a seed draws is a function of its own number and of the step, so its initial parameters, keys and batch indices do
not depend on how many other seeds run or where.
"""

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


def fewest_devices(num_seeds: int, available: int) -> int:
    """How many of the available devices leave each with the fewest seeds, and are no more than that takes."""
    return -(-num_seeds // -(-num_seeds // available))


def choose_devices(num_seeds: int, count: int = 0) -> list[Device]:
    """The devices to use: `count` of them, or for 0 as many as leave each with the fewest seeds.

    Raises ValueError where there are not so many devices, or not so many seeds.
    """
    available = jax.local_devices()
    count = count or fewest_devices(num_seeds, len(available))
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

    Where S does not divide among the devices, the last seed is there more than once, and its copies are not gathered.
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
        self._shape = (len(self.devices), -(-len(self.seeds) // len(self.devices)))
        mesh = Mesh(np.array(self.devices), (_AXIS,))
        self._per_device = NamedSharding(mesh, PartitionSpec(_AXIS))
        # One seed after the other, since a vmapped program may round differently at another width.
        self._init = jax.jit(lambda *arguments: jax.lax.map(lambda one: init(*one), arguments))
        self._own = tuple(own)
        self.data = jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
        self._data_keys = self.place(seed_keys(self.seeds)[1])
        num_rows = jax.tree.leaves(data)[0].shape[0]

        def advance_all(states, data_keys, data, length):
            def advance(pair):
                state, data_key = pair

                def body(state, _):
                    rows = batch_indices(data_key, state.step, batch_size, num_rows)
                    return update(state, jax.tree.map(lambda column: column[rows], data))

                state, metrics = jax.lax.scan(body, state, length=length)
                return state, jax.tree.map(lambda value: jnp.mean(value, axis=0), metrics)

            if 0 < at_once < self._shape[1]:
                return jax.lax.map(advance, (states, data_keys), batch_size=at_once)
            return jax.vmap(advance)((states, data_keys))

        self._advance = jax.pmap(
            advance_all,
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
        slots = np.minimum(np.arange(self._shape[0] * self._shape[1]), len(self.seeds) - 1)

        def lay_out(leaf: Any) -> Any:
            leaf = leaf if len(slots) == len(self.seeds) else leaf[slots]
            return leaf.reshape(*self._shape, *leaf.shape[1:])

        return jax.device_put(jax.tree.map(lay_out, tree), self._per_device)

    def gather(self, tree: Any) -> Any:
        """From the layout of the devices to host arrays [S, ...], whatever their number; keys become their data."""

        def fetch(leaf):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            host = np.array(jax.device_get(leaf))  # a copy: the buffer may be donated to the next update
            return host.reshape(-1, *host.shape[2:])[: len(self.seeds)]

        return jax.tree.map(fetch, tree)
