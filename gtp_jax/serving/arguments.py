"""The arguments of a policy's call, checked."""

import functools
import operator
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gtp_jax.types import Key


def whole(value: Any) -> int | None:
    """A whole number of Python, NumPy or JAX as int; None for anything else, such as True and 2.0."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def one_key(key: Any) -> Key:
    """A key of `jax.random.key`, or the data of one, uint32; ValueError for anything else, such as several keys."""
    try:
        typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
        if not typed.ndim:
            return typed
    except (AttributeError, TypeError, ValueError):
        pass
    raise ValueError(f"key = {str(key)[:50]!r} must be one JAX key, as jax.random.key(0) gives")


@functools.cache
def _process() -> int:
    """The process in which a policy was first made, and JAX's threads with it."""
    return os.getpid()


def is_forked() -> bool:
    """Whether this process was forked from that one: JAX would wait for its threads for ever."""
    return _process() != os.getpid()


def refuse_forked() -> None:
    """Raises RuntimeError in a forked process."""
    if is_forked():
        cure = 'start processes by multiprocessing.get_context("spawn"), or load the policy in each alone'
        raise RuntimeError(f"JAX does not survive a fork of the process in which a policy was loaded: {cure}")


def refuse_traced(*values: Any) -> None:
    """Raises ValueError where a leaf of the values is traced."""
    try:
        leaves = jax.tree.leaves(values)
    except ValueError:  # of a dict whose keys cannot be sorted, which is no observation
        return
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        raise ValueError("policy(obs) cannot be traced; under jit, vmap, grad or scan use policy.act")
