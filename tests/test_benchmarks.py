"""What the documents print is what the committed results say, and every benchmark can be started."""

import re
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_batch
from runs import ROOT, benchmark

from gtp_jax.agent.build import build_agent
from gtp_jax.config.presets import preset
from gtp_jax.training import divergence

shared, tables, run = benchmark("shared"), benchmark("tables"), benchmark("run")


def result(name):
    return shared.read(shared.RESULTS / f"{name}.json")


@pytest.mark.parametrize("name", run.benchmarks())
def test_every_benchmark_says_how_it_is_called(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", ["", *run.sys.path])  # whose first entry `run.main` replaces
    with pytest.raises(SystemExit) as end:
        run.main([name, "--help"])
    assert end.value.code == 0 and "--results" in capsys.readouterr().out or name == "figures"
    with pytest.raises(SystemExit, match=f"/{name}: "):
        run.main([])


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_is_shown_once_as_it_was_measured(name):
    [page] = [page for page in tables.pages() if f"<!-- {name} -->" in page.read_text()]
    assert tables.insert(page.read_text(), name, tables.TABLES[name]()) == page.read_text(), page.name


def test_every_marker_of_the_pages_is_a_table():
    named = {name for page in tables.pages() for name in re.findall(r"<!-- (\w+) -->", page.read_text())}
    assert named == tables.TABLES.keys()


def test_a_table_goes_where_its_two_comments_are():
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert tables.insert(page, "x", "new") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    for broken in ("a", "<!-- x -->\n", page + page):
        with pytest.raises(ValueError, match="once each"):
            tables.insert(broken, "x", "new")


def test_a_line_with_a_name_is_repeated_for_every_row_and_missing_values_are_left_out():
    rows = {"batch 64": {"milliseconds_per_seed_update": 6.14}, "9 rows": {"megabytes": 3.0}}
    text = tables.fill("growth", rows, {"source": "from here"})
    assert text.splitlines()[2:] == ["| batch 64 | 6.1 |  |", "| 9 rows |  | 3 |", "", "from here"]


def test_every_result_says_where_it_comes_from():
    """Command, machine, versions and commit; results of runs say so in their summaries."""
    for path in shared.RESULTS.rglob("*.json"):
        found = shared.read(path)
        for each in [found] if "command" in found else found.values():
            about = each.get("summary", each)
            assert each["command"].startswith("python benchmarks/") and about["versions"]["jax"], path
            assert about["device"]["platform"] and about["commit"], path
    assert sum(path.stat().st_size for path in shared.RESULTS.rglob("*.*")) < 4e6


def test_results_are_written_with_a_line_for_a_list_and_commands_name_no_path_of_a_machine(tmp_path):
    written = {"a": list(range(50)), "b": {"c": 100 * [0.5], "d": float("nan")}}
    shared.write(tmp_path / "new" / "x.json", written)
    assert shared.read(tmp_path / "new" / "x.json") == written | {"b": {"c": 100 * [0.5], "d": None}}
    assert len((tmp_path / "new" / "x.json").read_text().splitlines()) == 7
    command = shared.command("x/peers.py", peers="fql=/home/me/fql,sorl=~/sorl", rounds=3, hosted=True, other=False)
    assert command == "python benchmarks/run.py peers --peers=fql=PATH,sorl=PATH --rounds=3 --hosted"


def test_calls_take_turns():
    calls, clock = [], iter(range(100))
    seconds = shared.in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2, 2, lambda: next(clock))
    assert "".join(calls) == "ab" + 2 * "aabb" and seconds == {"a": [0.5, 0.5], "b": [0.5, 0.5]}


@pytest.fixture
def child(monkeypatch, tmp_path):
    """What `run_python` starts, as a script of this text in a root of its own."""
    monkeypatch.setattr(shared, "ROOT", tmp_path)

    def start(text):
        (tmp_path / "script.py").write_text(text)
        shared.run_python(["script.py"])

    return start


DIVERGED, KILLED = f"raise SystemExit({divergence.EXIT_CODE})", "import os; os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(("text", "code"), [("", 0), (DIVERGED, 0), ("raise SystemExit(2)", 2), (KILLED, 137)])
def test_how_a_run_ends_is_how_its_caller_ends(child, text, code):
    """One with a training that diverged has a result, too."""
    if not code:
        return child(text)
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


def test_the_theorem_page_has_the_measured_orders():
    """Order 2 in the gap, 1 for the trained map, and no decrease with the solver's step."""
    measured = benchmark("family/theorem").measure()
    assert all(abs(p - 2) < 0.01 for p in measured["order_over_gap"].values())
    assert abs(measured["order_of_trained_map_bias"] - 1) < 0.01
    for series in measured["over_solver_steps"].values():
        for errors in series.values():
            assert abs(errors[-1] / errors[-2] - 1) < 0.01 and errors[-1] > 1e-5


