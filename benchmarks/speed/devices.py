"""Seeds over devices and processes: `pmap` beside `jit` with a NamedSharding, 1, 2 and 4 mocked devices, two processes.

The update of work.py. Five seeds do not divide by two: they take turns. Mocked devices share the machine's cores, so
what can be gained ends at their number; and one device alone uses more than one core where operations do not depend on
each other, hence the first case, of a process pinned to one. Each case is a process of its own, since JAX counts its
devices once. Writes RESULTS/devices.json. The machine must be idle.
"""

import json
import os
import socket
import subprocess
import sys
from typing import Any

from benchmarks import shared

# By name: devices of a process, seeds of a process, processes, cores or 0 for all.
CASES = {
    "1 seed on 1 device, one core": (1, 1, 1, 1),
    "1 seed on 1 device": (1, 1, 1, 0),
    "2 seeds on 1 device": (1, 2, 1, 0),
    "2 seeds on 2 devices": (2, 2, 1, 0),
    "4 seeds on 4 devices": (4, 4, 1, 0),
    "5 seeds on 1 device": (1, 5, 1, 0),
    "5 seeds on 2 devices": (2, 5, 1, 0),
    "2 seeds on 2 processes of 1 device": (1, 1, 2, 0),
}


def child(devices: int, num_seeds: int, cores: int, rounds: int, updates: int, spec: str) -> None:
    """Prints this process's seed-updates per second, by pmap and by jit over a mesh of its devices."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax

    from gtp_jax.parallel import hosts
    from gtp_jax.parallel.compiler import update_options

    if spec:
        hosts.start(spec)
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from benchmarks.speed import work
    from gtp_jax.parallel.seeds import batch_indices, seed_keys

    settings, data = work.settings_with({"num_seeds": num_seeds}), work.make_data(100_000)
    engine = work.make_engine(settings, data, devices=jax.local_devices())
    agent, hparams = work.make_agent(settings)
    mesh = Mesh(np.array(jax.local_devices()), ("seed",))
    split, whole = NamedSharding(mesh, PartitionSpec("seed")), NamedSharding(mesh, PartitionSpec())
    example = jax.tree.map(lambda column: column[:1], data)
    learner, data_keys = seed_keys(range(num_seeds))

    def one(state, data_key, data):
        def body(state, _):
            rows = batch_indices(data_key, state.step, settings.batch_size, len(data.reward))
            return agent.update(state, jax.tree.map(lambda column: column[rows], data))[0], None

        return jax.lax.scan(body, state, length=updates)[0]

    options, mapped = update_options(jax.local_devices()[0]), jax.vmap(one, in_axes=(0, 0, None))
    over_mesh = jax.jit(mapped, donate_argnums=0, out_shardings=split, compiler_options=options)
    state, calls = engine.init(), {}

    def by_pmap():
        nonlocal state
        state = jax.block_until_ready(engine.advance(state, updates)[0])

    def by_jit():
        nonlocal flat
        flat = jax.block_until_ready(over_mesh(flat, keys, placed))

    calls["pmap"] = by_pmap
    if num_seeds % devices == 0:  # a mesh splits an axis evenly
        flat = jax.device_put(jax.jit(jax.vmap(lambda key: agent.init(key, example, hparams)))(learner), split)
        keys, placed = jax.device_put(data_keys, split), jax.device_put(data, whole)
        calls["jit over a mesh"] = by_jit
    seconds = shared.in_turns(calls, rounds)
    if spec:
        hosts.agree(0)  # none leaves while another measures
    print(json.dumps({name: num_seeds * updates / float(np.median(each)) for name, each in seconds.items()}))


def run_case(devices: int, num_seeds: int, processes: int, cores: int, rounds: int, updates: int) -> dict[str, float]:
    """Seed-updates per second of all processes of a case together."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = [str(n) for n in (devices, num_seeds, cores, rounds, updates)]
    specs = [f"127.0.0.1:{port},{processes},{i}" if processes > 1 else "" for i in range(processes)]
    children = [
        subprocess.Popen(
            [sys.executable, shared.ROOT / "benchmarks/run.py", "devices", "--child", *words, spec],
            stdout=subprocess.PIPE,
            text=True,
        )
        for spec in specs
    ]
    found = [json.loads(each.communicate()[0].splitlines()[-1]) for each in children]
    return {name: sum(rates[name] for rates in found) for name in found[0]}


def measure(rounds: int, updates: int) -> dict[str, Any]:
    """Seed-updates per second of the cases, one after another."""
    rates = {name: run_case(*case, rounds, updates) for name, case in CASES.items()}
    pinned, whole = (rates[name]["pmap"] for name in ("1 seed on 1 device, one core", "1 seed on 1 device"))
    return {
        "seed_updates_per_second": rates,
        "pmap_relative_to_1_seed_on_one_core": {name: each["pmap"] / pinned for name, each in rates.items()},
        "pmap_relative_to_1_seed_on_1_device": {name: each["pmap"] / whole for name, each in rates.items()},
    }


def main(argv: list[str] | None = None) -> None:
    """Measures and writes; with --child, one process of a case."""
    if argv and argv[0] == "--child":
        return child(*map(int, argv[1:6]), argv[6])
    shared.measure(__file__, __doc__, measure, argv, rounds=7, updates=20)
