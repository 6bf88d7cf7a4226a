"""Datasets from plain arrays, against the loop that D4RL's rules describe."""

import warnings

import gymnasium
import numpy as np
import pytest
import toy

import gtp_jax
from gtp_jax import datasets
from gtp_jax.datasets import from_arrays

RNG = np.random.default_rng(0)
N = 200
X = np.zeros((N, 3))


def rows(**changes):
    """Arrays of N rows with random ends."""
    ends = {"terminals": RNG.random(N) < 0.1, "timeouts": RNG.random(N) < 0.1}
    own = {
        "observations": RNG.normal(size=(N, 3)),
        "actions": RNG.uniform(-1, 1, (N, 2)),
        "rewards": RNG.normal(size=N),
    }
    return own | ends | changes


def transitions(observations, actions, rewards, terminals, timeouts, next_observations=None):
    """One row after the other."""
    for i in range(N):
        is_last = i == N - 1 or timeouts[i]
        if next_observations is None and is_last and not terminals[i]:
            continue
        after = observations[min(i + 1, N - 1)] if next_observations is None else next_observations[i]
        yield observations[i], actions[i], rewards[i], 1 - terminals[i], after


@pytest.mark.parametrize("with_next", [False, True])
def test_transitions_are_those_of_a_plain_loop(with_next):
    given = rows(next_observations=RNG.normal(size=(N, 3))) if with_next else rows()
    data = from_arrays(**given, standardise=False)
    expected = [np.float32(column) for column in zip(*transitions(**given), strict=True)]
    for found, column in zip(data.batch[:4], expected, strict=False):
        np.testing.assert_array_equal(found, column)
    goes_on = data.batch.discount > 0  # what follows an end is of no meaning
    np.testing.assert_array_equal(data.batch.next_obs[goes_on], expected[4][goes_on])
    same = data.episode[1:] == data.episode[:-1]
    np.testing.assert_array_equal(data.batch.next_obs[:-1][same], data.batch.obs[1:][same])
    assert data.fingerprint == from_arrays(**given, reward="minus-one").fingerprint
    long = from_arrays(**given | {"rewards": given["rewards"].astype(np.longdouble)}, standardise=False)
    np.testing.assert_array_equal(long.batch.reward, data.batch.reward)
    assert data.fingerprint != from_arrays(**given | {"rewards": given["rewards"] + 1}).fingerprint
    assert data.fingerprint != from_arrays(**given, bounds=(-2, 2)).fingerprint  # runs with others do not mix
    with pytest.raises(ValueError, match="arrays/arrays has no environment"):
        data.make_env()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.zeros((N - 1, 2))}, r"actions must be numbers \[N, \*\]"),
        ({"actions": np.zeros(N)}, r"\[N, \*\], N = 200 as of rewards, .*; one number a row is actions\[:, None\]"),
        ({"rewards": np.zeros((N, 1))}, r"rewards must be numbers \[N\], got .*; the rows are rewards\[:, 0\]"),
        ({"actions": np.zeros((4, 50, 2))}, "put the episodes one behind the other, and mark their ends"),
        ({"actions": np.zeros((N, 2), int)}, "actions must be real, got int64; discrete"),
        ({"rewards": np.zeros(0)}, r"rewards must be numbers \[N\], N > 0, got"),
        ({"observations": np.array([["a"] * 3] * N)}, "observations must be numbers"),
        ({"next_observations": np.zeros((N, 4))}, "next_observations must have the shape of observations"),
        (
            {"rewards": np.where(np.arange(N) == 150, np.nan, 0.0)},
            "episode .*rewards: nan is not finite; mend or leave out",
        ),
        ({"actions": np.where(np.arange(2 * N) == 9, np.nan, 0.0).reshape(N, 2)}, "nan is not finite; mend or leave"),
        ({"terminals": np.full(N, 2)}, "terminals must be 0 or 1, got 2 at row 0"),
        ({"timeouts": np.full(N, np.nan)}, "timeouts must be 0 or 1, got nan at row 0"),
        ({"terminals": np.zeros(N), "timeouts": np.ones(N)}, "no row has a next observation"),
        ({"env": "NoSuch-v0"}, "environment 'NoSuch-v0' is not registered"),
        ({"env": 3}, "env = 3 must be"),
        ({"env": "Pendulum-v1"}, "Pendulum-v1 as it would be evaluated and the data differ in their actions"),
        ({"bounds": (0, 1)}, r"actions: .* is outside \[0, 1\]; clip or rescale them, or give"),
        ({"bounds": (np.zeros(3), 1)}, "bounds"),
        ({"bounds": (np.nan, 1)}, r"bounds = \(nan, 1\) must be finite, low at most high"),
        ({"actions": RNG.uniform(-1e35, 1e35, (N, 2))}, "which float32 does not scale; rescale them"),
        ({"bounds": (-1e35, 1e35)}, r"bounds = \(-1e\+35, 1e\+35\) must be finite"),
        ({"bounds": np.array([[1, 1], [-1, -1]])}, r"bounds = \[\[ 1 1\] \[-1 -1\]\] must be finite"),
        ({"rewards": np.ma.masked_array(np.zeros(N), np.arange(N) == 3)}, "rewards has masked numbers"),
        ({"rewards": [[]] + [0.0] * (N - 1)}, "arrays/arrays: rewards must be numbers: .*inhomogeneous"),
        ({"next_observations": {}}, "next_observations is a dict without arrays"),
        ({"env": lambda: exit(3)}, "<lambda> does not start on gymnasium .*: SystemExit: 3"),
        ({"env": lambda: None}, "<lambda> does not start on .*a NoneType is no gymnasium.Env"),
        ({"env": gymnasium.Env}, "does not start on .*: it has no action_space; .*env=None"),
        ({"by_success": "False"}, "by_success = 'False' must be True or False"),
        ({"standardise": 0}, "standardise = 0 must be"),
        (
            {"observations": {"a": X, "b": X}, "next_observations": {"a": X}},
            "next_observations/b is missing, observations/b is there",
        ),
        ({"name": 3}, "name = 3 must be"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"observation": "maze-scales"}, "expects a dict"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**rows(**changes))


