"""Episodes added with other goals: which, where they end, and what they leave as it was."""

import numpy as np
import pytest
import stored

from gtp_jax import datasets
from gtp_jax.datasets import hindsight
from gtp_jax.datasets.antmaze import UMAZE
from gtp_jax.datasets.minari import Raw

GOAL = np.array(UMAZE.goal_xy)


def raw(*walks, asked=GOAL):
    """Episodes that were at walks[e] [steps + 1, 2], as stored; actions and joints tell where each row came from."""
    steps = [len(walk) - 1 for walk in walks]
    last = np.concatenate([np.arange(count) == count - 1 for count in steps])
    return Raw(
        observations={
            "achieved_goal": np.concatenate(walks).astype(np.float32),
            "desired_goal": np.repeat(np.broadcast_to(asked, (len(walks), 2)), np.add(steps, 1), 0).astype(np.float32),
            "observation": np.arange(27.0 * (sum(steps) + len(steps)), dtype=np.float32).reshape(-1, 27),
        },
        action=np.arange(2.0 * sum(steps), dtype=np.float32).reshape(-1, 2),
        reward=last.astype(np.float64),
        terminated=last,
        truncated=np.zeros(sum(steps), bool),
        episode=np.repeat(np.arange(len(walks), dtype=np.int32), steps),
        step=np.concatenate([np.arange(count, dtype=np.int32) for count in steps]),
        action_low=-np.ones(2),
        action_high=np.ones(2),
        metadata={},
        fingerprint="",
    )


def episodes(raw):
    """(rows of the first episodes' actions, goal, rewards, terminated, truncated) of each episode."""
    first = np.flatnonzero(raw.step == 0)
    for number, (start, end) in enumerate(zip(first, np.append(first[1:], len(raw.step)), strict=True)):
        goals = raw.observations["desired_goal"][start + number : end + number + 1]
        assert (goals == goals[0]).all() and (raw.step[start:end] == np.arange(end - start)).all()
        columns = (raw.action[start:end, 0] / 2, goals[0], raw.reward[start:end])
        yield *columns, raw.terminated[start:end], raw.truncated[start:end]


def line(steps, metres):
    """A walk along x from the origin."""
    return np.stack([metres * np.arange(steps + 1), np.zeros(steps + 1)], 1)


def test_added_episodes_end_where_their_goal_first_came_within_reach():
    """Steps of 0.3 m and a reach of 0.45 m: a goal of time t is reached one step before, at time t - 1."""
    before = raw(line(9, 0.3), line(4, 0.3))
    after = hindsight.relabel(before, UMAZE, goals=200, evaluated=False)
    for column in ("action", "reward", "terminated", "truncated", "episode", "step"):
        np.testing.assert_array_equal(getattr(after, column)[:13], getattr(before, column))
    for key, part in before.observations.items():
        np.testing.assert_array_equal(after.observations[key][:15], part)
    seen = set()
    for rows, goal, reward, terminated, truncated in list(episodes(after))[2:]:
        walk = 0 if rows[0] == 0 else 9
        steps = len(rows)
        np.testing.assert_array_equal(rows, walk + np.arange(steps))
        np.testing.assert_allclose(goal, [0.3 * (steps + 1), 0], atol=1e-6)
        np.testing.assert_array_equal(reward, np.arange(steps) == steps - 1)
        np.testing.assert_array_equal(terminated, reward)
        assert not truncated.any()
        seen.add((walk, steps))
    # Times 2 to 9 of the first walk, 2 to 4 of the second; at time 1 the ant was within reach from the start.
    assert seen == {(0, steps) for steps in range(1, 9)} | {(9, steps) for steps in range(1, 4)}


