"""Scores against closed forms, and intervals against the coverage they promise."""

import json

import numpy as np
import pytest

from gtp_jax.config import tasks
from gtp_jax.runs import scores


@pytest.mark.parametrize(
    ("dataset_id", "family"),
    [
        ("gtp/antmaze/umaze-v0", "antmaze"),
        ("D4RL/antmaze/large-diverse-v1", "antmaze"),
        ("mujoco/hopper/medium-v0", "hopper"),
        ("D4RL/pen/human-v2", "pen"),
        ("D4RL/maze2d/medium-v1", "maze2d-medium"),
    ],
)
def test_family_of_a_dataset_id(dataset_id, family):
    assert scores.family(dataset_id) == family


@pytest.mark.parametrize("dataset_id", ["mujoco/pusher/expert-v0", "hopper", "", "D4RL/maze2d/open-v0"])
def test_an_unknown_family_is_named_with_the_known_ones(dataset_id):
    with pytest.raises(ValueError, match=r"no D4RL reference.*halfcheetah, hopper"):
        scores.family(dataset_id)


def test_a_goal_needs_no_references():
    """Success is the score wherever there is a goal, whatever the data are called; a return needs its family's."""
    np.testing.assert_array_equal(scores.of_episodes("mine/maze-v0", [5.0, 7.0], [True, False]), [100, 0])
    np.testing.assert_allclose(scores.of_episodes("mujoco/hopper/medium-v0", [3234.3], None), [100.0])
    with pytest.raises(ValueError, match="no D4RL reference"):
        scores.of_episodes("mine/maze-v0", [5.0], None)


@pytest.mark.parametrize("family", tasks.REFERENCES)
def test_references_score_0_and_100(family):
    np.testing.assert_allclose(scores.normalised(family, tasks.REFERENCES[family]), [0.0, 100.0], atol=1e-12)


def test_normalised_is_linear_and_keeps_shape():
    returns = np.array([[0, 1], [1, 0]], np.float32)
    np.testing.assert_array_equal(scores.normalised("antmaze", returns), 100.0 * returns)
    # Half way between hopper's references.
    np.testing.assert_allclose(scores.normalised("hopper", (-20.272305 + 3234.3) / 2), 50.0)
    with pytest.raises(ValueError, match=r"'Hopper'.*hopper"):
        scores.normalised("Hopper", returns)


def test_statistics_of_a_known_sample():
    found = scores.summarise([0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 1000.0])
    assert found["mean"] == pytest.approx(151.25)
    assert found["iqm"] == pytest.approx((20 + 30 + 40 + 50) / 4)
    assert found["std"] == pytest.approx(np.std([0, 10, 20, 30, 40, 50, 60, 1000], ddof=1))
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    assert json.loads(json.dumps(found)) == found


def test_few_seeds():
    two = scores.summarise([90.0, 96.0])
    assert two["std"] == pytest.approx(18**0.5)
    assert two["iqm"] == two["mean"] == 93.0
    # The bootstrap of two values draws (90, 90) a quarter of the time.
    assert two["ci95"] == [90.0, 96.0]
    one = scores.summarise([90.0])
    assert one["std"] is None and one["ci95"] == [None, None]


def test_the_interval_is_deterministic_and_narrows_with_episodes():
    def width(num_episodes):
        successes = np.arange(num_episodes) % 10 != 0
        found = [scores.summarise([90.0], successes=successes[None]) for _ in range(2)]
        assert found[0] == found[1]
        low, high = found[0]["ci95"]
        assert low < 90.0 < high
        return high - low

    # The standard error of a rate falls with the square root of the number of episodes.
    assert width(40) / width(1000) == pytest.approx(5.0, rel=0.1)


def test_one_seeds_interval_matches_the_normal_one():
    rng = np.random.default_rng(3)
    episodes = rng.normal(50.0, 10.0, (1, 400))
    low, high = scores.summarise(episodes.mean(axis=1), episodes=episodes)["ci95"]
    error = episodes.std() / 20
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (low + high) / 2 == pytest.approx(episodes.mean(), abs=0.2 * error)


