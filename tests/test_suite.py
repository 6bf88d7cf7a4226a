"""The suite: which cells there are, that an interrupted one goes on where it stopped, and the report from its files."""

import json
import re
import shutil
import subprocess

import pytest
from runs import ROOT, benchmark

from gtp_jax import methods, records
from gtp_jax.tasks import TASKS


@pytest.fixture(scope="module")
def suite():
    return benchmark("suite")


@pytest.fixture(scope="module")
def report(suite):
    return benchmark("report")


def test_the_cells_are_those_that_can_be_run(suite):
    """Embedded ids for embedded cells, hosted ones for hosted; published settings where a row needs them."""
    assert set(suite.ORDER) <= set(TASKS) and set(suite.ROWS) <= set(methods.METHODS)
    embedded = suite.cells(list(suite.ORDER), list(suite.ROWS), "embedded")
    assert (TASKS["antmaze-umaze"], "diffusion-ql") in embedded
    assert (TASKS["antmaze-umaze-mixed"], "diffusion-ql") not in embedded
    assert {task.name for task, _ in embedded} == set(suite.ORDER)
    hosted = suite.cells(list(suite.ORDER), ["gtp"], "hosted")
    assert (TASKS["hopper-medium"], "gtp") in hosted and (TASKS["hopper-medium-replay"], "gtp") not in hosted
    line = suite.words(TASKS["hopper-medium"], "gtp", "hosted", "runs/x")
    assert "--config=gym.py:mujoco/hopper/medium-v0,gtp" in line and "--config.eval.num_episodes=10" in line
    assert "--config=antmaze.py:umaze,gtp-bc" in suite.words(TASKS["antmaze-umaze"], "gtp-bc", "embedded", "runs/x")


def test_parts_share_nothing_and_make_the_whole(suite):
    cells = suite.cells(list(suite.ORDER), list(suite.ROWS), "embedded")
    parts = [cells[suite.parse([f"--part={i}/3"]).part] for i in (1, 2, 3)]
    assert sorted(sum(parts, []), key=str) == sorted(cells, key=str)
    for words in (["--part=4/3"], ["--part=0/3"], ["--part=x"], ["--tasks=nosuch"], ["--rows=gtp,nosuch"]):
        with pytest.raises(SystemExit):
            suite.parse(words)


def test_an_interrupted_suite_goes_on_where_it_stopped(suite, tmp_path, monkeypatch):
    """Finished cells are not run again, and the one that was stopped is started in the same directory."""
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    finished = ROOT / "benchmarks/results/umaze-gtp"
    calls, allowed = [], 1

    def run(words, check, cwd, env):
        workdir = tmp_path / next(word for word in words if word.startswith("--workdir=")).partition("=")[2]
        calls.append(workdir)
        if len(calls) > allowed:
            raise subprocess.CalledProcessError(143, words)
        shutil.copytree(finished, workdir)

    monkeypatch.setattr(suite.subprocess, "run", run)
    arguments = ["--tasks=antmaze-umaze", "--rows=gtp,gtp-bc,iql-flow"]
    with pytest.raises(subprocess.CalledProcessError):
        suite.main(arguments)
    allowed = 10
    suite.main(arguments)
    suite.main(arguments)
    runs = tmp_path / "runs/suite/antmaze-umaze"
    assert calls == [runs / "gtp", runs / "gtp-bc", runs / "gtp-bc", runs / "iql-flow"]
    cells = suite.load(tmp_path / suite.RESULTS)
    assert sorted(cell["row"] for cell in cells) == ["gtp", "gtp-bc", "iql-flow"]
    summary = json.loads((finished / "summary.json").read_text())
    assert all(cell["summary"] == summary and cell["curve"][-1]["step"] == summary["num_updates"] for cell in cells)


