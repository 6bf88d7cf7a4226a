"""What data and settings have to do with each other, before any compute is spent."""

from collections.abc import Callable

import numpy as np

from gtp_jax.agent.scaling import Scaling
from gtp_jax.config.settings import Settings
from gtp_jax.datasets import Dataset, check_batch_size

FARTHEST = 5  # standard deviations of the scaled actions, at least, from 0 to where a sampler starts
NARROWEST = 5  # times less than sigma_data, at most, the largest deviation of a column of the scaled actions may be


def check_data(settings: Settings, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Raises ValueError for a minibatch larger than the data, and warns of actions that do not fit a policy's times."""
    check_batch_size(settings.batch_size, len(dataset.batch.reward), dataset.id)
    own, scaling = settings.policy.own, Scaling.between(dataset.action_low, dataset.action_high)
    start, expected = getattr(own, "sigma_max", np.inf), getattr(own, "sigma_data", 0.0)
    varies = np.ptp(dataset.batch.action, axis=0) > 0
    spread = varies * np.std(dataset.batch.action, axis=0, dtype=np.float64) / scaling.half
    widest = int(spread.argmax())
    found = (
        f"warning: {dataset.id}: column {widest} of the actions has a standard deviation of {spread[widest]:.3g} where "
        "their bounds are scaled to [-1, 1]"
    )
    if FARTHEST * spread[widest] > start:
        say(f"{found}. policy.sigma_max = {start:g} is less than {FARTHEST} times that: samples will be poor; raise it")
    elif 0 < NARROWEST * spread[widest] < expected:
        say(
            f"{found}, and no column has more: the actions use little of what the bounds allow, and samples will be "
            "poor. Give the actions narrower bounds: bounds=(LOW, HIGH) of gtp_jax.datasets.from_arrays"
        )