def test_bounds_may_lie_inside_the_environments():
    """Then policies keep to them; outside the environment's they are refused, at either end."""
    actions = 0.1 * rows()["actions"]
    data = from_arrays(**rows(actions=actions), env=toy.ThreeSteps, bounds=(-0.1, [0.1, 1.0]))
    acted = toy.train(data=data, **{"eval.num_episodes": 0}).policy(np.random.default_rng(0).normal(size=(50, 3)))
    assert np.abs(acted[:, 0]).max() <= np.float32(0.1) and acted[:, 1].max() > 0.2
    for bounds in ((-2, 0.1), (-0.1, 2)):
        with pytest.raises(
            ValueError, match="ThreeSteps as it would be evaluated and the data differ in their actions"
        ):
            from_arrays(**rows(actions=actions), env=toy.ThreeSteps, bounds=bounds)


@pytest.mark.parametrize("size", [1e-6, 3e3, 5000.7, 1e12])
def test_actions_of_any_size_lie_inside_their_own_bounds(size):
    """As float32 rounds both; the tolerance is a share of the bounds' width."""
    actions = size * np.random.default_rng(0).uniform(-1, 1, (N, 2))
    data = from_arrays(**rows(actions=actions))
    np.testing.assert_allclose(data.action_high, actions.max(axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="actions: .* is outside"):
        from_arrays(**rows(actions=actions), bounds=(-0.9 * size, 0.9 * size))


def test_rows_that_run_on_into_the_next_episode_are_warned_of():
    """Where nothing ends an episode, and where one is longer than the environment lets it be; not with successors."""
    never = {"terminals": np.zeros(N), "timeouts": None}
    with pytest.warns(UserWarning, match="no row ends an episode, so that all 200 are read as one; mark where"):
        from_arrays(**rows(**never))
    pendulum = rows(**never, actions=RNG.uniform(-2, 2, (N, 1)))
    tripled = {name: value if value is None else np.concatenate([value] * 3) for name, value in pendulum.items()}
    with pytest.warns(UserWarning, match="an episode of 599 rows is longer than Pendulum-v1 lets one be, 200; mark"):
        from_arrays(**tripled, env="Pendulum-v1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_arrays(**pendulum | {"timeouts": np.arange(N) == N - 1}, env="Pendulum-v1")
        from_arrays(**rows(**never, next_observations=X))


def test_own_arrays_train_with_and_without_an_environment(tmp_path):
    data = from_arrays(**(given := rows()), env=toy.ThreeSteps)
    assert data.action_low.tolist() == [-1, -1] and data.summary["environment"] == "ThreeSteps"
    reached = from_arrays(**rows(), env=toy.ThreeSteps, by_success=True)
    assert reached.env.by_success and reached.summary["behaviour_success"] is None  # rewards do not tell
    evaluated = toy.train(tmp_path, data=data)
    assert evaluated.summary["score_of"] == "return" and evaluated.summary["score"]["mean"] is not None
    with pytest.raises(ValueError, match="names no environment.*; this run was evaluated in ThreeSteps; give one: env"):
        gtp_jax.evaluate(evaluated.policy)
    silent = toy.train(data=from_arrays(**rows(), bounds=(-1, 1)))
    assert silent.summary["score"] is silent.summary["score_of"] is None and silent.summary["eval_episodes"] == 0
    assert silent.policy(np.zeros(3)).shape == (2,)
    unasked = toy.train(data=data, **{"eval.num_episodes": 0})
    assert unasked.summary["score"] is None
    with pytest.raises(ValueError, match="arrays/arrays was made from arrays"):
        datasets.load("arrays/arrays")
    again = from_arrays(**given, env=toy.ThreeSteps, by_success=True)
    with pytest.raises(ValueError, match="score_of: 'return' there, 'success rate, %' now"):
        toy.train(tmp_path, data=again)
    with pytest.raises(ValueError, match="dataset must be an id, or .*; got tuple"):
        gtp_jax.train("gym", dataset=(1, 2))
