"""What the documents print is what the committed results say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_committed_results():
    table = benchmark("table")
    readme = (ROOT / "README.md").read_text()
    assert "| GTP |" in readme
    assert table.insert(readme, "umaze", table.umaze(table.RESULTS)) == readme
