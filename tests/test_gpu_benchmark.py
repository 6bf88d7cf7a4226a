"""benchmarks/speed/gpu.py: every number is saved at once, whatever happens after it."""

import json

import pytest
from runs import benchmark

gpu = benchmark("speed/gpu")


def run(folder, *words):
    """The exit code and the file's content."""
    code = 0
    try:
        gpu.main([f"--results={folder}", "--small", *words])
    except SystemExit as end:
        code = end.code
    [path] = folder.glob("*.json")
    return code, json.loads(path.read_text())


def test_what_was_measured_is_saved_before_what_comes_next(tmp_path, monkeypatch, capsys):
    """Also where a step fails half-way, and where the time is over; what was not measured is named."""
    clock, seen = [0.0], []
    errors = iter((RuntimeError("out of memory"), SystemExit("a package is missing")))

    def first(sizes, peers):
        yield "one", {"milliseconds": 1.0}
        assert not seen
        seen.append(json.loads(next(tmp_path.glob("*.json")).read_text())["first"])
        yield "two", {"milliseconds": 2.0}

    def second(sizes, peers):
        yield "one", {"milliseconds": 3.0}
        raise next(errors)

    def third(sizes, peers):
        yield "one", {"milliseconds": 4.0}
        clock[0] = 481.0
        yield "two", {"milliseconds": 5.0}
        raise AssertionError("nothing is begun after the end")

    def fourth(sizes, peers):
        raise AssertionError("nothing is begun after the end")
        yield

    monkeypatch.setattr(gpu, "STEPS", (first, second, third, fourth))
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    code, found = run(tmp_path)
    assert seen[0]["state"] == "begun" and seen[0]["one"] == {"milliseconds": 1.0} and "two" not in seen[0]
    assert found["first"]["state"] == "done" and found["first"]["two"] == {"milliseconds": 2.0}
    assert found["second"]["state"] == "failed: RuntimeError: out of memory"
    assert found["second"]["one"] == {"milliseconds": 3.0} and found["second"]["command"]
    assert found["third"]["state"] == "begun" and found["third"]["two"] == {"milliseconds": 5.0}
    assert found["fourth"] == {"state": "not measured"} and "some steps failed" in code
    clock[0] = 0.0
    code, again = run(tmp_path, "--only=second")
    assert again["second"]["state"] == "failed: SystemExit: a package is missing"
    assert again["first"] == found["first"] and again["third"] == found["third"] and "some steps failed" in code
    assert run(tmp_path, "--seconds=-1") == (0, again)  # no time for anything: nothing is lost
    printed = capsys.readouterr().out
    assert "third, two: {'milliseconds': 5.0}" in printed and "fourth: not measured, the 480 seconds are" in printed


@pytest.mark.slow
def test_steps_run_at_sizes_for_a_cpu(tmp_path):
    code, found = run(tmp_path, "--only=rerun,latencies,memory,chunks")
    assert code == 0 and found["rerun"]["bits"]["equal"] is True
    assert sum(name.startswith("K = ") for name in found["latencies"]) == 3 * len(gpu.SMALL.batches)
    assert found["memory"]["resident"]["growth_after_100_chunks"] < 50
    assert all(found["chunks"][str(n)]["updates_per_second"] > 0 for n in gpu.SMALL.chunks)
    assert {found[name]["state"] for name in ("seeds", "whole_run", "large")} == {"not measured"}
