"""The suite: which cells there are, that an interrupted one goes on where it stopped, and the report from its files."""

import json
import re
import shutil
import signal

import pytest
from runs import ROOT, benchmark

from gtp_jax import files
from gtp_jax.config import methods
from gtp_jax.config.tasks import TASKS
from gtp_jax.training import divergence


@pytest.fixture(scope="module")
def suite():
    return benchmark("suite")


@pytest.fixture(scope="module")
def report(suite):
    return benchmark("report")


@pytest.fixture(scope="module")
def tables(suite):
    return benchmark("report_tables")


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

    def python(words):
        workdir = tmp_path / next(word for word in words if word.startswith("--workdir=")).partition("=")[2]
        calls.append(workdir)
        if len(calls) > allowed:
            raise SystemExit(143)
        shutil.copytree(finished, workdir)

    monkeypatch.setattr(suite.commands, "python", python)
    arguments = ["--tasks=antmaze-umaze", "--rows=gtp,gtp-bc,iql-flow"]
    with pytest.raises(SystemExit):
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


@pytest.fixture
def child(monkeypatch, tmp_path):
    """What `commands.python` starts, as a script of this text in a root of its own."""
    commands = benchmark("commands")
    monkeypatch.setattr(commands, "ROOT", tmp_path)

    def start(text):
        (tmp_path / "script.py").write_text(text)
        commands.python(["script.py"])

    return start


@pytest.mark.parametrize("code", [0, divergence.EXIT_CODE])
def test_a_run_that_diverged_has_a_result_too(child, code):
    child(f"raise SystemExit({code})")


