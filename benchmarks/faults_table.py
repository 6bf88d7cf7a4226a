"""Prints the table of docs/faults.md from results/soak.json, damages.json and bad_inputs.json.

python benchmarks/faults_table.py [--write]
"""

import argparse
import json
from pathlib import Path

from table import insert

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "faults.md"
LOST, SILENT = ("lost", "unnamed"), ("silent",)


def counts() -> dict[str, int]:
    """What the two promises are about: kills and runs that differ, damages that were lost on the way or silent."""
    soak, damages = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("soak", "damages"))
    readings = [row[reading] for row in damages["rows"] for reading in ("resume", "act")]
    return {
        "kills": len([kill for each in soak["rounds"] for kill in each["kills"]]),
        "runs": len(soak["rounds"]),
        "differ": len([each for each in soak["rounds"] if each["differences"]]),
        "damages": len(damages["rows"]),
        "lost": sum(reading in LOST for reading in readings),
        "silent": sum(reading in SILENT for reading in readings),
    }


def table() -> str:
    """All results, with where they come from."""
    soak, damages = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("soak", "damages"))
    found = counts()
    kills = ", ".join(f"{number} {what}" for what, number in soak["hit"].items())
    rows = [
        (
            f"{found['kills']} times `kill -9`, in {found['runs']} runs that were started again until they ended",
            f"{found['differ']} runs differ from an uninterrupted one in any bit (struck: {kills})",
        )
    ]
    for reading, what in (("resume", "going on"), ("act", "loading the policy")):
        outcome = damages[reading]
        rows.append(
            (
                f"{found['damages']} random damages of the newest step or two, then {what}",
                f"{sum(outcome.get(each, 0) for each in SILENT)} silent, {sum(outcome.get(each, 0) for each in LOST)} "
                f"lost; {outcome['older']} times an older step, the damaged ones named, {outcome['newest']} times the "
                "newest, since nothing that it needs was hit",
            )
        )
    inputs = json.loads((RESULTS / "bad_inputs.json").read_text())
    rows.append(
        (
            f"{inputs['tried']:,} bad settings, command lines, datasets and files",
            f"{inputs['refused']:,} refused in one line, {inputs['silent']} silent, {inputs['tracebacks']} tracebacks",
        )
    )
    for what, flipped in inputs["flipped_bytes"].items():
        rows.append(
            (
                f"{flipped['tried']} times up to 8 bytes of a file flipped: {what}",
                f"{flipped['refused']} refused, {flipped['unharmed']} times the content was unharmed, "
                f"{flipped['silent']} silent",
            )
        )
    lines = ["| tried | result |", "|---|---|", *(f"| {tried} | {result} |" for tried, result in rows)]
    sources = "; ".join(
        f"`{each['command']}`, {each['device']['host_cores']} CPU cores, jax {each['versions']['jax']}, "
        f"{each['date'][:10]}, commit {each['commit'][:10]}"
        for each in (soak, damages, inputs)
    )
    return "\n".join([*lines, "", f"{sources}."])


def main() -> None:
    """Prints the table and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/faults.md")
    print(table())
    if parser.parse_args().write:
        PAGE.write_text(insert(PAGE.read_text(), "measured", table()))


if __name__ == "__main__":
    main()
