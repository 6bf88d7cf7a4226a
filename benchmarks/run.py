"""Runs a benchmark by its name, the name of its file in a folder beside this one; without a name, lists them.

python benchmarks/run.py speed --rounds=7
"""

import importlib
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def benchmarks() -> dict[str, Path]:
    """The files that hold a `main`, by name."""
    return {
        path.stem: path
        for path in sorted(FOLDER.glob("*/*.py"))
        if re.search(r"^(def )?main\b", path.read_text(), re.M)
    }


def main(argv: list[str]) -> None:
    """Imports the benchmark, with this repository's packages and the helpers of its tests in reach, and runs it."""
    sys.path[:1] = [str(FOLDER.parent), str(FOLDER.parent / "tests")]
    every = benchmarks()
    if not argv or argv[0] not in every:
        lines = [f"  {path.parent.name}/{name}: {path.read_text()[3:].splitlines()[0]}" for name, path in every.items()]
        raise SystemExit("\n".join([__doc__, "benchmarks:", *lines]))
    importlib.import_module(f"benchmarks.{every[argv[0]].parent.name}.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
