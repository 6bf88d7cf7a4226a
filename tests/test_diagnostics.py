"""`gtp-jax diagnose`: its statistics on problems with known answers, AntMaze put back into a state, and the command."""

import json
import shutil

import numpy as np
import pytest
from toy import Untrained

from gtp_jax.commands import main
from gtp_jax.datasets.builtin.ids import COLLECTIONS
from gtp_jax.diagnosis import branches, statistics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_calibration_of_a_critic_that_is_off_by_two(rng):
    truth = rng.normal(3, 5, 10_000)
    found = statistics.calibration(truth + 2, truth)
    assert found == pytest.approx({"bias": 2, "error": 2, "spread": truth.std(), "correlation": 1})
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
    expected = {"mean": 2.5, "picked": 1.5, "best": 4.5, "promised": (6 + 2) / 2, "kept": (-3 + 1) / 2}
    assert statistics.choice(value, truth) == pytest.approx(expected)


def test_outside_is_what_the_data_do_not_hold(rng):
    """Fresh draws of the data's own density are outside about as often as 5 %; a shifted action always is."""
    obs, action, group = rng.normal(size=(800, 4)), rng.uniform(-1, 1, (800, 2)), np.repeat(np.arange(80), 10)
    fresh = rng.normal(size=(800, 4)), rng.uniform(-1, 1, (800, 2))
    assert statistics.outside((obs, action), fresh, group) == pytest.approx(0.05, abs=0.03)
    assert statistics.outside((obs, action), (fresh[0], fresh[1] + 9), group) == 1
    # Rows of an episode lie side by side: the distance that counts is that to another episode, here 1.
    data, group = (np.array([[0.0], [0.001], [1.0], [1.001]]), np.zeros((4, 1))), np.array([0, 0, 1, 1])
    for place, share in ((0.5, 0), (2.5, 1)):
        assert statistics.outside(data, (np.array([[place]]), np.zeros((1, 1))), group) == share


def test_an_ant_put_back_into_a_state_goes_on_as_before(rng):
    """Positions, velocities and goal are all: the same actions lead to the same observations."""
    env, other = (COLLECTIONS["antmaze"]["umaze"].eval_env().make_env() for _ in range(2))
    observation, _ = env.reset(seed=3)
    for _ in range(20):
        observation, *_ = env.step(rng.uniform(-1, 1, 8))
    other.reset(seed=9)
    branches.restore(other, observation)
    for action in rng.uniform(-1, 1, (5, 8)):
        expected, found = env.step(action), other.step(action)
        for name in expected[0]:
            np.testing.assert_allclose(found[0][name], expected[0][name], atol=1e-9)
    env.close()
    other.close()


class Line:
    """A point that actions move along a line; an episode ends at 3, and each step pays the position."""

    x = 0.0

    def reset(self, seed):
        self.x = 0.0
        return {"x": np.array([self.x])}, {}

    def step(self, action):
        self.x += float(action[0])
        return {"x": np.array([self.x])}, self.x, self.x >= 3, False, {}


def test_branches_take_the_first_action_and_then_the_policys():
    """Five branches in groups of two, each against its own arithmetic: start + first, then + 1 until 3 or 4 steps."""
    starts, first = np.array([0.0, 1, 2, -5, 0.5]), np.array([1.0, -1, 2, 0, 0.25])
    calls = []

    def act(step, obs):
        calls.append(step)
        assert obs["x"].shape == (2, 1)
        return np.ones((2, 1))

    def restore(env, observation):
        env.x = float(observation["x"][0])

    states = [{"x": np.array([x])} for x in starts]
    found = branches.play([Line(), Line()], act, states, first[:, None], steps=4, restore=restore)
    for j, (start, a) in enumerate(zip(starts, first, strict=True)):
        positions = start + a + np.arange(4)
        length = min(int(np.argmax(positions >= 3)) + 1 if (positions >= 3).any() else 4, 4)
        np.testing.assert_allclose(found.reward[j], np.where(np.arange(4) < length, positions, 0))
        assert (found.length[j], found.terminated[j]) == (length, positions[length - 1] >= 3)
        assert found.next_obs[j]["x"] == start + a
    assert len(set(calls)) == len(calls)  # each call of the policy has noise of its own


def test_states_are_those_the_policy_meets_on_time():
    states = branches.visited([Line() for _ in range(4)], lambda step, obs: np.ones((4, 1)), [0, 1, 2, 7])
    # The last one ends at 3 before its time, and keeps the position before.
    assert [float(state["x"][0]) for state in states] == [0, 1, 2, 2]


def test_a_run_is_diagnosed_in_one_command(whole, runner, tmp_path, monkeypatch, capsys):
    """The command's numbers are in the file, on the page and on the screen."""
    run = shutil.copytree(whole[0], tmp_path / "run")
    monkeypatch.setenv("MINARI_DATASETS_PATH", runner.env["MINARI_DATASETS_PATH"])
    words = [f"--workdir={run}", "--states=2", "--actions=2", "--steps=4", "--transitions=300", "--trial=1"]
    assert main(["diagnose", *words]) == 0
    report, out = json.loads((run / "diagnostics.json").read_text()), capsys.readouterr().out
    assert report["held_out"] == "gtp/antmaze/umaze-300-seed1-v0" and report["trial"] == {"seed": 1}
    assert 0 < report["weights"]["effective_share"] <= 1 and report["actions"]["critic"] > 0
    assert all(0 <= share <= 1 for share in report["outside"].values())
    assert all(report[name]["error"] > 0 for name in ("values", "values_of_the_data"))
    assert f"error {report['values']['error']:.3g}" in out
    assert (run / "diagnostics.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_diagnosed_is_refused(tmp_path, monkeypatch, refused):
    for settings, trial, says in (
        ({"guidance__name": "none"}, 0, "this run cloned and has no critic to diagnose"),
        ({}, 1, "--trial=1: this run has 1 trial,"),
        ({"data__reward": "standardise"}, 0, "data.reward = 'standardise' depends on all data"),
        ({"dataset": "D4RL/antmaze/umaze-v1"}, 0, "only built-in AntMaze data can be collected anew"),
    ):
        Untrained(tmp_path / says, **settings)
        assert says in refused("diagnose", f"--workdir={tmp_path / says}", f"--trial={trial}")
