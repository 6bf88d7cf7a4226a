"""What the documents print is what the committed results say."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def benchmark(name):
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as when it runs as a script
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_committed_results():
    table = benchmark("table")
    readme = (ROOT / "README.md").read_text()
    assert "| GTP |" in readme
    assert table.insert(readme, "umaze", table.umaze(table.RESULTS)) == readme


def test_the_study_is_shown_as_it_was_measured():
    study = benchmark("flow_map_table")
    cells = study.load(study.RESULTS, "density")
    for path, shown in ((study.README, study.members(cells)), (study.DOCS / "family.md", cells)):
        text = path.read_text()
        assert "| gtp |" in text
        assert study.insert(text, "density", study.table(shown)) == text


def test_the_theorem_page_has_the_measured_orders():
    """Order 2 in the gap, 1 for the trained map, and no decrease with the solver's step."""
    theorem = benchmark("theorem")
    result = theorem.measure()
    assert all(abs(p - 2) < 0.01 for p in result["order_over_gap"].values())
    assert abs(result["order_of_trained_map_bias"] - 1) < 0.01
    for series in result["over_solver_steps"].values():
        for errors in series.values():
            assert abs(errors[-1] / errors[-2] - 1) < 0.01 and errors[-1] > 1e-5
