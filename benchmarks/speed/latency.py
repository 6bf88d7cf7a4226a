"""Milliseconds per action of every policy class, at several K: one observation in, one action out, warm; and of GTP,
batches of 1,000.

AntMaze size: 36 numbers observed, 8 acted, three layers of 256. The cells take turns; a cell's number is the median
over rounds of the mean over a round's calls. Parameters are untrained: the time does not depend on them. Writes
RESULTS/latency.json. The machine must be idle.
"""

from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import shared
from benchmarks.family.flow_map_study import FIXED_STEPS, MEMBERS, STEPS, policy_settings
from benchmarks.speed import work
from gtp_jax.config.settings import Settings
from gtp_jax.parallel.compiler import acting_options

# Rows that differ at sampling; the others cost as much as `gtp`.
ROWS_TIMED = (*MEMBERS, "flow_matching-heun", "diffusion-heun")


def sampler(row: str, num_steps: int, batch: int):
    """A function that samples an action [B, A] at one observation [B, O], from NumPy to NumPy, compiled."""
    changes = policy_settings(row) | {"policy.num_steps": num_steps, "guidance.name": "none"}
    agent, hparams = work.make_agent(Settings.of(changes))
    params = jax.device_put(agent.init(jax.random.key(0), work.make_data(1), hparams).policy_ema)
    key, options = jax.random.key(0), acting_options(jax.devices()[0])
    sample = jax.jit(lambda params, key, obs: agent.act(params, key, obs, num_steps, 1.0), compiler_options=options)
    obs = np.random.default_rng(0).standard_normal((batch, work.OBS)).astype(np.float32)
    return lambda: np.asarray(sample(params, key, obs))


def measure(rounds: int, calls: int) -> dict[str, Any]:
    """Milliseconds of each row at each K."""
    cells = [(row, k, 1) for row in ROWS_TIMED for k in FIXED_STEPS.get(row, STEPS)]
    cells += [("gtp", k, 1000) for k in STEPS]
    found = []
    for cell, seconds in shared.in_turns({cell: sampler(*cell) for cell in cells}, rounds, calls).items():
        low, median, high = (1000 * np.quantile(seconds, (0.25, 0.5, 0.75))).tolist()
        found.append(dict(zip(("row", "num_steps", "batch"), cell, strict=True)))
        found[-1] |= {"milliseconds": median, "quartiles": [low, high]}
    return {"cells": found}


main = partial(shared.measure, __file__, __doc__, measure, rounds=40, calls=25)
