"""The tables of docs/speed.md."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.templates import fill, result


def methods() -> str:
    """The cost of an update by the method."""
    found = result("speed/speed-cpu")["guidance"]
    return fill("methods", found["programs"], found)


def peers(size: str) -> str:
    """CPU time of an update beside the peers', at one size of the networks."""
    found = result("speed/peers")
    cells, rows = found["sizes"][size], {}
    for each in cells["programs"]:
        rows[each["program"]] = each
        for ours, ratios in cells["times_the_rate_of"].items():
            if ratio := ratios.get(each["program"]):
                each |= {ours: ratio["median"], "required": ratio["required"]}
    return fill("peers", rows, found | cells | {"size": size})


def seeds() -> str:
    """By the number of seeds on one device."""
    found = result("speed/speed-cpu")["seeds"]
    return fill("seeds", found["programs"], found)


def pieces(method: str) -> str:
    """Where the time of a method's update goes."""
    found = result("speed/pieces")
    for name, each in (rows := found[method]["mish"]).items():
        each |= {"relu": found[method]["relu"][name], "least": each["matmul_mflop"] / found["matmul_peak_gflops"]}
    return fill("pieces", rows, found | {"method": f"`{method}`"})


def growth() -> str:
    """By batch, width and rows of data."""
    found = result("speed/speed-cpu")["growth"]
    return fill("growth", found["work"] | {f"{name} rows": each for name, each in found["rows"].items()}, found)


def devices() -> str:
    """Over devices and processes."""
    found = result("speed/devices")
    rows = found["seed_updates_per_second"]
    for name, rates in rows.items():
        rates |= {each: found[f"pmap_relative_to_1_seed_on_{each}"][name] for each in ("one_core", "1_device")}
    return fill("devices", rows, found)


def latency() -> str:
    """Milliseconds per action."""
    found, rows = result("speed/latency"), {}
    for each in found["cells"]:
        name = each["row"] if each["batch"] == 1 else f"{each['row']}, batch {each['batch']:,}"
        rows.setdefault(name, {"k": {}})["k"][str(each["num_steps"])] = each["milliseconds"]
    return fill("latency", rows, found)


def others() -> str:
    """The sweep, the evaluation, the compiler, the memory, the start: a line each."""
    found = result("speed/speed-cpu") | {"evaluation": result("speed/evaluation")}
    options = ", ".join(f"`{name}={value}`" for name, value in found["compiler"]["options"].items())
    start = result("speed/startup")
    every = {name.rpartition(" ")[2]: f"{np.median(s):.1f} [{max(s):.1f}]" for name, s in start["seconds"].items()}
    every |= {"rounds": len(start["seconds"]["help"]), "source": start["source"]}
    return fill("others", {}, found | {"options": options, "startup": every})


TABLES: dict[str, Callable[[], str]] = {
    "peers": partial(peers, "3 x 256"),
    "peers_512": partial(peers, "4 x 512"),
    "pieces_q": partial(pieces, "gtp-q"),
    "pieces_paper": partial(pieces, "gtp-paper"),
    **{each.__name__: each for each in (methods, seeds, growth, devices, latency, others)},
}
