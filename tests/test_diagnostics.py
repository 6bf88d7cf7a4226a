"""What diagnose.py computes, on problems whose answers are known; AntMaze put back into a state."""

import copy
import importlib.util
import json
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from runs import RUN, Runner

from gtp_jax import load_policy
from gtp_jax.config import trials
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.datasets.builtin.ids import TASKS, for_task
from gtp_jax.diagnosis import branches, statistics


def test_calibration_of_a_critic_that_is_off_by_two(rng):
    truth = rng.normal(3, 5, 10_000)
    found = statistics.calibration(truth + 2, truth)
    assert (found["bias"], found["error"]) == (pytest.approx(2), pytest.approx(2))
    assert (found["spread"], found["correlation"]) == (pytest.approx(truth.std()), pytest.approx(1))
    ignorant = statistics.calibration(np.full(10_000, truth.mean()), truth)
    assert ignorant["error"] == pytest.approx(ignorant["spread"]) and ignorant["correlation"] is None


@pytest.mark.parametrize(("action", "noise"), [(0.5, 2.0), (2.0, 0.1), (0.0, 1.0)])
def test_the_spread_among_actions_is_freed_of_the_noise(rng, action, noise):
    """Returns made of a state's own, an action's and a draw's part, each of known deviation."""
    parts = rng.normal(0, 3, (4000, 1, 1)), rng.normal(0, action, (4000, 8, 1)), rng.normal(0, noise, (4000, 8, 2))
    found = statistics.among_actions(sum(parts))
    assert found["action"] == pytest.approx(action, abs=0.06)
    assert found["noise"] == pytest.approx(noise, rel=0.03)
    assert found["state"] == pytest.approx(np.sqrt(9 + action**2 / 8 + noise**2 / 16), rel=0.05)
    with pytest.raises(ValueError, match=r"\(4, 8, 1\).* needs R from 2"):
        statistics.among_actions(np.zeros((4, 8, 1)))


def test_ranking_is_spearmans_within_states_only():
    truth = np.array([[1.0, 2, 3], [30, 20, 10], [5, 5, 5]])
    assert statistics.ranking(np.exp(truth), truth) == 1
    # Right between the states and wrong within them.
    assert statistics.ranking(np.array([[1.0, 0, -1], [10, 20, 30], [0, 1, 2]]), truth) == -1
    assert statistics.ranking(np.zeros((3, 3)), truth) is None


def test_what_a_choice_promises_and_keeps():
    """A critic that picks a bad action of the first state and the best one of the second."""
    value, truth = np.array([[0.0, 9, 0], [0, 0, 3]]), np.array([[6.0, 0, 3], [1, 2, 3]])
    assert statistics.choice(value, truth) == {
        **{"mean": 2.5, "picked": 1.5, "best": 4.5},
        **{"promised": pytest.approx((6 + 2) / 2), "kept": pytest.approx((-3 + 1) / 2)},
    }


def test_outside_is_what_the_data_do_not_hold(rng):
    """Fresh draws of the data's own density are outside about as often as 5 %; a shifted action always is."""
    obs, action, group = rng.normal(size=(800, 4)), rng.uniform(-1, 1, (800, 2)), np.repeat(np.arange(80), 10)
    fresh = rng.normal(size=(800, 4)), rng.uniform(-1, 1, (800, 2))
    assert statistics.outside((obs, action), fresh, group).mean() == pytest.approx(0.05, abs=0.03)
    assert statistics.outside((obs, action), (fresh[0], fresh[1] + 9), group).all()


def test_neighbours_of_ones_own_episode_do_not_count():
    """Rows of an episode lie side by side: the distance that counts is that to another episode, here 1."""
    obs = np.array([[0.0], [0.001], [1.0], [1.001]])
    data, group = (obs, np.zeros((4, 1))), np.array([0, 0, 1, 1])
    asked = (np.array([[0.5], [2.5]]), np.zeros((2, 1)))
    np.testing.assert_array_equal(statistics.outside(data, asked, group), [False, True])


def test_an_ant_put_back_into_a_state_goes_on_as_before(rng):
    """Positions, velocities and goal are all: the same actions lead to the same observations."""
    make = for_task(TASKS["antmaze"]["umaze"]).make_env
    env, other = make(), make()
    observation, _ = env.reset(seed=3)
    for _ in range(20):
        observation, *_ = env.step(rng.uniform(-1, 1, 8))
    other.reset(seed=9)
    branches.restore(other, observation)
    for _ in range(5):
        action = rng.uniform(-1, 1, 8)
        expected, found = env.step(action), other.step(action)
        for name in expected[0]:
            np.testing.assert_allclose(found[0][name], expected[0][name], atol=1e-9)
    for each in (env, other):
        each.close()


