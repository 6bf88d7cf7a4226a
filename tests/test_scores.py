"""Scores against closed forms, and intervals against the coverage they promise."""

import json

import numpy as np
import pytest

from gtp_jax.config.tasks import REFERENCES
from gtp_jax.envs.registry import EvalEnv
from gtp_jax.runs import scores


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Walker2d-v4", "AdroitHandPen-v1", "FrankaKitchen-v1"])
def test_a_return_is_normalised_by_the_references_of_its_environment(env_id):
    low, high = REFERENCES[env_id[:-3]]
    scale = scores.scale(EvalEnv(env_id, dict))
    assert scale.name == "normalised return"
    returns = np.array([[low, high], [(low + high) / 2, low]])
    np.testing.assert_allclose(scores.of_episodes(scale, returns, returns > 0), [[0, 100], [50, 0]], atol=1e-12)


def test_without_a_reference_the_return_itself_is_the_score_and_success_where_there_is_a_goal():
    returns, success = np.array([0.1, 7.0]), np.array([True, False])
    plain = scores.scale(EvalEnv("Pendulum-v1", dict))
    assert plain == scores.scale(EvalEnv("Hopper-v5", dict, as_published=False))  # as with another time limit
    assert plain.name == "return"
    np.testing.assert_array_equal(scores.of_episodes(plain, returns, success), returns)
    reached = scores.scale(EvalEnv("Hopper-v5", dict, by_success=True))
    assert reached.name == "success rate, %"
    np.testing.assert_array_equal(scores.of_episodes(reached, returns, success), [100, 0])


def test_statistics_of_a_known_sample():
    sample = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 1000.0]
    found = scores.summarise(np.transpose([sample]))
    assert found["mean"] == pytest.approx(151.25)
    assert found["iqm"] == pytest.approx((20 + 30 + 40 + 50) / 4)
    assert found["std"] == pytest.approx(np.std(sample, ddof=1))
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    assert json.loads(json.dumps(found)) == found == scores.summarise(np.transpose([sample]))
    two = scores.summarise([[90.0], [96.0]])
    assert two["std"] == pytest.approx(18**0.5) and two["iqm"] == two["mean"] == 93.0
    assert two["ci95"] == [90.0, 96.0]  # the bootstrap of two values draws (90, 90) a quarter of the time
    assert scores.summarise([[90.0]])["std"] is None


def test_one_seeds_interval_matches_the_normal_one():
    episodes = np.random.default_rng(3).normal(50.0, 10.0, (1, 400))
    low, high = scores.summarise(episodes)["ci95"]
    error = episodes.std() / 20
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (low + high) / 2 == pytest.approx(episodes.mean(), abs=0.2 * error)


def test_perfect_success_is_not_certainty():
    """Wilson's interval of n successes in n: from n / (n + z^2) to 1."""
    perfect = scores.summarise(np.full((3, 100), 100.0), np.ones((3, 100), bool))
    assert perfect["ci95"] == pytest.approx([100 * 300 / (300 + 1.959964**2), 100.0], abs=1e-4)
    none = scores.summarise(np.zeros((1, 50)), np.zeros((1, 50), bool))
    assert none["ci95"] == pytest.approx([0.0, 100 * 1.959964**2 / (50 + 1.959964**2)], abs=1e-4)
    assert scores.summarise(np.full((2, 10), 70.0))["ci95"] == [70.0, 70.0]


def test_the_interval_covers_the_truth():
    """Seeds differ by more than their episodes' noise: pooled episodes alone would cover far less often."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        rates = np.clip(rng.normal(0.7, 0.1, 8), 0, 1)
        success = rng.random((8, 50)) < rates[:, None]
        low, high = scores.summarise(100.0 * success, success)["ci95"]
        covered += low <= 70.0 <= high
    assert 88 <= covered <= 100


def test_a_seed_without_a_score_leaves_no_statistic():
    """Those of the other seeds would hide it; other combinations of a sweep keep theirs."""
    episodes = np.array([[1.0, 3.0], [np.nan, np.nan]])
    row = scores.score_table([({}, [0, 1])], episodes, None)["score"]
    np.testing.assert_array_equal(row["per_seed"], [2.0, np.nan])
    assert all(np.isnan(row[name]) for name in ("mean", "std", "iqm")) and np.isnan(row["ci95"]).all()
    sweep = scores.score_table([({"eta": 0.1}, [0]), ({"eta": 1.0}, [1])], episodes, None)["sweep"]
    assert sweep[0]["score"]["mean"] == 2 and np.isnan(sweep[1]["score"]["mean"])


@pytest.mark.parametrize("score", [[[1.0, np.inf]], [], [[]], [50.0, 60.0]])
def test_scores_of_another_form_are_an_error(score):
    with pytest.raises(ValueError, match=r"finite numbers \[S, E\]"):
        scores.summarise(score)
