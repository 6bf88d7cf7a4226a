"""Generative Trajectory Policies for offline reinforcement learning, in JAX.

`gtp_jax.train` trains a policy, `gtp_jax.load_policy` loads a trained one, `gtp_jax.evaluate` plays it in an
environment, `gtp_jax.export` writes it to a file that works without this package, `gtp_jax.datasets` reads data, and
`gtp_jax.losses` holds losses for other codebases.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtp_jax import datasets, losses
    from gtp_jax.config.presets import preset
    from gtp_jax.config.settings import Settings
    from gtp_jax.serving.export import export
    from gtp_jax.serving.policy import load_policy
    from gtp_jax.training.evaluate import evaluate
    from gtp_jax.training.train import train

__version__ = "0.1.0"
__all__ = ["Settings", "datasets", "evaluate", "export", "load_policy", "losses", "preset", "train"]

# Imported when first used, so that `import gtp_jax` is cheap.
_HOMES = {
    "Settings": "gtp_jax.config.settings",
    "evaluate": "gtp_jax.training.evaluate",
    "export": "gtp_jax.serving.export",
    "load_policy": "gtp_jax.serving.policy",
    "preset": "gtp_jax.config.presets",
    "train": "gtp_jax.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"gtp_jax.{name}")
    raise AttributeError(f"module 'gtp_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *__all__]
