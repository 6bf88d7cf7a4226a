"""Prints what the speed benchmarks measured, in Markdown, and writes it into docs/speed.md with --write.

python benchmarks/speed_table.py [--write]
"""

import argparse
import json
from pathlib import Path

from table import insert

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"


def load(name: str) -> dict:
    """A committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def source(result: dict) -> str:
    """Where a number comes from, in one line."""
    device = result["device"]
    return (
        f"`{result['command']}`; {device['platform']}, {device['host_cores']} cores of "
        f"{device.get('processor', 'a processor whose name was not kept')}; "
        f"jax {result['versions']['jax']}; {result['date'][:10]}; commit {str(result['commit'])[:10]}."
    )


def rows(header: list[str], body: list[list]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(map(str, line)) + " |" for line in (header, ["---"] * len(header), *body)]


def peers(name: str = "peers") -> str:
    """CPU time of an update beside the peers'."""
    result = load(name)
    ratios = result["times_the_rate_of"]
    body = []
    for program in result["programs"]:
        name = program["program"]
        ratio = ratios.get(name)
        body.append(
            [
                name,
                f"{program['cpu_milliseconds']['median']:.1f}",
                f"{program['matmul_mflop']:.0f}",
                f"{ratio['median']:.2f}" if ratio else "",
                ratio["required"] or "" if ratio else "",
                f"{program['acting_milliseconds']['1']['median']:.3f}",
                f"{program['acting_milliseconds']['1000']['median']:.1f}",
            ]
        )
    share = result["share_of_relu_rate"]["median"]
    header = ["program", "CPU ms per update", "MFLOP of matmuls", "GTP is so many times as fast", "wanted"]
    header += ["ms to act on 1", "on 1,000"]
    text = f"GTP runs at {100 * share:.0f} % of its own rate with ReLU. One core. {source(result)}"
    return "\n".join([*rows(header, body), "", text])


def peers_elsewhere() -> str:
    """The same on another machine, before there were compiler options."""
    return peers("peers-other-machine")


def seeds() -> str:
    """By the number of seeds on one device."""
    result = load("speed-cpu")["seeds"]
    body = [
        [
            "1 seed" if name == "1 seeds" else name,
            f"{n['seed_updates_per_second']:.1f}",
            f"{n['times_one_seed']:.2f}",
            f"{100 * n['share_of_matmul_peak']:.0f} %",
            f"{n['compile_seconds']:.0f}",
        ]
        for name, n in result["programs"].items()
    ]
    header = ["", "seed-updates/s", "cost, one seed = 1", "of the matmul peak", "s to compile"]
    peak = f"Peak: {result['matmul_peak_gflops']:.0f} GFLOP/s; an update is {result['matmul_mflop']:.0f} MFLOP."
    return "\n".join([*rows(header, body), "", f"{peak} One core; float32. {source(result)}"])


def pieces() -> str:
    """Where the time of an update goes."""
    result = load("pieces")
    peak = result["matmul_peak_gflops"]
    body = [
        [
            name,
            f"{piece['milliseconds']:.2f}",
            f"{result['relu'][name]['milliseconds']:.2f}",
            f"{piece['matmul_mflop']:.0f}",
            f"{piece['matmul_mflop'] / peak:.2f}",
        ]
        for name, piece in result["mish"].items()
    ]
    header = ["", "ms", "ms with ReLU", "MFLOP of matmuls", "ms at the matmul peak"]
    return "\n".join([*rows(header, body), "", f"Peak: {peak:.0f} GFLOP/s. One core. {source(result)}"])


def growth() -> str:
    """By batch, width and rows of data."""
    result = load("speed-cpu")["growth"]
    work = [[name, f"{n['milliseconds_per_seed_update']:.1f}", ""] for name, n in result["work"].items()]
    data = [
        [f"{name} rows", f"{n['milliseconds_per_seed_update']:.1f}", f"{n['megabytes']:.0f}"]
        for name, n in result["rows"].items()
    ]
    return "\n".join([*rows(["one seed", "ms per update", "MB of data"], work + data), "", source(result)])


def devices() -> str:
    """Over devices and processes."""
    result = load("devices")
    body = [
        [name, *(f"{rate:.1f}" for rate in rates.values()), f"{by_core:.2f}", f"{by_device:.2f}"]
        for (name, rates), by_core, by_device in zip(
            result["seed_updates_per_second"].items(),
            result["pmap_relative_to_1_seed_on_one_core"].values(),
            result["pmap_relative_to_1_seed_on_1_device"].values(),
            strict=True,
        )
    ]
    header = ["", "pmap, seed-updates/s", "jit over a mesh", "pmap, one core = 1", "pmap, one device = 1"]
    return "\n".join([*rows(header, body), "", source(result)])


def latency() -> str:
    """Milliseconds per action."""
    result = load("latency-cpu")
    cells = {(cell["row"], cell["num_steps"]): cell for cell in result["cells"] if cell["batch"] == 1}
    thousand = {(cell["row"], cell["num_steps"]): cell for cell in result["cells"] if cell["batch"] == 1000}
    steps = sorted({k for _, k in cells})
    body = [
        [row, *(f"{cells[row, k]['milliseconds']:.3f}" if (row, k) in cells else "" for k in steps)]
        for row in dict.fromkeys(row for row, _ in cells)
    ]
    many = [f"K = {k}: {1e6 / cell['milliseconds']:,.0f}" for (_, k), cell in thousand.items()]
    text = f"GTP's actions per second in batches of 1,000: {', '.join(many)}. {source(result)}"
    return "\n".join([*rows(["ms per action", *(f"K = {k}" for k in steps)], body), "", text])


def others() -> str:
    """The sweep, the evaluation, the compiler, the memory: a line each."""
    speed, evaluation = load("speed-cpu"), load("evaluation")
    options = speed["compiler"]
    told = ", ".join(f"`{name}={value}`" for name, value in options["options"].items())
    lines = [
        f"- 4 values of eta x 4 seeds cost {speed['sweep']['ratio']:.2f} times 16 seeds of one value. "
        + source(speed["sweep"]),
        f"- Evaluation: {evaluation['steps_per_second']['evaluation']:.0f} environment steps/s, "
        f"{100 * evaluation['share_of_raw_on_all_cores']:.0f} % of stepping the same environments with random actions "
        f"in as many processes as cores ({evaluation['steps_per_second']['raw, all cores']:.0f}/s). "
        + source(evaluation),
        f"- With the compiler options of `gtp_jax/compiler.py` ({told}) an update takes {options['ratio']:.2f} times "
        f"what it takes with XLA's own. {source(options)}",
        f"- Resident memory grew by {speed['memory']['growth_after_100_chunks']:.1f} MB from chunk 100 to chunk 1,000 "
        f"of a tiny agent. {source(speed['memory'])}",
    ]
    return "\n".join(lines)


SECTIONS = {part.__name__: part for part in (peers, peers_elsewhere, pieces, seeds, growth, devices, latency, others)}


def main() -> None:
    """Prints the tables and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/speed.md")
    arguments = parser.parse_args()
    for name, section in SECTIONS.items():
        text = section()
        print(f"### {name}\n\n{text}\n")
        if arguments.write:
            PAGE.write_text(insert(PAGE.read_text(), name, text))


if __name__ == "__main__":
    main()
