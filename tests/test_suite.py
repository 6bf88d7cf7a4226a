"""The suite: which cells there are, that an interrupted one goes on where it stopped, and the report from its files."""

import functools
import re

import jax
import numpy as np
import pytest
from runs import benchmark

from gtp_jax.config import methods
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings
from gtp_jax.config.tasks import TASK_FAMILIES, TASKS
from gtp_jax.datasets.builtin import ids

shared, suite, umaze = benchmark("shared"), benchmark("scores/suite"), benchmark("scores/umaze")
cells, report, aggregates = benchmark("scores/cells"), benchmark("scores/report"), benchmark("scores/aggregates")
published = benchmark("scores/published")
guidance, study = benchmark("scores/guidance"), benchmark("family/flow_map_study")
umaze_study = benchmark("family/umaze_study")


def committed():
    return list(shared.load_cells(suite.RESULTS).values())


@pytest.fixture(scope="module")
def one():
    """A cell of five seeds."""
    return cells.by_place(committed())["antmaze-umaze", "gtp"]


def changed(cell, **summary):
    return cell | {"summary": cell["summary"] | summary}


def test_the_cells_are_those_that_can_be_run():
    """Built-in ids for built-in cells, hosted ones for hosted; published settings where a method needs them."""
    assert set(suite.ORDER) <= set(TASKS) and set(suite.METHODS) <= set(methods.METHODS)
    builtin = suite.possible_cells(list(suite.ORDER), list(suite.METHODS), "builtin")
    assert (TASKS["antmaze-umaze"], "diffusion-ql") in builtin
    assert (TASKS["antmaze-umaze-mixed"], "diffusion-ql") not in builtin
    assert {task.name for task, _ in builtin} == set(suite.ORDER)
    hosted = suite.possible_cells(list(suite.ORDER), ["gtp"], "hosted")
    assert (TASKS["hopper-medium"], "gtp") in hosted and (TASKS["hopper-medium-replay"], "gtp") not in hosted
    with pytest.raises(SystemExit):
        suite.main(["--methods=gtp,nosuch"])


def test_what_the_rows_change_are_settings():
    """Those of every study, on top of the presets that they start from."""
    for task, method in suite.possible_cells(list(suite.ORDER), list(suite.METHODS), "builtin"):
        assert preset(f"{task.family}:{task.builtin},{method}").replace(suite.SETTINGS).dataset == task.builtin
    for method, changes in guidance.ALL_ROWS.values():
        preset(f"antmaze:umaze,{method}").replace(shared.ROWS["guidance"] | changes)
    for _, config in umaze.METHODS.values():
        assert preset(config).num_seeds == 5
    for row in study.ROWS:
        assert Settings.of({"guidance.name": "none"} | study.policy_settings(row))


@pytest.mark.parametrize("task", study.TASKS)
def test_the_study_in_two_dimensions_tells_an_exact_policy_from_one_of_half_its_steps(task):
    draw, rng = study.TASKS[task].data, np.random.default_rng(5)

    def towards_the_nearest(obs):
        """The goals' law but for the first step, whose goal is drawn."""
        position, goals = 5 * obs, 5 * study.DIRECTIONS
        nearest = goals[np.linalg.norm(position[..., None, :] - goals, axis=-1).argmin(axis=-1)]
        drawn = goals[rng.integers(4, size=obs.shape[:-1])]
        offset = np.where(np.linalg.norm(position, axis=-1, keepdims=True) < 0.5, drawn, nearest) - position
        return offset / np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1.0)

    def act(key, obs, scale):
        obs = np.broadcast_to(obs, (2, *np.shape(obs)[-2:]))
        if task == "goals":
            return scale * (towards_the_nearest(obs) + 0.05 * rng.standard_normal(obs.shape))
        return scale * np.stack([draw(rng, obs.shape[1])[1] for _ in obs])

    exact, halved = (
        study.TASKS[task].measure(functools.partial(act, scale=scale), np.random.default_rng(1)) for scale in (1.0, 0.5)
    )
    assert len(exact["energy_distance"]) == 2
    assert max(exact["energy_distance"]) < 0.01 < 0.05 < min(halved["energy_distance"])
    if "off_every_mode" in exact:
        assert max(exact["off_every_mode"]) < 0.01 and min(halved["off_every_mode"]) > 0.9


