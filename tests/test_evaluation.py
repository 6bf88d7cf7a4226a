"""Rollouts in worlds with known outcomes: every episode once, the same set always, nothing counted twice."""

import gymnasium
import numpy as np
import pytest

from gtp_jax.envs.evaluation import Evaluator


class World(gymnasium.Env):
    """An episode whose outcome is a function of its reset seed, and whose reward is the action.

    An even seed terminates at step 3 + seed % 5, an odd one ends after 12 steps, by its time limit. `success` is
    reported at steps 2 and 3, no more, unless seed % 4 is 3. The observation is (seed, step).
    """

    resets: list = []  # of all worlds, emptied by the fixture
    closed = 0

    def reset(self, *, seed=None, options=None):
        self.seed, self.steps = seed, 0
        World.resets.append(seed)
        return self.observation(), {}

    def observation(self):
        return np.array([self.seed % 1000, self.steps], np.float32)

    def step(self, action):
        self.steps += 1
        even, last = self.seed % 2 == 0, self.steps == expected(self.seed)[1]
        info = {"success": self.seed % 4 != 3 and self.steps in (2, 3)}
        return self.observation(), float(action[0]), even and last, not even and last, info

    def close(self):
        World.closed += 1


@pytest.fixture(autouse=True)
def fresh():
    World.resets.clear()
    World.closed = 0


def expected(resets):
    """Success and length that reset seeds stand for."""
    resets = np.asarray(resets)
    return resets % 4 != 3, np.where(resets % 2, 12, 3 + resets % 5)


def constant(step, obs):
    return np.full((*obs.shape[:2], 1), 0.5)


def play(num_envs, num_episodes, act=constant, world=World, observe=lambda obs: obs, position=None):
    evaluator = Evaluator(world, observe, (0, 1), num_envs, position)
    episodes = evaluator(act, num_episodes)
    evaluator.close()
    return episodes


def reset_seeds(num_episodes):
    """Of the episodes of the seeds 0 and 1, as they have always been."""
    sequences = [[np.random.SeedSequence((1_000_003, seed, i)) for i in range(num_episodes)] for seed in (0, 1)]
    return np.array([[sequence.generate_state(1)[0] for sequence in each] for each in sequences])


@pytest.mark.parametrize(("num_envs", "cores"), [(1, 1), (3, 8), (4, 1), (10, 2), (50, 8)])
def test_outcomes_are_exact_whatever_the_number_of_environments_and_threads(monkeypatch, num_envs, cores):
    """And every seed acts with its own policy, at numbered steps."""
    numbers, own = [], np.array([[0.5], [-2.0]])

    def act(step, obs):
        assert obs.shape == (2, min(num_envs, 10), 2)
        numbers.append(step)
        return np.broadcast_to(own[:, None], (*obs.shape[:2], 1))

    monkeypatch.setattr("os.cpu_count", lambda: cores)
    resets = reset_seeds(10)
    success, length = expected(resets)
    assert 0 < success.mean() < 1  # or the test would say little
    episodes = play(num_envs, 10, act=act)
    np.testing.assert_array_equal(episodes.success, success)
    np.testing.assert_array_equal(episodes.length, length)
    np.testing.assert_array_equal(episodes.returns, own * length)
    assert numbers == list(range(len(numbers)))
    assert episodes.success.dtype == bool and episodes.returns.dtype == np.float64
    assert sorted(World.resets) == sorted(resets.ravel())  # each of them once, and no other


@pytest.mark.parametrize("given", [{}, {"success": "False"}, {"success": float("nan")}])
def test_a_score_by_success_needs_success(given):
    class Reports(World):
        def step(self, action):
            return *super().step(action)[:4], dict(given)

    evaluator = Evaluator(Reports, lambda obs: obs, (0,), num_envs=2, by_success=True)
    with pytest.raises(ValueError, match=r'info\["success"\](, by which| = .* must be True or False)'):
        evaluator(constant, 2)
    evaluator.close()


def test_every_evaluation_plays_the_same_episodes_and_more_of_them_begin_with_fewer():
    evaluator = Evaluator(World, lambda obs: obs, (0, 1), num_envs=3)
    first, fewer, again = (evaluator(constant, num_episodes) for num_episodes in (8, 2, 8))
    evaluator.close()
    np.testing.assert_array_equal(first.length, again.length)
    np.testing.assert_array_equal(first.length[:, :2], fewer.length)
    assert (first.length[0] != first.length[1]).any()
    assert World.closed == 6  # made once, closed once


def test_the_policy_sees_the_current_observation_of_its_own_environment():
    """The reward is the action, the action the observation: the returns tell what that was."""
    resets = reset_seeds(7)
    _, length = expected(resets)
    episodes = play(3, 7, act=lambda step, obs: obs[..., :1])
    np.testing.assert_array_equal(episodes.returns, length * (resets % 1000))
    episodes = play(3, 7, act=lambda step, obs: obs[..., 1:])
    np.testing.assert_array_equal(episodes.returns, length * (length - 1) / 2)


def test_dict_observations_and_positions():
    class GoalWorld(World):
        """The ant walks along x by its action."""

        def observation(self):
            return {"observation": super().observation(), "achieved_goal": np.array([float(self.steps), self.seed % 7])}

    episodes = play(2, 5, world=GoalWorld, observe=lambda obs: obs["observation"])
    for s, e in np.ndindex(2, 5):
        positions = episodes.positions[s][e]
        np.testing.assert_array_equal(positions[:, 0], np.arange(episodes.length[s, e] + 1))
        assert (positions[:, 1] == positions[0, 1]).all()
    assert play(2, 5).positions[0][0].shape == (0, 2)
    flat = play(2, 5, position=slice(0, 2))
    np.testing.assert_array_equal(flat.positions[1][4][:, 1], np.arange(flat.length[1, 4] + 1))


def test_an_episode_without_end_is_an_error(monkeypatch):
    class Endless(World):
        def step(self, action):
            return np.zeros(2, np.float32), 0.0, False, False, {}

    monkeypatch.setattr("gtp_jax.envs.specs.MOST_STEPS", 50)
    evaluator = Evaluator(Endless, lambda obs: obs, (0,), num_envs=1)
    with pytest.raises(RuntimeError, match="an episode of 50 steps has not ended; wrap the environment in"):
        evaluator(constant, 1)
    evaluator.close()


def test_an_action_that_is_not_finite_ends_its_episode_without_a_return():
    episodes = play(2, 3, act=lambda step, obs: constant(step, obs) * np.array([1, np.nan])[:, None, None])
    np.testing.assert_array_equal(np.isnan(episodes.returns), [[False] * 3, [True] * 3])
    assert (episodes.length[1] == 0).all() and not episodes.success[1].any()
