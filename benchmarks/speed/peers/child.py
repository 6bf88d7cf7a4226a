"""One program of benchmarks/speed/peers.py: trains for as many updates as each line of its standard input says.

    python benchmarks/speed/peers/child.py ADAPTER CHECKOUT OPTIONS

The first line builds it, too, and everything is compiled then. ADAPTER is a function of adapters.py.
"""

import importlib.util
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

OBS, ACTIONS, BATCH, ROWS = 29, 8, 256, 100_000
PACKAGES = ("torch", "jax", "jaxlib", "flax", "optax", "numpy")


def draw_data() -> dict[str, np.ndarray]:
    """Transitions of noise: the time does not depend on them."""
    rng = np.random.default_rng(0)
    terminals = (rng.random(ROWS) < 0.01).astype(np.float32)
    return {
        "observations": rng.standard_normal((ROWS, OBS), np.float32),
        "actions": rng.uniform(-0.99, 0.99, (ROWS, ACTIONS)).astype(np.float32),
        "rewards": terminals,
        "terminals": terminals.copy(),
        "next_observations": rng.standard_normal((ROWS, OBS), np.float32),
    }


def matmul_mflop(run, one) -> float:
    """Of one update, what no output depends on left out."""
    if one is None:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            run(1)
        return counter.get_total_flops() / 1e6
    return load("../flops.py").of_matmuls(one) / 1e6


def versions() -> dict[str, str]:
    """Of this interpreter and of the packages that it has loaded."""
    found = {"python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES if name in sys.modules}


def load(name: str):
    """The module in a file beside this one, whatever the search path is."""
    path = Path(__file__).parent / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(adapter: str, checkout: str, options: dict):
    """What the adapter makes, its imports resolved in the checkout before anywhere else."""
    sys.path[0:1] = [checkout] if checkout else []  # in place of this folder, whose files' names are the peers'
    module = load("adapters.py")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    return module.make(draw_data(), BATCH, **options)


def acting(act, calls: int = 20) -> dict[str, float]:
    """Milliseconds of a call for one observation and for 1,000."""
    found = {}
    for batch in (1, 1000):
        obs = np.zeros((batch, OBS), np.float32)
        act(obs)
        started = time.perf_counter()
        for _ in range(calls):
            act(obs)
        found[str(batch)] = 1000 * (time.perf_counter() - started) / calls
    return found


def main() -> None:
    """Answers every line with one."""
    adapter, checkout, options = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is no answer
    run = None
    for line in sys.stdin:
        num_updates, about = int(line), {}
        wall, cpu = time.perf_counter(), time.process_time()
        if run is None:
            run, one, act = build(adapter, checkout, json.loads(options))
            loss = run(num_updates)
            about["seconds"] = time.perf_counter() - wall
            about |= {"matmul_mflop": matmul_mflop(run, one), "versions": versions()}
        else:
            loss = run(num_updates)
        answer = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "loss": loss, **about}
        answer["acting"] = acting(act)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
