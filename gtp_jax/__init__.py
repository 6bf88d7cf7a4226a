"""Generative Trajectory Policies for offline reinforcement learning, in JAX.

`gtp_jax.losses` holds the losses for use in other codebases; `gtp_jax.load_policy` loads a trained policy, and
`gtp_jax.export` writes one to a file that works without this package.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {"load_policy": "gtp_jax.serving.policy", "export": "gtp_jax.serving.export"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "losses":
        return importlib.import_module("gtp_jax.losses")
    raise AttributeError(f"module 'gtp_jax' has no attribute {name!r}")
