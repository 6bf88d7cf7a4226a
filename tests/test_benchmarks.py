"""What the documents print is what the committed results say."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import ROOT, benchmark
from scipy import stats

from gtp_jax.flow.times import Schedule


def test_the_u_maze_results_are_shown_as_they_were_measured():
    table = benchmark("table")
    for page, short in ((table.README, True), (table.PAGE, False)):
        text = page.read_text()
        assert "| GTP in two levels, told what did better |" in text
        assert table.insert(text, "umaze", table.umaze(table.RESULTS, short=short)) == text


def test_the_study_is_shown_as_it_was_measured():
    study = benchmark("flow_map_table")
    text = (study.DOCS / "family.md").read_text()
    for task in ("density", "goals"):
        cells = study.load(study.RESULTS, task)
        assert "| gtp |" in text and set(cells) >= set(study.MEMBERS)
        assert study.insert(text, task, study.table(cells)) == text


def test_the_u_maze_study_is_shown_as_it_was_measured():
    study = benchmark("umaze_study_table")
    cells = study.load(study.RESULTS)
    denoising = json.loads((study.RESULTS / "denoising.json").read_text())
    assert set(cells) >= set(study.MEMBERS)
    text = (study.DOCS / "family.md").read_text()
    for name, table in (
        ("umaze", study.table(cells, denoising["deterministic"])),
        ("denoising", study.denoising_table(denoising, cells)),
    ):
        assert study.insert(text, name, table) == text


def test_where_edm_and_the_grid_draw_their_times():
    """The shares that docs/family.md names, in closed form: log t ~ N(-1.2, 1.2^2), and the middle of Karras' grid."""
    share_below = lambda t: stats.norm.cdf((np.log(t) + 1.2) / 1.2)
    assert share_below(0.5) == pytest.approx(2 / 3, abs=0.01)
    assert 1 - share_below(3.5) == pytest.approx(0.02, abs=0.001)
    assert float(Schedule().at(0.5)) == pytest.approx(2.5, abs=0.02)


def test_the_speed_page_is_what_was_measured():
    speed = benchmark("speed_table")
    text = speed.PAGE.read_text()
    for name, section in speed.SECTIONS.items():
        assert speed.insert(text, name, section()) == text, name


def test_the_guidance_page_is_what_was_measured_and_names_what_was_not_run():
    tables = benchmark("guidance_table")
    cells, text = tables.load(tables.ROOT / tables.RESULTS), tables.PAGE.read_text()
    for name, table in tables.tables(cells).items():
        assert f"<!-- {name} -->" in text and tables.insert(text, name, table) == text, name
    readme = tables.README.read_text()
    assert tables.insert(readme, "mazes", tables.reported(tables.SHORT)) == readme
    assert cells.keys() <= {(task, row) for task in tables.TASKS for row in tables.ROWS}
    reported = tables.by_place(tables.suite.load())
    asked = [(f"antmaze-{task}", row) for task in tables.TASKS for row in tables.REPORTED]
    missing = [place for place in asked if place not in reported]
    assert tables.tables(cells)["report"].count("not run") == len(missing)


def test_every_policy_and_guidance_was_trained_from_the_command_line():
    matrix = benchmark("matrix")
    result = json.loads((matrix.ROOT / "benchmarks/results/matrix.json").read_text())
    trained = {(row["policy"], row["guidance"]) for row in result["rows"] if matrix.sound(row)}
    assert trained == {(policy, guidance) for policy, guidance, _ in matrix.rows()}
    assert len(trained) == len(matrix.recipes.names(matrix.policies)) * len(matrix.GUIDANCE)


def test_the_theorem_page_has_the_measured_orders():
    """Order 2 in the gap, 1 for the trained map, and no decrease with the solver's step."""
    theorem = benchmark("theorem")
    result = theorem.measure()
    assert all(abs(p - 2) < 0.01 for p in result["order_over_gap"].values())
    assert abs(result["order_of_trained_map_bias"] - 1) < 0.01
    for series in result["over_solver_steps"].values():
        for errors in series.values():
            assert abs(errors[-1] / errors[-2] - 1) < 0.01 and errors[-1] > 1e-5


