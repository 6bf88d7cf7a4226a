"""What data and settings have to do with each other, before any compute is spent."""

from collections.abc import Callable

import numpy as np

from gtp_jax.config.settings import Settings
from gtp_jax.datasets import Dataset, check_batch_size

FARTHEST = 5  # standard deviations of the data, at least, from 0 to where a sampler starts


def check_data(settings: Settings, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Raises ValueError for a minibatch larger than the data, and warns of actions that spread too widely."""
    check_batch_size(settings.batch_size, len(dataset.batch.reward), dataset.id)
    largest = getattr(settings.policy.own, "sigma_max", np.inf)
    spread = np.std(dataset.batch.action, axis=0)
    widest = int(spread.argmax())
    if FARTHEST * spread[widest] > largest:
        say(
            f"warning: {dataset.id}: column {widest} of the actions has a standard deviation of {spread[widest]:.3g}. "
            f"policy.sigma_max = {largest:g} is less than {FARTHEST} times that, and samples will be poor: scale "
            "actions and bounds to [-1, 1], or multiply policy.sigma_max and policy.sigma_data"
        )
