"""Returns of recorded episodes, against sums written out, and transitions over several steps."""

import copy
import re

import jax
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch, settings_with

from gtp_jax.config.settings import DEFAULTS, check
from gtp_jax.datasets import Dataset, returns
from gtp_jax.runs.terminal import Terminal
from gtp_jax.training.loop import Training

EPISODE = np.repeat(np.arange(4, dtype=np.int32), [5, 1, 3, 7])
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


def test_to_go_is_the_discounted_sum_to_the_episodes_end(batch):
    total = returns.to_go(batch.reward, EPISODE, GAMMA)
    for i in range(16):
        rest = batch.reward[i : np.flatnonzero(EPISODE[i] == EPISODE)[-1] + 1]
        assert total[i] == pytest.approx(sum(GAMMA**k * r for k, r in enumerate(rest)), rel=1e-6)


def test_what_came_after_goes_on_behind_time_outs_alone(batch):
    """For each row but the last of its episode: the rewards from the next one on, then the value where time ran out."""
    rows = np.flatnonzero(np.diff(EPISODE) == 0)[::-1]
    found = returns.after(batch, EPISODE, rows, GAMMA, lambda rest: rest.next_obs[:, 0])
    for row, total in zip(rows, found, strict=True):
        end = np.flatnonzero(EPISODE[row] == EPISODE)[-1]
        rest = [GAMMA**k * r for k, r in enumerate(batch.reward[row + 1 : end + 1])]
        beyond = GAMMA ** len(rest) * batch.discount[end] * batch.next_obs[end, 0]
        assert total == pytest.approx(sum(rest) + beyond, rel=1e-5)


@pytest.mark.parametrize("steps", [0, 2, 3, 6, 100])
def test_n_steps_by_hand(batch, steps):
    """Reward, bootstrap factor and state after m = min(n, what is left) steps, one loop for each row."""
    many = returns.n_step(batch, EPISODE, steps, GAMMA)
    np.testing.assert_array_equal(many.obs, batch.obs)
    np.testing.assert_array_equal(many.action, batch.action)
    assert {column.dtype for column in jax.tree.leaves(many)} == {np.dtype(np.float32)}
    for t in range(16):
        end = np.flatnonzero(EPISODE[t] == EPISODE)[-1]
        last = min(t + (steps or 100) - 1, end)
        reward, factor = 0.0, 1.0
        for k in range(t, last + 1):
            reward += factor * batch.reward[k]
            factor *= GAMMA * batch.discount[k]
        assert many.reward[t] == pytest.approx(reward, abs=1e-5)
        # An update multiplies `discount` by gamma once.
        assert GAMMA * many.discount[t] == pytest.approx(factor, rel=1e-5, abs=1e-9)
        np.testing.assert_array_equal(many.next_obs[t], batch.next_obs[last])


def test_one_step_is_the_data(batch):
    assert returns.n_step(batch, EPISODE, 1, GAMMA) is batch


def test_values_that_are_consistent_in_one_step_are_so_in_n(batch):
    """If V(s_t) = r_t + gamma discount_t V(s_t+1) everywhere, then every n-step return is V(s_t), too."""
    value, next_value = np.random.default_rng(1).normal(size=(2, 16))
    next_value[:-1] = np.where(np.diff(EPISODE) == 0, value[1:], next_value[:-1])
    batch = batch._replace(reward=(value - GAMMA * batch.discount * next_value).astype(np.float32))
    last = returns.ends(EPISODE)
    for steps in (1, 2, 4, 0):
        many = returns.n_step(batch, EPISODE, steps, GAMMA)
        reached = np.minimum(np.arange(16) + (steps or 100) - 1, last)
        found = many.reward + GAMMA * many.discount * next_value[reached]
        np.testing.assert_allclose(found, value, atol=1e-5)


def test_a_run_trains_on_the_transitions_its_settings_ask_for(batch, tmp_path):
    """critic.n_step and critic.discount decide what lies on the device; the data set itself is left as it is."""
    ones = np.ones(2, np.float32)
    dataset = Dataset("mujoco/hopper/x-v0", batch, EPISODE, None, -ones, ones, "", {}, None, None)
    for steps in (1, 3):
        settings = settings_with(critic__n_step=steps, critic__discount=GAMMA, num_seeds=1, batch_size=8)
        training = Training(settings, tmp_path, dataset, Terminal())
        assert_trees_equal(jax.device_get(training.engine.data), returns.n_step(batch, EPISODE, steps, GAMMA))
        training.close()
    with pytest.raises(ValueError, match="'test/x-v0' has no D4RL reference scores"):
        Training(settings, tmp_path, dataset._replace(id="test/x-v0"), Terminal())


def test_a_swept_discount_and_summed_returns_are_refused():
    settings = copy.deepcopy(DEFAULTS)
    settings["critic"]["n_step"] = 5
    check(settings)
    settings["sweep"]["discount"] = (0.9, 0.99)
    with pytest.raises(ValueError, match=re.escape("sweep.discount = (0.9, 0.99) cannot go with critic.n_step = 5")):
        check(settings)