def test_peers_are_compared_within_each_round():
    """A round in which the whole machine was three times slower moves no ratio."""
    rounds = {"gtp-q": [10.0, 30.0, 10.0], "gtp-paper": [5.0, 15.0, 5.0], "gtp-paper-relu": [4.0, 12.0, 4.0]}
    rounds["flowrl"] = [20.0, 60.0, 20.0]
    compared = benchmark("speed/peers").compare([{"program": name, "rounds": each} for name, each in rounds.items()])
    for ours, ratio in {"gtp-q": 2.0, "gtp-paper": 4.0}.items():
        found = compared["times_the_rate_of"][ours]
        assert found == {"flowrl": {"median": ratio, "quartiles": [ratio, ratio], "required": 2.5}}
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

    assert benchmark("speed/flops").matmul_mflop(update, x) == pytest.approx((3 + 2) * 128 / 1e6)


class Counting(NamedTuple):
    """In the place of a peer's agent: it counts its updates, and adds up the rows that they saw."""

    updates: jax.Array
    seen: jax.Array

    @classmethod
    def create(cls, seed, observations, actions, config):
        return cls(jnp.int32(config["first"]), jnp.float32(seed))

    def update(self, batch):
        return Counting(self.updates + 1, self.seen + batch["observations"].mean()), {}

    def sample_actions(self, obs, seed):
        return obs + jax.random.normal(seed, obs.shape)


def test_a_peers_seeds_are_trained_and_act_apart():
    """501 updates are two chunks; each seed has its own rows, and its own noise at every step."""
    peers, obs = benchmark("scores/q_peers"), np.arange(8, dtype=np.float32)[:, None]
    data = {"observations": obs, "actions": obs, "rewards": obs[:, 0]}
    train = peers.trainer(Counting, {"first": 3}, data, range(2))
    agents = train(501)
    assert agents.updates.tolist() == [504, 504]
    np.testing.assert_allclose(agents.seen - np.arange(2), 501 * obs.mean(), rtol=0.01)
    assert agents.seen[0] != agents.seen[1] - 1
    act = peers.acting(agents, range(2))
    one, two = act(0, np.zeros((2, 3, 1))), act(1, np.zeros((2, 3, 1)))
    assert one.shape == (2, 3, 1) and len(np.unique([one, two])) == 12
    np.testing.assert_array_equal(act(0, np.zeros((2, 3, 1))), one)
    assert train(7).updates.tolist() == [511, 511]  # it goes on


def test_an_update_of_the_recommended_guidance_takes_at_most_1_3_times_the_work_of_the_papers():
    """Floating-point operations of matrix products, on the shapes of the guidance table's arms; and the time."""

    def work(method):
        settings = preset(f"ogbench.py:cube-single-play-singletask-task3-v0,{method}")
        agent, hparams = build_agent(settings, -np.ones(5, np.float32), np.ones(5, np.float32), None)
        batch = random_batch(256, obs_dim=28, action_dim=5)
        state = jax.eval_shape(agent.init, jax.random.key(0), batch, hparams)
        return benchmark("speed/flops").matmul_mflop(agent.update, state, batch)

    assert 0.5 < work("gtp-q") / work("gtp-paper") < 1.3
    assert result("speed/speed-cpu")["guidance"]["programs"]["gtp-q"]["times_the_papers"] < 1.3


def test_kills_damages_and_bad_inputs_lost_nothing_and_the_checks_cost_little():
    """As docs/faults.md says."""
    soak, damages, tried = (result(f"trust/{name}") for name in ("soak", "damages", "bad_inputs"))
    assert soak["kills"] == 100 and soak["runs"] > 20 and soak["runs_that_differ"] == 0
    assert damages["damages"] == 200 and all(damages[each].keys() == {"newest", "older"} for each in ("resume", "act"))
    assert tried["tried"] == tried["refused"] >= 5000 and tried["silent"] == tried["tracebacks"] == 0
    assert all(row["tracebacks"] == 0 for row in tried["flipped_bytes"].values())
    assert tried["flipped_bytes"]["built-in data"]["silent"] == 0
    field = result("trust/field_inputs")
    assert field["tried"] == field["refused"] + field["right"] >= 2000 and field["silent"] == field["tracebacks"] == 0
    assert all(row["refused"] and row["right"] for row in field["cases"].values() if row["tried"] > 100)
    cost, page = result("trust/checks"), (ROOT / "docs" / "faults.md").read_text()
    assert "less than 5 % of its CPU time" in page and cost["share_of_load"]["data"] < 0.05
    assert cost["cpu_seconds"]["all checks"] < cost["cpu_seconds"]["reading alone, by Minari"]


@pytest.mark.slow
def test_inputs_of_the_field_are_refused_or_right(capfd):
    """Others than those of the committed result."""
    found = benchmark("trust/field_inputs").measure(scale=0.05, processes=2, seed=7)
    assert found["tried"] == found["refused"] + found["right"] > 80, capfd.readouterr().err