def test_peers_are_compared_within_each_round():
    """A round in which the whole machine was three times slower moves no ratio."""
    rounds = {"gtp": [10.0, 30.0, 10.0], "gtp-relu": [8.0, 24.0, 8.0], "flowrl": [20.0, 60.0, 20.0]}
    compared = benchmark("peers").compare([{"program": name, "rounds": times} for name, times in rounds.items()])
    assert compared["times_the_rate_of"]["flowrl"] == {"median": 2.0, "quartiles": [2.0, 2.0], "required": 2.0}
    assert compared["share_of_relu_rate"]["median"] == pytest.approx(0.8)


def test_matmuls_are_counted_as_often_as_they_run():
    """Each takes 2 * 4^3 operations: three in the scan, one or three in the branches; nothing needs the last."""
    x = jnp.ones((4, 4))

    @jax.jit
    def update(x):
        y, _ = jax.lax.scan(lambda y, _: (y @ x, None), x, length=3)
        y = jax.lax.cond(y[0, 0] > 0, lambda y: y @ x, lambda y: y @ x @ x @ x, y)
        x @ y
        return y

    assert benchmark("flops").of_matmuls(update, x) == (3 + 2) * 128


def test_kills_and_damages_are_shown_as_they_were_measured_and_lost_nothing():
    faults = benchmark("faults_table")
    found = faults.counts()
    assert found.pop("kills") == 100 and found.pop("damages") == 200 and found.pop("runs") > 20
    assert found == {"differ": 0, "lost": 0, "silent": 0}
    text = faults.PAGE.read_text()
    assert faults.insert(text, "measured", faults.table()) == text


def test_our_loss_in_another_agent_is_its_own():
    """As measured: equal noise gives FQL's own loss, gradient and updates; every loss of ours trains its network."""
    result = json.loads((ROOT / "benchmarks/results/clients.json").read_text())
    same, probe = result["flow_matching_beside_its_own"], result["probe"]
    assert same["loss"][0] == same["loss"][1] and same["gradient_norm"] > 0.1
    assert same["gradient_difference"] < 1e-6 and same["parameter_difference"] < 1e-6
    assert set(probe) == {"its own", "flow_matching", "shortcut", "gtp"}
    assert all(found["last_loss"] < found["first_loss"] for found in probe.values())


def test_bad_inputs_are_all_refused_and_the_checks_cost_little():
    """As docs/faults.md says."""
    results, page = ROOT / "benchmarks" / "results", (ROOT / "docs" / "faults.md").read_text()
    tried = json.loads((results / "bad_inputs.json").read_text())
    assert tried["tried"] == tried["refused"] >= 5000 and tried["silent"] == tried["tracebacks"] == 0
    assert all(row["tracebacks"] == 0 for row in tried["flipped_bytes"].values())
    assert tried["flipped_bytes"]["embedded data"]["silent"] == 0
    cost = json.loads((results / "checks.json").read_text())
    assert "less than 5 % of its CPU time" in page and cost["share_of_load"]["data"] < 0.05
    assert "less than Minari's own reader takes" in page
    assert cost["cpu_seconds"]["all checks"] < cost["cpu_seconds"]["reading alone, by Minari"]


def test_denoising_says_whose_runs_it_needs(tmp_path):
    with pytest.raises(SystemExit, match="holds no run of .*umaze_study.py leaves them there"):
        benchmark("denoising").measure(tmp_path)


def test_the_locomotion_data_are_shown_as_they_were_measured():
    behaviour = benchmark("behaviour")
    text, measured = behaviour.PAGE.read_text(), json.loads(behaviour.RESULTS.read_text())
    assert behaviour.insert(text, "behaviour", behaviour.table(measured)) == text
    assert text.count("| `gtp/h") + text.count("| `gtp/w") == 9
