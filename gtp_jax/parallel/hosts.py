"""The processes of one run, on JAX's own distributed runtime. With one process all of this is the identity.

Seeds share nothing, so each process trains its block of the lanes on its own devices; what a file or a person is to see
is gathered on every process, and the first one writes it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

LOST = 75  # the exit code of a process that lost another: "temporary failure, try again" of sysexits.h


class LostProcess(RuntimeError):
    """Another process of the run does not answer any more."""


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
    """Joins the processes' host arrays [L/P, ...] to [L, ...], on every process.

    Raises:
      LostProcess: where another process does not answer.
    """
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.ascontiguousarray(leaf) for leaf in leaves]
    # All in one message, and as bytes, since JAX would round 64-bit numbers.
    message = np.concatenate([leaf.reshape(-1).view(np.uint8) for leaf in leaves])
    try:
        every = np.asarray(multihost_utils.process_allgather(message))
    except Exception as error:  # of several types, according to what noticed it first
        raise LostProcess(str(error).splitlines()[0]) from error
    parts = np.split(every, np.cumsum([leaf.nbytes for leaf in leaves])[:-1], axis=1)
    joined = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(-1, *leaf.shape[1:])
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, joined)


@contextlib.contextmanager
def lost(workdir: Path) -> Iterator[None]:
    """Ends this process with LOST and one line where a block fails, as it does once another process of the run is gone.

    JAX offers no way to go on without it, and leaving in the ordinary way would wait a minute for it.
    """
    try:
        yield
    except (LostProcess, jax.errors.JaxRuntimeError) as error:  # the latter from Orbax, which waits for all, too
        reason = str(error).splitlines()[0]
        print(
            f"error: a process of this run failed or was lost ({reason}). Start the same command again, on as many "
            f"processes or on fewer: it goes on from the last checkpoint in {workdir}",
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        os._exit(LOST)


def agree(number: int) -> int:
    """The largest of the processes' numbers."""
    return int(np.max(gather(np.array([number]))))
