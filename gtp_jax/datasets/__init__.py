"""Offline datasets by their ids, and from your own arrays. What stands here is imported when first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtp_jax.datasets.arrays import from_arrays
    from gtp_jax.datasets.hosted import DatasetUnavailable
    from gtp_jax.datasets.loading import EPISODES, Dataset, check_batch_size, check_dataset, load
    from gtp_jax.datasets.returns import Positions
    from gtp_jax.datasets.transforms import OBSERVATIONS, REWARDS, Observer, transform_reward

__all__ = ["EPISODES", "OBSERVATIONS", "REWARDS", "Dataset", "DatasetUnavailable", "Observer", "Positions"]
__all__ += ["check_batch_size", "check_dataset", "from_arrays", "load", "transform_reward"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("transforms", "returns", "hosted", "loading", "arrays"):
            found = importlib.import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