def test_committed_cells_are_of_their_task_and_comparable(suite):
    """An embedded id each, at least three seeds, the family's episodes, one number of updates for a task's rows."""
    cells, updates = suite.load(), {}
    assert cells
    for cell in cells:
        task, summary = TASKS[cell["task"]], cell["summary"]
        assert summary["dataset"] == getattr(task, cell["data"]) and cell["data"] in ("embedded", "hosted")
        assert len(summary["seeds"]) >= 3 and summary["eval_episodes"] == task.family.episodes
        assert updates.setdefault(task.name, summary["num_updates"]) == summary["num_updates"]
        assert summary["temperature"] == suite.SETTINGS["policy.temperature"]
        assert cell["learning_rate"] == suite.SETTINGS["policy.learning_rate"]


def test_u_mazes_cells_are_those_of_its_five_seeds(suite):
    umaze = benchmark("umaze")
    for row in umaze.ROWS:
        kept = json.loads((ROOT / suite.RESULTS / f"embedded/antmaze-umaze/{row}.json").read_text())
        assert kept == records.plain(umaze.cell(row, ROOT / f"benchmarks/results/umaze-{row}")), row


def test_the_report_is_what_was_measured_and_needs_nothing_else(suite, report):
    found = suite.load()
    cells, text = report.by_place(found), report.PAGE.read_text()
    table = report.markdown(cells)
    page = report.MARKDOWN.read_text()
    assert "<!-- suite -->" in page and report.insert(page, "suite", table) == page
    for (task, row), cell in cells.items():
        assert f"{cell['summary']['score']['mean']:.1f}<small>" in text and f"{task}, {row}</summary>" in text
    for part in (report.scores_table(cells), report.published_table(report.tasks_of(cells)), report.commands(cells)):
        assert part in text
    assert not re.search(r'src=|href="(?!#)|url\((?!#)|<script|@import', text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)
    names = [cell for cell in report.tasks_of(cells)]
    assert table.count("not run") == sum((task, row) not in cells for task in names for row in suite.ROWS)


def test_embedded_and_hosted_scores_never_share_a_table(suite, report):
    """Nor does either stand in the table of published scores."""
    embedded = suite.load()[0]
    hosted = embedded | {"data": "hosted", "summary": embedded["summary"] | {"dataset": "D4RL/antmaze/umaze-v1"}}
    hosted["summary"] = hosted["summary"] | {"score": hosted["summary"]["score"] | {"mean": 12.3}}
    both = [embedded, hosted]
    first, second = (report.scores_table(report.by_place(both, data)) for data in ("embedded", "hosted"))
    assert "gtp/antmaze/" in first and "D4RL/" not in first and "12.3" not in first
    assert "D4RL/antmaze/umaze-v1" in second and "gtp/antmaze" not in second and "12.3" in second
    published = report.published_table(["antmaze-umaze", "hopper-medium"])
    assert "<td>84.2</td>" in published and "gtp/" not in published and "12.3" not in published


def test_cells_that_are_missing_or_diverged_say_so(suite, report):
    assert report.markdown({}).endswith("No cell was run.")
    cells = report.by_place(suite.load())
    one = cells["antmaze-umaze", "gtp"]
    lost = {"mean": None, "std": None, "iqm": None, "ci95": [None, None], "per_seed": [99.0, None]}
    few = {
        ("antmaze-umaze", "gtp"): one,
        ("antmaze-umaze", "gtp-bc"): one | {"summary": one["summary"] | {"score": lost}},
    }
    line = next(line for line in report.markdown(few).splitlines() if line.startswith("| antmaze-umaze "))
    assert line.count("not run") == len(suite.ROWS) - 2 and line.count("diverged") == 1
    table = report.scores_table(few)
    assert table.count("not run") == len(suite.ROWS) - 2 and "diverged<small>99 diverged" in table
    assert report.aggregates(few) == "<p>No task has the rows to aggregate.</p>"
    whole = {("antmaze-umaze", row): one for row in suite.ROWS[:3]} | {("antmaze-medium-play", "gtp"): one}
    assert "Over antmaze-umaze." in report.aggregates(whole)
    report.curves(few)
    report.latency(few)
