"""Returns of recorded episodes, against sums written out, transitions over several steps, and subgoals."""

import jax
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch

from gtp_jax.config.settings import Settings
from gtp_jax.datasets import Dataset, Positions, returns
from gtp_jax.diagnosis import statistics
from gtp_jax.training.loop import training_batch

EPISODE = np.repeat(np.arange(4, dtype=np.int32), [5, 1, 3, 7])
END = np.array([np.flatnonzero(EPISODE[t] == EPISODE)[-1] for t in range(16)])
GAMMA = 0.8


@pytest.fixture
def batch():
    """Four episodes; the first two end terminated, the others at a time-out. next_obs is the following row's obs."""
    batch = random_batch(16)
    discount = np.ones(16, np.float32)
    discount[[4, 5]] = 0
    inside = np.flatnonzero(np.diff(EPISODE) == 0)
    batch.next_obs[inside] = batch.obs[inside + 1]
    return batch._replace(discount=discount)


def test_what_came_after_goes_on_behind_time_outs_alone(batch):
    """For each row but the last of its episode: the rewards from the next one on, then the value where time ran out."""
    rows = np.flatnonzero(np.diff(EPISODE) == 0)[::-1]
    found = statistics.returns_after(batch, EPISODE, rows, GAMMA, lambda rest: rest.next_obs[:, 0])
    for row, total in zip(rows, found, strict=True):
        rest = [GAMMA**k * r for k, r in enumerate(batch.reward[row + 1 : END[row] + 1])]
        beyond = GAMMA ** len(rest) * batch.discount[END[row]] * batch.next_obs[END[row], 0]
        assert total == pytest.approx(sum(rest) + beyond, rel=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 6, 100])
def test_n_steps_by_hand(batch, steps):
    """Reward, bootstrap factor and state after m = min(n, what is left) steps, one loop for each row."""
    many = returns.n_step(batch, EPISODE, steps, GAMMA)
    assert many.obs is batch.obs and many.action is batch.action
    assert {column.dtype for column in jax.tree.leaves(many)} == {np.dtype(np.float32)}
    for t in range(16):
        last = min(t + (steps or 100) - 1, END[t])
        reward, factor = 0.0, 1.0
        for k in range(t, last + 1):
            reward += factor * batch.reward[k]
            factor *= GAMMA * batch.discount[k]
        assert many.reward[t] == pytest.approx(reward, abs=1e-5)
        # An update multiplies `discount` by gamma once.
        assert GAMMA * many.discount[t] == pytest.approx(factor, rel=1e-5, abs=1e-9)
        np.testing.assert_array_equal(many.next_obs[t], batch.next_obs[last])


@pytest.mark.parametrize("steps", [1, 3, 6, 100])
def test_a_subgoal_is_the_displacement_to_a_later_position_or_to_the_goal(batch, steps):
    """One loop for each row; the last rows of an episode that terminated aim at the goal, which lies beyond its end."""
    here, to = np.random.default_rng(2).normal(size=(2, 16, 2)).astype(np.float32)
    after = np.where(np.arange(16)[:, None] < END[:, None], np.roll(here, -1, axis=0), here + 1)
    positions = Positions(here, after, to)
    found = returns.future_subgoals(positions, batch.discount, EPISODE, steps)
    assert found.dtype == np.float32 and found.shape == (16, 2)
    for t in range(16):
        last = min(t + steps - 1, END[t])
        terminated = EPISODE[t] < 2 and last == END[t]
        np.testing.assert_array_equal(found[t], to[t] if terminated else after[last] - here[t])


def test_a_run_trains_on_the_transitions_its_settings_ask_for(batch):
    """Over critic.n_step steps discounted by critic.discount, and with subgoals policy.subgoal_steps ahead, if any."""
    ones, positions = np.ones(2, np.float32), Positions(*np.random.default_rng(2).normal(size=(3, 16, 2)))
    named = Dataset("mujoco/hopper/x-v0", batch, EPISODE, None, -ones, ones, "", {}, None, positions=positions)
    for changes, steps, ahead in (({}, 1, 0), ({"critic.n_step": 3}, 3, 0), ({"policy.subgoal_steps": 2}, 1, 2)):
        settings = Settings().replace({"critic.discount": GAMMA, "batch_size": 8} | changes)
        expected = returns.n_step(batch, EPISODE, steps, GAMMA)
        if ahead:
            subgoal = returns.future_subgoals(positions, batch.discount, EPISODE, ahead)
            expected = expected._replace(subgoal=subgoal)
        assert_trees_equal(training_batch(settings, named), expected)