class Line:
    """A point that actions move along a line; it ends at 3 and pays its place at every step."""

    def __init__(self):
        self.x, self.resets = 0.0, 0

    def reset(self, seed):
        self.x = 0.0
        return {"x": np.array([self.x])}, {}

    def step(self, action):
        self.x += float(action[0])
        return {"x": np.array([self.x])}, self.x, self.x >= 3, False, {}


def put(env, observation):
    env.x = float(observation["x"][0])


def test_branches_take_the_first_action_and_then_the_policys():
    """Five branches in groups of two, each against its own arithmetic: start + first, then + 1 until 3 or 4 steps."""
    starts, first = np.array([0.0, 1, 2, -5, 0.5]), np.array([1.0, -1, 2, 0, 0.25])
    calls = []

    def act(step, obs):
        calls.append(step)
        assert obs["x"].shape == (2, 1)
        return np.ones((2, 1))

    states = [{"x": np.array([x])} for x in starts]
    found = branches.play([Line(), Line()], act, states, first[:, None], steps=4, restore=put)
    for j, (start, a) in enumerate(zip(starts, first, strict=True)):
        places = start + a + np.arange(4)
        length = min(int(np.argmax(places >= 3)) + 1 if (places >= 3).any() else 4, 4)
        np.testing.assert_allclose(found.reward[j], np.where(np.arange(4) < length, places, 0))
        assert (found.length[j], found.terminated[j]) == (length, places[length - 1] >= 3)
        assert found.next_obs[j]["x"] == start + a
    assert len(set(calls)) == len(calls)  # each call of the policy has noise of its own


def test_states_are_those_the_policy_meets_on_time():
    states = branches.visited([Line() for _ in range(4)], lambda step, obs: np.ones((4, 1)), [0, 1, 2, 7])
    # The last one ends at 3 before its time, and keeps the place before.
    assert [float(state["x"][0]) for state in states] == [0, 1, 2, 2]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("runs"))


def diagnose(runner, workdir, *words):
    command = [sys.executable, str(RUN.with_name("diagnose.py")), f"--workdir={workdir}", *words]
    return subprocess.run(command, env=runner.env, text=True, capture_output=True, timeout=300)


def test_a_run_is_diagnosed_in_one_command(runner):
    """State values over three steps: the command's numbers are in the file, on the page and on the screen."""
    workdir = runner.folder / "run"
    critic = {"critic.name": "value", "critic.n_step": 3, "critic.expectile": 0.5, "guidance.name": "exponential"}
    runner(f"--workdir={workdir}", **critic, **{"num_updates": 10, "eval.every": 10})
    small = ["--states=3", "--actions=4", "--steps=6", "--transitions=300", "--lane=1"]
    done = diagnose(runner, workdir, *small)
    assert done.returncode == 0, done.stderr
    report = json.loads((workdir / "diagnostics.json").read_text())
    assert report["held_out"] == "gtp/antmaze/umaze-300-seed1-v0" and report["lane"] == {"seed": 1}
    assert 0 < report["weights"]["effective_share"] <= 1
    assert all(0 <= share <= 1 for share in report["outside"].values())
    assert (
        report["actions"]["critic"] > 0 and report["values"]["error"] > 0 and report["values_of_the_data"]["error"] > 0
    )
    assert f"error {report['values']['error']:.3g}" in done.stdout
    assert (workdir / "diagnostics.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="candidates = 2: critic.name = 'value' values states, not actions; use 1"):
        load_policy(workdir).acting(num_steps=1, temperature=1.0, noise_seed=0, candidates=2)
    for words, said in (
        (["--lane=2"], "--lane=2: .* has 2 trainings"),
        (["--repeats=1"], "--repeats=1 must be at least 2"),
    ):
        refused = diagnose(runner, workdir, *words)
        assert refused.returncode == 2 and re.search(said, refused.stderr) and "Traceback" not in refused.stderr


def test_returns_are_discounted_as_the_diagnosed_training_was():
    spec = importlib.util.spec_from_file_location("diagnose", RUN.with_name("diagnose.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = copy.deepcopy(DEFAULTS) | {"num_seeds": 1}
    settings["sweep"] |= {"discount": (0.9, 0.5)}
    policy = types.SimpleNamespace(settings=settings, lanes=trials.lanes(settings))
    assert [module.discount_of(policy, lane) for lane in (0, 1)] == [0.9, 0.5]
    settings["sweep"] |= {"discount": ()}
    policy = types.SimpleNamespace(settings=settings, lanes=trials.lanes(settings))
    assert module.discount_of(policy, 0) == DEFAULTS["critic"]["discount"]


def test_a_cloning_run_has_nothing_to_diagnose(runner):
    workdir = runner.folder / "cloning"
    runner(f"--workdir={workdir}", **{"guidance.name": "none", "num_updates": 10, "eval.every": 10})
    refused = diagnose(runner, workdir)
    assert refused.returncode == 2 and "this run cloned and has no critic to diagnose" in refused.stderr