def test_perfect_success_is_not_certainty():
    perfect = scores.summarise([100.0, 100.0, 100.0], successes=np.ones((3, 100), bool))
    # Wilson's interval of n successes in n: from n / (n + z^2) to 1.
    assert perfect["ci95"] == pytest.approx([100 * 300 / (300 + 1.959964**2), 100.0], abs=1e-4)
    none = scores.summarise([0.0], successes=np.zeros((1, 50), bool))
    assert none["ci95"] == pytest.approx([0.0, 100 * 1.959964**2 / (50 + 1.959964**2)], abs=1e-4)
    same = scores.summarise([70.0, 70.0], episodes=np.full((2, 10), 70.0))
    assert same["ci95"] == [70.0, 70.0]


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        # Seeds differ by more than their episodes' noise: pooled episodes alone would cover far less often.
        rates = np.clip(rng.normal(0.7, 0.1, 8), 0, 1)
        successes = rng.random((8, 50)) < rates[:, None]
        low, high = scores.summarise(100.0 * successes.mean(axis=1), successes=successes)["ci95"]
        covered += low <= 70.0 <= high
    assert 88 <= covered <= 100


def test_a_seed_without_a_score_leaves_no_statistic():
    """Those of the other seeds would hide it; other combinations of a sweep keep theirs."""
    episodes = np.array([[1.0, 3.0], [np.nan, np.nan]])
    row = scores.table([({}, [0, 1])], episodes, None)["score"]
    np.testing.assert_array_equal(row["per_seed"], [2.0, np.nan])
    assert all(np.isnan(row[name]) for name in ("mean", "std", "iqm")) and np.isnan(row["ci95"]).all()
    sweep = scores.table([({"eta": 0.1}, [0]), ({"eta": 1.0}, [1])], episodes, None)["sweep"]
    assert sweep[0]["score"]["mean"] == 2 and np.isnan(sweep[1]["score"]["mean"])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="finite"):
        scores.summarise([1.0, np.inf])
    with pytest.raises(ValueError, match="at least one"):
        scores.summarise([])
    with pytest.raises(ValueError, match="must be bool"):
        scores.summarise([50.0], successes=[[0, 1]])
    with pytest.raises(ValueError, match="not the means"):
        scores.summarise([60.0], successes=[[False, True]])
    with pytest.raises(ValueError, match=r"S = 2 seeds, got \[1, 2\]"):
        scores.summarise([50.0, 50.0], episodes=[[0.0, 100.0]])
    with pytest.raises(ValueError, match="not both"):
        scores.summarise([50.0], successes=[[False, True]], episodes=[[0.0, 100.0]])


def test_aggregates_over_tasks():
    """Tasks weigh the same, however many seeds they have; the middle half is exact; certain scores have no interval."""
    sure = scores.aggregate([[10.0], [30.0, 30.0]])
    assert sure == {"mean": 20.0, "mean_ci95": [20.0, 20.0], "iqm": 20.0, "iqm_ci95": [20.0, 20.0]}
    eight = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    found = scores.aggregate(eight)
    assert found["mean"] == 3.5 and found["iqm"] == pytest.approx(np.mean([2, 3, 4, 5]))
    skewed = scores.aggregate([[0.0, 0.0, 0.0, 100.0]])
    assert skewed["mean"] == 25 and skewed["iqm"] == 0
    # Four seeds drawn anew from 0 ... 3: deviation of their mean sqrt(1.25 / 4), of the mean of two such tasks less.
    low, high = found["mean_ci95"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(1.25 / 4 / 2), rel=0.06)
    for bad in ([], [[]], [[np.nan]], [[[1.0]]]):
        with pytest.raises(ValueError, match="every task needs finite scores"):
            scores.aggregate(bad)


def test_probability_of_improvement():
    """Over all pairs of seeds, ties half, tasks evenly."""
    assert scores.improvement([[2.0, 3.0]], [[1.0, 1.0]]) == 1
    assert scores.improvement([[1.0]], [[1.0, 1.0]]) == 0.5
    assert scores.improvement([[1.0, 3.0], [0.0]], [[2.0], [1.0]]) == pytest.approx((0.5 + 0) / 2)
    with pytest.raises(ValueError, match="the same tasks, got 1 and 2"):
        scores.improvement([[1.0]], [[1.0], [2.0]])