def test_the_u_maze_study_measures_error_and_spread_of_each_seed():
    """Of normal samples, whose mean is off the actions by 0.1 and 0.3 and whose deviation is 0.2 and 0.5."""
    action = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    off, deviation = np.array([0.1, 0.3])[:, None, None], np.array([0.2, 0.5])[:, None, None]

    def sample(key, temperature):
        return action + off + temperature * deviation * jax.random.normal(key, (2, *action.shape))

    errors, spread = umaze_study.beside_actions(sample, action)
    np.testing.assert_allclose(errors, [0.01, 0.09], rtol=1e-4)
    np.testing.assert_allclose(spread, [0.04, 0.25], rtol=0.02)


def test_an_interrupted_suite_goes_on_where_it_stopped(tmp_path, monkeypatch, one):
    """Finished cells are not run again, and the one that was stopped is started in the same directory."""
    calls, allowed = [], 1

    def train(config, workdir, settings):
        calls.append((config, workdir.name, settings["eval.num_episodes"]))
        if len(calls) > allowed:
            raise SystemExit(143)
        shared.write(tmp_path / workdir / "config.json", {"policy": {"learning_rate": 1e-3}})
        (tmp_path / workdir / "metrics.jsonl").write_text('{"step": 1, "seed": 0, "score": 5.0}\n{"step": 1, "x": 2}\n')
        return {"run": "python ...", "summary": one["summary"]}

    monkeypatch.setattr(shared, "ROOT", tmp_path)
    monkeypatch.setattr(shared, "train", train)
    arguments = ["--tasks=antmaze-umaze", "--methods=gtp,gtp-bc", f"--results={tmp_path / 'results'}"]
    with pytest.raises(SystemExit):
        suite.main(arguments)
    allowed = 10
    suite.main(arguments)
    suite.main(arguments)
    config = "antmaze.py:gtp/antmaze/umaze-v0,"
    assert calls == [(config + name, name, 100) for name in ("gtp", "gtp-bc", "gtp-bc")]
    found = shared.load_cells(tmp_path / "results")
    assert found.keys() == {"builtin/antmaze-umaze/gtp", "builtin/antmaze-umaze/gtp-bc"}
    assert all(each["curve"] == [{"step": 1, "seed": 0, "score": 5.0}] for each in found.values())


def test_committed_cells_are_of_their_task_and_comparable():
    """A built-in id each, at least three seeds, the family's episodes, one number of updates for a task's methods."""
    updates, data = {}, {}
    for cell in committed():
        task, summary = TASKS[cell["task"]], cell["summary"]
        assert summary["dataset"] == getattr(task, cell["data"]) and cell["data"] in ("builtin", "hosted")
        assert len(summary["seeds"]) >= 3 and summary["eval_episodes"] == TASK_FAMILIES[task.family].episodes
        assert updates.setdefault(task.name, summary["num_updates"]) == summary["num_updates"]
        assert data.setdefault((cell["data"], task.name), summary["fingerprint"]) == summary["fingerprint"]
        assert summary["temperature"] == suite.SETTINGS["policy.temperature"]
        assert cell["learning_rate"] == suite.SETTINGS["policy.learning_rate"]
    for method in umaze.METHODS:
        found = cells.by_place(committed())["antmaze-umaze", method]
        scores = {(each["num_steps"], each["temperature"]): each["score"] for each in found["evaluations"]}
        summary = found["summary"]
        assert len(summary["seeds"]) == 5 and scores[summary["num_steps"], summary["temperature"]] == summary["score"]


def test_the_report_is_what_was_measured_and_needs_nothing_else():
    text, found = (shared.ROOT / "docs" / "report.html").read_text(), cells.by_place(committed())
    pages = (text, report.page(committed()))
    words, again = (re.sub(r"<figure.*?</figure>", "", each, flags=re.DOTALL) for each in pages)
    assert words == again and all(f"{task}, {method}</summary>" in text for task, method in found)
    assert not re.search(r'src=|href="(?!#)|url\((?!#)|<script|@import', text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)


def test_builtin_and_hosted_scores_never_share_a_table(one):
    """Nor does either stand in the table of published scores."""
    hosted = changed(one, dataset="D4RL/antmaze/umaze-v1", score=one["summary"]["score"] | {"mean": 12.3})
    both = [one, hosted | {"data": "hosted"}]
    first, second = (report.scores_table(cells.by_place(both, data)) for data in ("builtin", "hosted"))
    assert "gtp/antmaze/" in first and "D4RL/" not in first and "12.3" not in first
    assert "D4RL/antmaze/umaze-v1" in second and "gtp/antmaze" not in second and "12.3" in second
    published = report.published_table(["antmaze-umaze", "hopper-medium"])
    assert "<td>84.2</td>" in published and "gtp/" not in published and "12.3" not in published


