"""What data and settings have to do with each other, before any compute is spent."""

import numpy as np

from gtp_jax.config.settings import Settings
from gtp_jax.datasets import Dataset, check_batch_size

FARTHEST = 5  # standard deviations of the data, at least, from 0 to where a sampler starts


def check_data(settings: Settings, dataset: Dataset) -> None:
    """Raises ValueError for a minibatch larger than the data, and for actions that spread beyond the policy's times."""
    check_batch_size(settings.batch_size, len(dataset.batch.reward), dataset.id)
    largest = getattr(settings.policy.own, "sigma_max", np.inf)
    spread = np.std(dataset.batch.action, axis=0)
    widest = int(spread.argmax())
    if FARTHEST * spread[widest] > largest:
        raise ValueError(
            f"{dataset.id}: column {widest} of the actions has a standard deviation of {spread[widest]:.3g}, and "
            f"policy.sigma_max = {largest:g} must be at least {FARTHEST} times that: scale actions and bounds to "
            "[-1, 1], or multiply policy.sigma_max and policy.sigma_data"
        )
