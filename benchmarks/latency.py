"""Milliseconds per action of every member of the family, at several K: one observation in, one action out, warm; and of
GTP, batches of 1,000.

    python benchmarks/latency.py [--rounds=40] [--calls=25]

AntMaze size: 36 numbers observed, 8 acted, three layers of 256. The cells take turns, so that whatever else the machine
does falls on all of them; a cell's number is the median over rounds of the mean over a round's calls. Parameters are
untrained: the time does not depend on them. Run it on an idle machine.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flow_map_study import FIXED_STEPS, ROWS, STEPS
from flow_map_table import MEMBERS

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.config.settings import DEFAULTS, check
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.runs import provenance
from gtp_jax.types import Batch

# Rows that differ at sampling; the others cost what `gtp` costs.
ROWS_TIMED = (*MEMBERS, "flow_matching-heun", "diffusion-heun")
OBS, ACTIONS = 36, 8


def sampler(row: str, num_steps: int):
    """A function obs [B, O] NumPy -> action [B, A] NumPy of a row, compiled."""
    settings = copy.deepcopy(DEFAULTS)
    settings["policy"] |= ROWS[row] | {"num_steps": num_steps}
    settings["guidance"]["name"] = "none"
    check(settings)
    bound = np.ones(ACTIONS, np.float32)
    agent, hparams = build.make(settings, -bound, bound)
    rows, scalars = jnp.zeros((1, OBS)), jnp.zeros(1)
    batch = Batch(rows, jnp.zeros((1, ACTIONS)), scalars, scalars, rows)
    params = jax.device_put(agent.init(jax.random.key(0), batch, hparams).policy_ema)
    key, options = jax.random.key(0), acting_options(jax.devices()[0])
    sample = jax.jit(lambda params, key, obs: agent.act(params, key, obs, num_steps, 1.0), compiler_options=options)
    return lambda obs: np.asarray(sample(params, key, obs))


def measure(rounds: int, calls: int) -> list[dict]:
    """One object for each row and K."""
    cells = [(row, k, 1) for row in ROWS_TIMED for k in FIXED_STEPS.get(row, STEPS)]
    cells += [("gtp", k, 1000) for k in STEPS]
    samplers = [sampler(row, k) for row, k, _ in cells]
    obs = [np.random.default_rng(0).standard_normal((batch, OBS)).astype(np.float32) for _, _, batch in cells]
    for act, given in zip(samplers, obs, strict=True):
        act(given)
    times = np.zeros((rounds, len(cells)))
    for i in range(rounds):
        for j, (act, given) in enumerate(zip(samplers, obs, strict=True)):
            started = time.perf_counter()
            for _ in range(calls):
                act(given)
            times[i, j] = (time.perf_counter() - started) / calls
    low, medians, high = 1000 * np.quantile(times, (0.25, 0.5, 0.75), axis=0)
    return [
        {"row": row, "num_steps": k, "batch": batch, "milliseconds": m, "quartiles": [a, b]}
        for (row, k, batch), a, m, b in zip(cells, low.tolist(), medians.tolist(), high.tolist(), strict=True)
    ]


def main() -> None:
    """Measures, prints one line for each cell, and writes results/latency-PLATFORM.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    commit, cells = provenance.commit(), measure(arguments.rounds, arguments.calls)
    for cell in cells:
        print(json.dumps(cell))
    result = {
        "command": f"python benchmarks/latency.py --rounds={arguments.rounds} --calls={arguments.calls}",
        "cells": cells,
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    files.write_json(arguments.results / f"latency-{result['device']['platform']}.json", result)


if __name__ == "__main__":
    main()
