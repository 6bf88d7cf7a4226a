"""The processes of one run, on JAX's own distributed runtime. With one process all of this is the identity.

Seeds share nothing, so each process trains its block of the lanes on its own devices; what a file or a person is to see
is gathered on every process, and the first one writes it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def start(spec: str) -> None:
    """Joins the other processes; to be called before anything else of JAX.

    Args:
      spec: "auto" where JAX finds the others itself (SLURM, Kubernetes, TPU pods, MPI), else "HOST:PORT,COUNT,INDEX":
        where the first process listens, how many there are, and which one this is, from 0.

    Raises:
      ValueError: for another form.
    """
    if spec == "auto":
        jax.distributed.initialize()
        return
    address, *numbers = spec.split(",")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers) or ":" not in address:
        raise ValueError(f"--distributed={spec} is neither 'auto' nor HOST:PORT,COUNT,INDEX")
    count, index = map(int, numbers)
    if not 0 <= index < count:
        raise ValueError(f"--distributed={spec}: INDEX must be from 0 to {count - 1}")
    jax.distributed.initialize(address, count, index)


def first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def share(items: Sequence[Any]) -> slice:
    """The block of `items` that this process trains.

    Raises:
      ValueError: where they do not divide among the processes.
    """
    count = jax.process_count()
    if len(items) % count:
        raise ValueError(
            f"{len(items)} trainings (num_seeds, times what is swept) do not divide among {count} processes"
        )
    size = len(items) // count
    return slice(size * jax.process_index(), size * (jax.process_index() + 1))


def gather(tree: Any) -> Any:
    """Joins the processes' host arrays [L/P, ...] to [L, ...], on every process."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def join(leaf):
        leaf = np.ascontiguousarray(leaf)
        raw = np.frombuffer(leaf.tobytes(), np.uint8)  # as bytes, since JAX would round 64-bit numbers
        every = np.asarray(multihost_utils.process_allgather(raw, tiled=True))
        return np.frombuffer(every.tobytes(), leaf.dtype).reshape(-1, *leaf.shape[1:])

    return jax.tree.map(join, tree)


def agree(number: int) -> int:
    """The largest of the processes' numbers."""
    return int(np.max(gather(np.array([number]))))
