"""Offline datasets: any Minari dataset by its id, and data that are collected on first use.

`load(dataset_id)` returns a `Dataset`. Importing this package is cheap: the rest is imported when first used.
"""

import importlib
from typing import Any

_HOMES = {
    "Dataset": "loading",
    "load": "loading",
    "check": "loading",
    "check_batch_size": "loading",
    "EPISODES": "loading",
    "DatasetUnavailable": "hosted",
    "Observer": "transforms",
    "OBSERVATIONS": "transforms",
    "REWARDS": "transforms",
    "transform_reward": "transforms",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