def test_published_scores_on_the_page_are_those_of_the_file():
    """Each is a success rate with its seeds, updates, paper and network, of a task whose data can be made here."""
    listed = (
        (shared.ROOT / "docs" / "report.html")
        .read_text()
        .partition("All published scores")[2]
        .partition("</details>")[0]
    )
    found = [re.findall(r"<td>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", listed)[1:]]
    assert [row[0] for row in found] == list(published.TASKS)
    for task, updates, *scores in found:
        rows = dict(zip(published.METHODS, scores, strict=True))
        for method, row in published.TASKS[task].items():
            assert rows.pop(method) == f"{row['mean']} ± {row['std']}" and updates == f"{row['updates']:,}"
            assert 0 <= row["mean"] <= 100 and row["seeds"] == 8 and row["updates"] >= 500_000
        assert set(rows.values()) <= {"-"}
        made = f"ogbench/{task}" if "singletask" in task else f"d4rl-{task.replace('-', '/', 1)}"
        assert published.task_of(ids.parse_id(f"gtp/{made}-300k-seed1-v0").id) == task
    for about in published.METHODS.values():
        assert re.fullmatch(r"arXiv \d{4}\.\d{5}", about["paper"]) and re.fullmatch(r"\d x \d+", about["network"])
    assert published.TASKS["cube-single-noisy-singletask-task3"]["fql-bc"]["mean"] == 15.9
    assert published.FOUND["unit"] == "success rate, %" and published.METHODS["iql"]["network"] == "4 x 256"


def test_a_new_result_gets_the_published_scores_beside_it(tmp_path):
    score = {"per_seed": [90.0, None], "mean": None, "ci95": [None, None]}
    one = {"dataset": "ogbench/cube-single-play-singletask-task3-v0", "method": "gtp-q", "network": [256, 256, 256]}
    one |= {"commit": "f" * 40, "num_updates": 100_000, "scores": {"2": score}}
    made = one | {"dataset": "gtp/ogbench/cube-single-play-singletask-task3-1m-v0", "network": [512] * 4}
    for name, cell in {"one": one, "two": made}.items():
        shared.write(tmp_path / "guidance_table" / f"{name}.json", cell)
    ours, again, *others = published.beside(tmp_path)
    assert ours[1:6] == ["gtp-q, K = 2", "diverged\n90 diverged", "3 x 256", "100,000", one["dataset"]]
    assert again[1] == "gtp-q, K = 2" and again[3] == "4 x 512" and "made again here" in again[5]
    names = [
        "gfp-vabc\nGFP's flow: a clone with moving weights, 10 steps",
        "gfp-actor\nGFP: a one-step actor with a Q term",
    ]
    scores, about = ["48.5 ± 9.1\n8 seeds", "99.4 ± 0.5\n8 seeds"], ["4 x 512", "1,000,000", "OGBench's own"]
    task, paper = "cube-single-play-singletask-task3", "published\narXiv 2512.03973"
    assert others == [[task, name, score, *about, paper] for name, score in zip(names, scores, strict=True)]


def test_cells_that_are_missing_or_diverged_say_so(one):
    assert cells.markdown({}).endswith("No cell was run.")
    gone = {"mean": None, "std": None, "iqm": None, "ci95": [None, None], "per_seed": [99.0, None]}
    lost = changed(one, score=gone, seeds=[0, 1], diverged=[{"seed": 1}])
    few = {("antmaze-umaze", "gtp"): one, ("antmaze-umaze", "gtp-bc"): lost}
    line = next(line for line in cells.markdown(few).splitlines() if line.startswith("| antmaze-umaze "))
    assert line.count("not run") == len(suite.METHODS) - 2 and "| diverged, 1 of 2 diverged |" in line
    table = report.scores_table(few)
    assert table.count("not run") == len(suite.METHODS) - 2 and "diverged<small>99 diverged" in table
    assert report.aggregates_table(few) == "<p>No task has a method beside gtp-bc.</p>"
    beside = {("antmaze-umaze", "gtp"): changed(one, diverged=[{"seed": 3, "updates": [1, 5], "reason": "x"}])}
    assert ", 1 of 5 diverged |" in cells.markdown(beside)
    value = one["summary"]["score"]["per_seed"][3]
    assert report.scores_table(beside).count(f" {value:.0f} (diverged) ") == 1