@pytest.mark.parametrize(("text", "code"), [("raise SystemExit(2)", 2), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_any_other_end_is_the_callers(child, text, code):
    with pytest.raises(SystemExit) as error:
        child(text)
    assert error.value.code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_go_to_the_run_which_has_its_time(child, tmp_path, number):
    """It gets the one signal, once, and saves for as long as it takes."""
    before = signal.getsignal(number)
    text = f"""
import os, pathlib, signal, sys, time
got = []
signal.signal({int(number)}, lambda *_: got.append(1))
os.kill(os.getppid(), {int(number)})
while not got:
    time.sleep(0.01)
time.sleep(0.6)
pathlib.Path("saved").write_text(str(len(got)))
sys.exit(128 + {int(number)})
"""
    with pytest.raises(SystemExit) as error:
        child(text)
    assert error.value.code == 128 + number and (tmp_path / "saved").read_text() == "1"
    assert signal.getsignal(number) == before


def test_committed_cells_are_of_their_task_and_comparable(suite):
    """An embedded id each, at least three seeds, the family's episodes, one number of updates for a task's rows."""
    cells, updates, data = suite.load(), {}, {}
    assert cells
    for cell in cells:
        task, summary = TASKS[cell["task"]], cell["summary"]
        assert summary["dataset"] == getattr(task, cell["data"]) and cell["data"] in ("embedded", "hosted")
        assert len(summary["seeds"]) >= 3 and summary["eval_episodes"] == task.family.episodes
        assert updates.setdefault(task.name, summary["num_updates"]) == summary["num_updates"]
        assert data.setdefault((cell["data"], task.name), summary["fingerprint"]) == summary["fingerprint"]
        assert summary["temperature"] == suite.SETTINGS["policy.temperature"]
        assert cell["learning_rate"] == suite.SETTINGS["policy.learning_rate"]


def test_u_mazes_cells_are_those_of_its_five_seeds(suite):
    umaze = benchmark("umaze")
    for row in umaze.ROWS:
        kept = json.loads((ROOT / suite.RESULTS / f"embedded/antmaze-umaze/{row}.json").read_text())
        assert kept == files.plain(umaze.cell(row, ROOT / f"benchmarks/results/umaze-{row}")), row


def test_the_report_is_what_was_measured_and_needs_nothing_else(suite, report, tables):
    found = suite.load()
    cells, text = report.by_place(found), report.PAGE.read_text()
    table = report.markdown(cells)
    page = report.MARKDOWN.read_text()
    assert "<!-- suite -->" in page and report.insert(page, "suite", table) == page
    for task, row in cells:
        assert f"{task}, {row}</summary>" in text
    words, again = (re.sub(r"<figure.*?</figure>", "", each, flags=re.DOTALL) for each in (text, report.page(found)))
    assert words == again
    for part in (tables.scores_table(cells), tables.published_table(tables.tasks_of(cells)), tables.aggregates(cells)):
        assert part in text
    assert not re.search(r'src=|href="(?!#)|url\((?!#)|<script|@import', text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)
    names = [cell for cell in report.tasks_of(cells)]
    assert table.count("not run") == sum((task, row) not in cells for task in names for row in suite.ROWS)


def test_embedded_and_hosted_scores_never_share_a_table(suite, tables):
    """Nor does either stand in the table of published scores."""
    embedded = suite.load()[0]
    hosted = embedded | {"data": "hosted", "summary": embedded["summary"] | {"dataset": "D4RL/antmaze/umaze-v1"}}
    hosted["summary"] = hosted["summary"] | {"score": hosted["summary"]["score"] | {"mean": 12.3}}
    both = [embedded, hosted]
    first, second = (tables.scores_table(tables.by_place(both, data)) for data in ("embedded", "hosted"))
    assert "gtp/antmaze/" in first and "D4RL/" not in first and "12.3" not in first
    assert "D4RL/antmaze/umaze-v1" in second and "gtp/antmaze" not in second and "12.3" in second
    published = tables.published_table(["antmaze-umaze", "hopper-medium"])
    assert "<td>84.2</td>" in published and "gtp/" not in published and "12.3" not in published


def changed(cell, **summary):
    return cell | {"summary": cell["summary"] | summary}


@pytest.fixture(scope="module")
def one(suite, tables):
    """A cell of five seeds."""
    return tables.by_place(suite.load())["antmaze-umaze", "gtp"]


def test_cells_that_are_missing_or_diverged_say_so(suite, report, tables, one):
    assert tables.markdown({}).endswith("No cell was run.")
    gone = {"mean": None, "std": None, "iqm": None, "ci95": [None, None], "per_seed": [99.0, None]}
    few = {
        ("antmaze-umaze", "gtp"): one,
        ("antmaze-umaze", "gtp-bc"): changed(one, score=gone, seeds=[0, 1], diverged=[{"seed": 1}]),
    }
    line = next(line for line in tables.markdown(few).splitlines() if line.startswith("| antmaze-umaze "))
    assert line.count("not run") == len(suite.ROWS) - 2 and "| diverged, 1 of 2 diverged |" in line
    table = tables.scores_table(few)
    assert table.count("not run") == len(suite.ROWS) - 2 and "diverged<small>99 diverged" in table
    assert tables.aggregates(few) == "<p>No task has a row beside gtp-bc.</p>"
    report.curves(few)
    report.latency(few)


def test_a_seed_that_diverged_is_marked_even_where_it_has_a_score(tables, one):
    """A policy of NaN never reaches the goal, and one beside a critic that exploded may."""
    cell = {("antmaze-umaze", "gtp"): changed(one, diverged=[{"seed": 3, "updates": [1, 5], "reason": "x"}])}
    assert ", 1 of 5 diverged |" in tables.markdown(cell)
    value = one["summary"]["score"]["per_seed"][3]
    assert tables.scores_table(cell).count(f" {value:.0f} (diverged) ") == 1


def test_aggregates_are_over_the_tasks_that_a_row_shares_with_cloning(tables, one):
    def cell(*per_seed):
        mean = sum(per_seed) / len(per_seed)
        return changed(one, score={"mean": mean, "per_seed": list(per_seed), "ci95": [0, 0]})

    nothing = changed(one, score={"mean": None, "per_seed": [1.0, None], "ci95": [None, None]})
    cells = {
        ("antmaze-umaze", "gtp-bc"): cell(10.0, 20.0),
        ("antmaze-umaze", "gtp"): cell(20.0, 30.0),
        ("antmaze-medium-play", "gtp"): cell(90.0, 90.0),
        ("antmaze-umaze-diverse", "gtp-bc"): cell(50.0, 50.0),
        ("antmaze-umaze-diverse", "gtp"): nothing,
    }
    text = tables.aggregates(cells)
    assert text.count("<tr>") == 2 and "<td>gtp</td>" in text
    assert ">antmaze-umaze; without antmaze-umaze-diverse: diverged<" in text
    # Of the four pairs three are above and one is equal.
    assert "<td>25.0<small>" in text and "<td>15.0<small>" in text and "<td>0.88</td>" in text


def test_a_curve_ends_where_a_seed_has_no_score(report, one):
    """The mean of the others would hide it."""
    points = [{"step": step, "seed": seed, "score": 10.0 * seed + step} for step in (1, 2, 3) for seed in (0, 1)]
    lost = [point | {"score": None} if (point["step"], point["seed"]) == (2, 1) else point for point in points]
    whole, broken, first = (
        report.curves({("antmaze-umaze", "gtp"): one | {"curve": curve}}) for curve in (points, lost, points[:2])
    )
    assert broken == first != whole


def test_the_kitchens_data_have_no_comparable_score(tables, one):
    found = changed(one, dataset="D4RL/kitchen/partial-v2", behaviour={"behaviour_success": None, "mean_return": 300})
    assert tables.behaviour(found["summary"]) == "-"


def test_rows_on_data_of_other_content_do_not_compare(tables, one):
    other = changed(one, fingerprint="f" * 64) | {"row": "gtp-bc"}
    with pytest.raises(SystemExit, match="antmaze-umaze: gtp and gtp-bc were trained on data of different content"):
        tables.by_place([one, other])


def test_rows_that_the_report_does_not_know_are_not_in_it(suite, tables, one):
    assert tables.by_place([one | {"row": "gtp-paper"}]) == {}
    with pytest.raises(SystemExit):
        suite.parse(["--rows=gtp-paper"])


def test_a_page_is_not_overwritten_by_none(report, tmp_path):
    before = report.PAGE.read_bytes()
    with pytest.raises(SystemExit):
        report.main([f"--results={tmp_path}", "--write"])
    assert report.PAGE.read_bytes() == before


def test_a_table_goes_where_its_two_comments_are(report):
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert report.insert(page, "x", "new") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    for broken in ("a", "<!-- x -->\n", page + page):
        with pytest.raises(ValueError, match="once each"):
            report.insert(broken, "x", "new")
