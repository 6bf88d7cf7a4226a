"""The processes of one run, on JAX's distributed runtime; with one process all of this is the identity.

Each process trains its block of the trials on its own devices. The first one writes what all have gathered.
"""

import contextlib
import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from gtp_jax import files

T = TypeVar("T")

LOST = 75  # the exit code of a process that lost another: "temporary failure, try again" of sysexits.h


class LostProcess(RuntimeError):
    """Another process of the run does not answer any more."""


def start(spec: str) -> None:
    """Joins the other processes; called before anything else of JAX. Raises ValueError for another form of `spec`.

    `spec` is "auto" where JAX finds the others itself (SLURM, Kubernetes, TPU pods, MPI), else "HOST:PORT,COUNT,INDEX":
    where the first process listens, how many there are, and which one this is, from 0.
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


def check_devices(say: Callable[[str], object] = print) -> None:
    """Starts JAX. Raises ValueError where it finds no device or does not know XLA_FLAGS, naming the variable.

    A cache of compiled programs that cannot be written is left out, with a line to `say`.
    """
    if (flags := os.environ.get("XLA_FLAGS")) and (problem := _problem_of(flags)):
        raise ValueError(f"XLA_FLAGS={flags!r} cannot be used: {problem}")
    if (cache := jax.config.values["jax_compilation_cache_dir"]) and "://" not in cache:
        try:
            files.check_writable(files.user_path(cache))
        except ValueError as error:
            jax.config.update("jax_compilation_cache_dir", None)
            say(f"warning: compiled programs are not kept: {error}")
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        name = "JAX_PLATFORMS" if os.environ.get("JAX_PLATFORMS") else "JAX_PLATFORM_NAME"  # the older one
        asked = f"{name}={os.environ.get(name, '')!r}"
        raise ValueError(f"JAX finds no device of {asked}; leave it out, or set it to cpu") from error


@functools.cache
def _problem_of(flags: str) -> str:
    """What XLA says of XLA_FLAGS that it does not know, in a process of its own, since it ends that; else nothing."""
    command, variables = [sys.executable, "-c", "import jax; jax.devices()"], os.environ | {"JAX_PLATFORMS": "cpu"}
    found = subprocess.run(command, env=variables | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    said = re.search(r"\] (.*XLA_FLAGS.*)", found.stderr)
    return "" if not found.returncode else said[1] if said else f"exit status {found.returncode}"


def first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def share(items: Sequence[Any]) -> slice:
    """The block of `items` that this process trains. Raises ValueError where they do not divide among the processes."""
    count, index = jax.process_count(), jax.process_index()
    size, rest = divmod(len(items), count)
    if rest:
        raise ValueError(f"{len(items)} trials (num_seeds, times what is swept) do not divide among {count} processes")
    return slice(size * index, size * (index + 1))


def gather(tree: T) -> T:
    """Joins the processes' host arrays [S/P, ...] to [S, ...], on every process. Raises LostProcess if one is gone."""
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
    joined = [np.frombuffer(part.tobytes(), leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    joined = [flat.reshape(-1, *leaf.shape[1:]) for flat, leaf in zip(joined, leaves, strict=True)]
    return jax.tree.unflatten(structure, joined)


def agree(number: int) -> int:
    """The largest of the processes' numbers."""
    return int(np.max(gather(np.array([number]))))


@contextlib.contextmanager
def lost(directory: Path) -> Iterator[None]:
    """Ends this process with LOST and one line where a block fails because another process of the run is gone.

    JAX cannot continue without that process, and an ordinary exit would wait a minute for it.
    """
    try:
        yield
    except (LostProcess, jax.errors.JaxRuntimeError) as error:  # the latter from Orbax, which waits for all, too
        message = (
            f"error: a process of this run failed or was lost ({str(error).splitlines()[0]}). Start the same command "
            f"again, on as many processes or on fewer: it resumes from the last checkpoint in {directory}"
        )
        print(message, file=sys.stderr, flush=True)
        with contextlib.suppress(AttributeError, OSError, ValueError):  # of a standard output that was closed
            sys.stdout.flush()
        os._exit(LOST)