def test_the_times_are_drawn_evenly_and_again_alike():
    walk = raw(line(40, 1.0))
    lengths = [np.bincount(hindsight.relabel(walk, UMAZE, 4000, False, seed).episode)[1:] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(lengths[0], lengths[1])
    assert (lengths[0] != lengths[2]).any()
    counts = np.bincount(lengths[0], minlength=41)[1:]
    assert counts.sum() == 4000 and counts.min() > 60 and counts.max() < 145  # 100 each, four deviations either way


def test_rows_of_an_added_episode_are_those_of_its_walk():
    before = raw(line(5, 1.0), line(6, 1.0))
    after = hindsight.relabel(before, UMAZE, goals=3, evaluated=False)
    for number in range(2, int(after.episode[-1]) + 1):
        rows = np.flatnonzero(after.episode == number)
        source = (after.action[rows, 0] / 2).astype(int)
        walk = before.episode[source[0]]
        obs = np.append(rows, rows[-1] + 1) + number
        for key in ("achieved_goal", "observation"):
            wanted = before.observations[key][np.append(source, source[-1] + 1) + walk]
            np.testing.assert_array_equal(after.observations[key][obs], wanted)


def test_the_evaluated_goal_is_added_where_another_was_asked_for():
    centre = GOAL + line(8, 0.5)[::-1] + [0.2, 0.1]  # ends 0.2 and 0.1 m from the centre
    away = line(5, 0.1)
    after = hindsight.relabel(raw(centre, away, asked=(4.0, -4.0)), UMAZE, 0, evaluated=True)
    (rows, goal, reward, terminated, truncated), failed = list(episodes(after))[2:]
    near = np.linalg.norm(centre - goal, axis=1) <= 0.45
    assert np.abs(goal - GOAL).max() <= 1 and len(rows) == near.argmax() and near.any()
    np.testing.assert_array_equal(reward, np.arange(len(rows)) == len(rows) - 1)
    np.testing.assert_array_equal(terminated, reward)
    assert not truncated.any()
    rows, goal, reward, terminated, truncated = failed
    np.testing.assert_array_equal(rows, 8 + np.arange(5))
    assert np.abs(goal - GOAL).max() <= 1 and not reward.any() and not terminated.any()
    np.testing.assert_array_equal(truncated, np.arange(5) == 4)


def test_nothing_is_added_where_the_evaluated_goal_was_asked_for():
    asked = raw(line(5, 1.0), asked=GOAL + [1.0, -1.0])
    assert hindsight.relabel(asked, UMAZE, 0, evaluated=True) is asked
    assert len(hindsight.relabel(raw(line(5, 1.0), asked=GOAL + [1.1, 0]), UMAZE, 0, evaluated=True).step) == 10


def test_loaded_data_hold_their_own_episodes_first(tmp_path):
    """By them all are standardised; behaviour and fingerprint are theirs, too."""
    plain = datasets.load("gtp/antmaze/umaze-diverse-600-v0", root=tmp_path, workers=1)
    more = datasets.load("gtp/antmaze/umaze-diverse-600-v0", root=tmp_path, hindsight=2, evaluated_goal=True)
    assert more.observe.spec() == plain.observe.spec()
    assert len(more.batch.reward) > 1200 and more.episode[-1] > plain.episode[-1]
    for column, wanted in zip(more.batch, plain.batch, strict=True):
        np.testing.assert_array_equal(column[:600], wanted)
    assert more.fingerprint == plain.fingerprint
    assert more.summary["behaviour_success"] == plain.summary["behaviour_success"]
    assert more.summary["transitions_stored"] == 600 and more.summary["transitions"] == len(more.batch.reward)
    ends = np.append(np.flatnonzero(np.diff(more.episode)), len(more.episode) - 1)
    added = ends[ends >= 600]
    np.testing.assert_array_equal(more.batch.reward[added], 1 - more.batch.discount[added])


def test_goals_are_refused_where_there_are_none(tmp_path):
    stored.write(tmp_path, "test/x-v0", [stored.episode(3)])
    for asked in ({"hindsight": 4}, {"evaluated_goal": True}):
        with pytest.raises(ValueError, match="test/x-v0: hindsight = .* ask for other goals, and there is no one goal"):
            datasets.load("test/x-v0", root=tmp_path, **asked)