def test_aggregates_are_over_the_tasks_that_a_method_shares_with_cloning(one):
    def cell(*per_seed):
        mean = sum(per_seed) / len(per_seed)
        return changed(one, score={"mean": mean, "per_seed": list(per_seed), "ci95": [0, 0]})

    found = {
        ("antmaze-umaze", "gtp-bc"): cell(10.0, 20.0),
        ("antmaze-umaze", "gtp"): cell(20.0, 30.0),
        ("antmaze-medium-play", "gtp"): cell(90.0, 90.0),
        ("antmaze-umaze-diverse", "gtp-bc"): cell(50.0, 50.0),
        ("antmaze-umaze-diverse", "gtp"): changed(one, score={"mean": None, "per_seed": [1.0, None]}),
    }
    text = report.aggregates_table(found)
    assert text.count("<tr>") == 2 and "<td>gtp</td>" in text
    assert ">antmaze-umaze; without antmaze-umaze-diverse: diverged<" in text
    assert "<td>25.0<small>" in text and "<td>15.0<small>" in text and "<td>0.88</td>" in text


def test_a_curve_ends_where_a_seed_has_no_score(one):
    """The mean of the others would hide it."""
    points = [{"step": step, "seed": seed, "score": 10.0 * seed + step} for step in (1, 2, 3) for seed in (0, 1)]
    lost = [point | {"score": None} if (point["step"], point["seed"]) == (2, 1) else point for point in points]
    curves = (points, lost, points[:2])
    whole, broken, first = (report.curves({("antmaze-umaze", "gtp"): one | {"curve": each}}) for each in curves)
    assert broken == first != whole


def test_what_does_not_compare_is_refused(one, tmp_path):
    """Kitchen's returns, data of other content, methods that the suite does not know, a report of no cells."""
    kitchen = {"behaviour_success": None, "mean_return": 300}
    assert cells.behaviour(one["summary"] | {"dataset": "D4RL/kitchen/partial-v2", "behaviour": kitchen}) == "-"
    with pytest.raises(SystemExit, match="antmaze-umaze: gtp and gtp-bc were trained on data of different content"):
        cells.by_place([one, changed(one, fingerprint="f" * 64) | {"method": "gtp-bc"}])
    assert cells.by_place([one | {"method": "gtp-paper"}]) == {}
    with pytest.raises(SystemExit, match="holds no cell"):
        report.main([f"--results={tmp_path}", f"--page={tmp_path / 'page.html'}"])


def test_aggregates_over_tasks():
    """Tasks weigh the same, however many seeds they have; intervals are those of seeds drawn anew."""
    sure = aggregates.aggregate([[10.0], [30.0, 30.0]])
    assert sure == {"mean": 20, "iqm": 20, "mean_ci95": [20, 20], "iqm_ci95": [20, 20]}
    found = aggregates.aggregate([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]])
    assert found["mean"] == 3.5 and found["iqm"] == 3.5
    skewed = aggregates.aggregate([[0.0, 0.0, 0.0, 100.0]])
    assert skewed["mean"] == 25 and skewed["iqm"] == 0
    # Four seeds drawn anew from 0 ... 3: deviation of their mean sqrt(1.25 / 4), of the mean of two such tasks less.
    low, high = found["mean_ci95"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(1.25 / 4 / 2), rel=0.06)
    for bad in ([], [[]], [[np.nan]], [[[1.0]]]):
        with pytest.raises(ValueError, match="every task needs finite scores"):
            aggregates.aggregate(bad)


def test_probability_of_improvement():
    """Over all pairs of seeds, ties half, tasks evenly."""
    assert aggregates.improvement([[2.0, 3.0]], [[1.0, 1.0]]) == 1
    assert aggregates.improvement([[1.0]], [[1.0, 1.0]]) == 0.5
    assert aggregates.improvement([[1.0, 3.0], [0.0]], [[2.0], [1.0]]) == pytest.approx((0.5 + 0) / 2)
    with pytest.raises(ValueError, match="the same tasks, got 1 and 2"):
        aggregates.improvement([[1.0]], [[1.0], [2.0]])
