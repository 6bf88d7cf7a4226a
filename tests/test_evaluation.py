"""Rollouts in worlds with known outcomes: every episode once, the same set always, nothing counted twice."""

import threading

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gtp_jax.envs.evaluation import Evaluator


class World(gymnasium.Env):
    """An episode whose outcome is a function of its reset seed, and whose reward is the action.

    An even seed succeeds: `success` is reported at steps 2 and 3, no more, and it terminates at step 3 + seed % 5. An
    odd one fails after 12 steps, by its time limit. The observation is (seed, step).
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Box(-1, 1, (1,))
    resets: list = []  # of all worlds, emptied by the fixture
    closed = 0

    def reset(self, *, seed=None, options=None):
        self.seed, self.steps = seed, 0
        World.resets.append(seed)
        return self.observation(), {}

    def observation(self):
        return np.array([self.seed % 1000, self.steps], np.float32)

    def length(self):
        return 12 if self.seed % 2 else 3 + self.seed % 5

    def step(self, action):
        self.steps += 1
        good, last = self.seed % 2 == 0, self.steps == self.length()
        info = {"success": good and self.steps in (2, 3)}
        return self.observation(), float(action[0]), good and last, not good and last, info

    def close(self):
        World.closed += 1


class GoalWorld(World):
    """The same with dict observations: the ant walks along x by its action."""

    def observation(self):
        return {"observation": super().observation(), "achieved_goal": np.array([float(self.steps), self.seed % 7])}


@pytest.fixture(autouse=True)
def fresh():
    World.resets.clear()
    World.closed = 0


def constant(value=0.5):
    return lambda step, obs: np.full((*obs.shape[:2], 1), value)


def play(num_envs, num_episodes, seeds=(0, 1), act=None, world=World, observe=lambda obs: obs):
    evaluator = Evaluator(world, observe, seeds, num_envs=num_envs)
    episodes = evaluator(act or constant(), num_episodes)
    evaluator.close()
    return episodes


def expected(resets):
    """Success and length that the reset seeds [S, E] stand for."""
    resets = np.asarray(resets)
    return resets % 2 == 0, np.where(resets % 2, 12, 3 + resets % 5)


def serial_resets(num_episodes, seeds=(0, 1)):
    """The reset seeds in the order of the episodes, from one environment for each seed played alone."""
    found = []
    for seed in seeds:
        World.resets.clear()
        play(1, num_episodes, (seed,))
        found.append(list(World.resets))
    World.resets.clear()
    return found


@pytest.mark.parametrize("num_envs", [1, 3, 4, 10, 50])
def test_outcomes_are_exact_whatever_the_number_of_environments(num_envs):
    resets = serial_resets(10)
    assert [len(row) for row in resets] == [10, 10] and len(set(sum(resets, []))) == 20
    success, length = expected(resets)
    assert 0 < success.mean() < 1  # or the test would say little
    episodes = play(num_envs, 10)
    np.testing.assert_array_equal(episodes.success, success)
    np.testing.assert_array_equal(episodes.length, length)
    np.testing.assert_array_equal(episodes.returns, 0.5 * length)
    assert episodes.success.dtype == bool and episodes.returns.dtype == np.float64
    assert sorted(World.resets) == sorted(sum(resets, []))  # each of them once, and no other


def test_short_episodes_do_not_crowd_out_long_ones():
    """Successes take a third of a failure's time. Of whatever ends first, too many are successes; of a set, none."""
    num_episodes = 60
    success, length = expected(serial_resets(num_episodes, (0,)))
    episodes = play(5, num_episodes, (0,))
    assert episodes.success.mean() == success.mean()
    # What the usual loop counts: the first 60 episodes to end among 5 environments that go on with new ones.
    assert length[success].mean() < 0.5 * length[~success].mean()


def test_a_seeds_episodes_do_not_depend_on_other_seeds_or_on_more_episodes():
    both, alone, more = play(4, 10, (0, 1)), play(4, 10, (1,)), play(4, 20, (1,))
    np.testing.assert_array_equal(both.length[1], alone.length[0])
    np.testing.assert_array_equal(more.length[0, :10], alone.length[0])
    assert (both.length[0] != both.length[1]).any()


def test_every_evaluation_of_an_evaluator_plays_the_same_episodes():
    evaluator = Evaluator(World, lambda obs: obs, (0, 1), num_envs=3)
    first, fewer, again = evaluator(constant(), 8), evaluator(constant(), 2), evaluator(constant(), 8)
    evaluator.close()
    np.testing.assert_array_equal(first.length, again.length)
    np.testing.assert_array_equal(first.length[:, :2], fewer.length)
    assert World.closed == 6  # made once, closed once


def test_every_seed_acts_with_its_own_policy():
    def act(step, obs):
        assert obs.shape == (3, 4, 2)
        return np.broadcast_to(np.array([0.0, 1.0, -2.0])[:, None, None], (3, 4, 1))

    episodes = play(4, 6, (5, 6, 7), act)
    np.testing.assert_array_equal(episodes.returns, episodes.length * np.array([[0.0], [1.0], [-2.0]]))


def test_the_policy_sees_the_current_observation_of_its_own_environment():
    """The reward is the action, the action what was seen: the returns tell what that was."""
    resets = np.array(serial_resets(7))
    _, length = expected(resets)
    episodes = play(3, 7, act=lambda step, obs: obs[..., :1])
    np.testing.assert_array_equal(episodes.returns, length * (resets % 1000))
    episodes = play(3, 7, act=lambda step, obs: obs[..., 1:])
    np.testing.assert_array_equal(episodes.returns, length * (length - 1) / 2)


def test_steps_are_numbered_from_zero():
    numbers = []

    def act(step, obs):
        numbers.append(step)
        return np.zeros((*obs.shape[:2], 1))

    play(2, 6, act=act)
    assert numbers == list(range(len(numbers)))


def test_dict_observations_and_ways():
    episodes = play(2, 5, world=GoalWorld, observe=lambda obs: obs["observation"])
    for s in range(2):
        for e in range(5):
            way = episodes.positions[s][e]
            np.testing.assert_array_equal(way[:, 0], np.arange(episodes.length[s, e] + 1))
            assert (way[:, 1] == way[0, 1]).all()
    assert play(2, 5).positions[0][0].shape == (0, 2)


def test_threads_do_not_change_anything(monkeypatch):
    """More threads than environments, stepping in whatever order they like."""
    barrier = threading.Event()

    class Slow(World):
        def step(self, action):
            barrier.wait(0.001 * (self.seed % 3))
            return super().step(action)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    one = play(3, 6, world=Slow)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    many = play(3, 6, world=Slow)
    for name in ("returns", "success", "length"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


def test_success_within_the_time_limit_counts_even_if_the_episode_then_fails():
    class Leaves(World):
        """Reaches the goal at step 2, leaves it again and runs into its time limit."""

        def step(self, action):
            self.steps += 1
            return self.observation(), 0.0, False, self.steps == 5, {"success": self.steps == 2}

    class Never(World):
        def step(self, action):
            self.steps += 1
            return self.observation(), 0.0, False, self.steps == 5, {}

    assert play(2, 4, world=Leaves).success.all()
    assert not play(2, 4, world=Never).success.any()
