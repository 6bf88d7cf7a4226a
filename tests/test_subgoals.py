"""Policies of two levels: what each sees and learns from, and the ways that they learn from."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import hparams
from oracles import assert_trees_equal, random_batch, settings_with

import gtp_jax
from gtp_jax.agent import build, hierarchy
from gtp_jax.config import methods, tasks
from gtp_jax.config.settings import check
from gtp_jax.datasets import Dataset, Observer, returns
from gtp_jax.datasets.transforms import transform_observation
from gtp_jax.runs.terminal import Terminal
from gtp_jax.training.loop import Training
from gtp_jax.types import Batch, Policy

LOW, HIGH = -np.ones(3, np.float32), np.ones(3, np.float32)
OBS = 62  # of "maze-egocentric"
BODY, HEADING = np.arange(2, 29), np.arange(60, 62)
ELSEWHERE = {way: np.r_[0:2, 29 : 60 if way == "bearing" else OBS] for way in hierarchy.SEEN}


@pytest.fixture
def walks():
    """Three episodes of ants that go straight on: to the goal, until time runs out, to the goal at the second step."""
    episode = np.repeat(np.arange(3, dtype=np.int32), [6, 7, 2])
    speed = np.array([[0.5, 0.0], [0.0, -0.25], [1.0, 1.0]], np.float32)[episode]
    time = np.concatenate([np.arange(6), np.arange(7), np.arange(2)]).astype(np.float32)[:, None]
    goal = np.array([[3.25, 0.125], [9.0, 9.0], [2.5, 2.0]], np.float32)[episode]

    def seen(place):
        raw = {"achieved_goal": place, "observation": np.zeros((15, 27), np.float32), "desired_goal": goal}
        return transform_observation("maze-scales", raw)

    obs, next_obs = seen(time * speed), seen((time + 1) * speed)
    observe = Observer.fit("maze-scales", obs)
    discount = np.ones(15, np.float32)
    discount[[5, 14]] = 0
    empty = np.zeros((15, 1), np.float32)
    batch = Batch(observe.scale(obs), empty, empty[:, 0], discount, observe.scale(next_obs))
    return batch, episode, observe, speed, goal - time * speed


@pytest.mark.parametrize("steps", [1, 3, 6, 100])
def test_the_way_is_where_the_ant_was_later_or_its_goal_if_it_came_to_it(walks, steps):
    """One loop for each row; rows whose last step reached the goal look at the goal, which lies beyond it."""
    batch, episode, observe, speed, to_goal = walks
    way = returns.ahead(batch, episode, observe, steps)
    assert way.dtype == np.float32 and way.shape == (15, 2)
    for t in range(15):
        end = np.flatnonzero(episode == episode[t])[-1]
        reached = episode[t] != 1 and t + steps - 1 >= end
        expected = to_goal[t] if reached else min(steps, end - t + 1) * speed[t]
        np.testing.assert_allclose(way[t], expected, atol=1e-5, err_msg=str(t))


@pytest.mark.parametrize("steps", [0, 6])
def test_a_run_trains_on_the_ways_its_settings_ask_for(walks, tmp_path, steps):
    """Over steps of the environment, however many the critic's transitions span; none for one level."""
    batch, episode, observe, *_ = walks
    one = np.ones(1, np.float32)
    dataset = Dataset("mujoco/hopper/x-v0", batch, episode, observe, -one, one, "", {}, None, None)
    settings = settings_with(policy__subgoal_steps=steps, critic__n_step=3, num_seeds=1, batch_size=8)
    training = Training(settings, tmp_path, dataset, Terminal())
    data = jax.device_get(training.engine.data)
    training.close()
    expected = returns.n_step(batch, episode, 3, settings["critic"]["discount"])
    if steps:
        expected = expected._replace(subgoal=returns.ahead(batch, episode, observe, steps))
    assert_trees_equal(data, expected)


def transparent(actions):
    """A policy that acts by the first numbers that it sees, and whose loss is what it was given."""
    return Policy(
        init=lambda key, batch: (batch.obs, batch.action),
        loss=lambda params, target, key, batch, hparams, step: (
            batch.action.sum(-1) + params,
            {"policy/obs": batch.obs, "policy/action": batch.action},
        ),
        sample=lambda params, key, obs, num_steps, temperature=1.0: temperature * obs[..., :actions] + params,
    )


@pytest.mark.parametrize("way", hierarchy.SEEN)
def test_the_upper_sees_no_body_and_the_lower_no_place(way):
    """Columns: place, two of the body, place, two of the heading or, without one, of the place, what is told."""
    obs = np.arange(7, dtype=np.float32) + 10 * np.arange(3, dtype=np.float32)[:, None]
    obs[:, 4:6] = [[1, 0], [0, 1], [-0.6, 0.8]]
    place = [0, 3, 6] if way == "bearing" else [0, 3, 4, 5, 6]
    batch = Batch(obs, jnp.full((3, 1), 7.0), None, None, None, jnp.array([[3.0, 4.0], [0.0, -2.0], [-6.0, 8.0]]))
    columns = {"body": slice(1, 3), "heading": slice(4, 6), "lower_sees": way}
    policy = hierarchy.make(upper=transparent(2), lower=transparent(4), **columns)
    init = policy.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(init["upper"][0], obs[:, place])
    np.testing.assert_array_equal(init["lower"][0][:, :2], obs[:, 1:3])
    assert init["upper"][1].shape == (3, 2) and init["lower"][0].shape == (3, 4)
    np.testing.assert_array_equal(init["lower"][1], batch.action)

    params = {"upper": 100.0, "lower": 1000.0}
    per_example, metrics = policy.loss(params, params, jax.random.key(0), batch, {}, 0)
    np.testing.assert_array_equal(metrics["subgoal/obs"], obs[:, place])
    np.testing.assert_array_equal(metrics["subgoal/action"], batch.subgoal / hierarchy.UNIT)
    seen = {
        "vector": batch.subgoal / 4,
        "direction": np.array([[0.6, 0.8], [0, -1], [-0.6, 0.8]]),
        "bearing": np.array([[0.6, 0.8], [-1, 0], [1, 0]]),
    }[way]
    np.testing.assert_allclose(metrics["policy/obs"], jnp.concatenate([obs[:, 1:3], seen], -1), atol=1e-6)
    np.testing.assert_array_equal(metrics["policy/action"], batch.action)
    np.testing.assert_array_equal(per_example, (batch.subgoal.sum(-1) / 4 + 100.0) + (7 + 1000.0))

    # The upper's way is obs 0 and 3, halved, plus 100; the lower acts by all that it sees, halved, plus 1000.
    action = policy.sample(params, jax.random.key(0), obs, 1, 0.5)
    x, y = (0.5 * obs[:, [0, 3]] + 100).T
    unit, (cos, sin) = np.stack([x, y]) / np.hypot(x, y), obs[:, 4:6].T
    seen = {
        "vector": [x, y],
        "direction": unit,
        "bearing": [cos * unit[0] + sin * unit[1], cos * unit[1] - sin * unit[0]],
    }[way]
    np.testing.assert_allclose(action, 0.5 * np.stack([*obs[:, 1:3].T, *seen], -1) + 1000, rtol=1e-6)


def test_a_direction_has_no_length_and_no_way_has_no_direction():
    """One from the shortest way to the farthest, below that less; finite with its derivatives where there is no way."""
    length = jnp.array([1e-6, 1e-3, 1.0, 100.0])[:, None]
    way = jnp.array([[0.6, -0.8]])
    np.testing.assert_allclose(hierarchy.direction(length * way), jnp.repeat(way, 4, axis=0), rtol=1e-5)
    np.testing.assert_allclose(hierarchy.direction(1e-7 * way), 0.1 * way, rtol=1e-5)
    derivatives = jax.jacobian(hierarchy.direction)(jnp.zeros(2))
    assert np.isfinite(derivatives).all() and (hierarchy.direction(jnp.zeros(2)) == 0).all()


def test_a_bearing_does_not_know_where_north_is():
    """Turned together, way and heading have the same bearing: the angle between them, counter-clockwise."""
    way, heading, turn = np.random.default_rng(0).uniform(-4, 4, (3, 1000)).astype(np.float32)

    def along(angle):
        return jnp.stack([np.cos(angle), np.sin(angle)], axis=-1)

    seen = hierarchy.bearing(3.0 * along(way), along(heading))
    np.testing.assert_allclose(seen, along(way - heading), atol=1e-5)
    np.testing.assert_allclose(hierarchy.bearing(along(way + turn), along(heading + turn)), seen, atol=1e-5)


SEES_BEARINGS = {"policy__subgoal_way": "bearing", "data__observation": "maze-egocentric"}


def made(**changes):
    changes |= SEES_BEARINGS
    settings = settings_with(policy__subgoal_steps=20, critic__name="value", guidance__name="condition", **changes)
    agent, numbers = build.make(settings, LOW, HIGH)
    batch = random_batch(16, OBS, 3)._replace(subgoal=np.random.default_rng(1).normal(size=(16, 2)).astype(np.float32))
    return agent, numbers, batch, settings


@pytest.mark.parametrize("policy", ["gtp", "flow_matching", "gaussian"])
def test_any_member_may_have_subgoals(policy):
    """Both levels learn in the one update, and the upper alone is told what did better."""
    agent, numbers, batch, _ = made(policy__name=policy)
    state = agent.init(jax.random.key(0), batch, numbers)
    after, metrics = jax.jit(agent.update)(state, batch)
    first = {
        level: next(v for k, v in leaves(state.policy[level]) if "Dense_0" in k and "kernel" in k)
        for level in ("upper", "lower")
    }
    point_and_times = {"upper": 2 + 32, "lower": 3 + 32}
    assert first["upper"].shape[0] == len(ELSEWHERE["bearing"]) + 1 + point_and_times["upper"]
    assert first["lower"].shape[0] == len(BODY) + 2 + point_and_times["lower"]
    for level in ("upper", "lower"):
        pairs = zip(leaves(state.policy[level]), leaves(after.policy[level]), strict=True)
        assert any(np.abs(a - b).max() > 0 for (_, a), (_, b) in pairs), level
    assert any(name.startswith("subgoal/") for name in metrics)
    assert all(np.isfinite(value).all() for value in metrics.values())
    action = agent.act(after.policy, jax.random.key(1), batch.obs, 2, 1.0)
    assert action.shape == (16, 3) and (np.abs(action) <= 1).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"policy__subgoal_hidden": (8,)},
            "subgoal_hidden = .*8,.* means nothing to policy.subgoal_steps = 0; set policy.subgoal_hidden = .64, 64.",
        ),
        (
            {"policy__subgoal_way": "direction"},
            "subgoal_way = 'direction' means nothing to policy.subgoal_steps = 0; set policy.subgoal_way = 'vector'",
        ),
        (
            {"policy__subgoal_steps": 20, "policy__subgoal_way": "bearing"},
            "'bearing' cannot go with data.observation = 'maze-scales'; set .*'bearing' with .*'maze-egocentric', or",
        ),
        (
            {"policy__subgoal_steps": 20, "data__observation": "maze-egocentric"},
            "'vector' cannot go with data.observation = 'maze-egocentric'; set .*'bearing' with .*, or 'vector' or",
        ),
    ],
)
def test_settings_of_levels_that_do_not_go_together(changes, says):
    check(settings_with(policy__subgoal_steps=20, **SEES_BEARINGS))
    with pytest.raises(ValueError, match=says):
        check(settings_with(**changes))


@pytest.mark.parametrize("method", ["gtp", "gtp-outcome", "diffusion-ql", "iql-flow", "awr"])
def test_methods_of_one_level_may_have_two(method):
    """Whatever their critic asks of the policy: actions at both states, a term of its own, or nothing."""
    settings = settings_with(policy__subgoal_steps=20, **SEES_BEARINGS)
    for name, value in methods.overrides(method, tasks.TASKS["antmaze-umaze"]).items():
        group, _, last = name.rpartition(".")
        (settings[group] if group else settings)[last] = value
    build.check(settings)


def leaves(tree):
    return [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.parametrize("name", hierarchy.SEEN)
def test_both_levels_are_the_members_that_they_are_alone(name):
    """The loss and the action are those of two separate policies, bit for bit."""
    settings = settings_with(policy__subgoal_steps=20, policy__subgoal_way=name)["policy"]
    alone = settings | {"subgoal_steps": 0}
    both = build.make_policy(settings, LOW, HIGH, 16)
    far = np.full(2, hierarchy.FARTHEST, np.float32)
    upper = build.make_policy(alone | {"hidden": settings["subgoal_hidden"]}, -far, far, 16)
    lower = build.make_policy(alone, LOW, HIGH, 16)
    batch = random_batch(8, OBS, 3)._replace(subgoal=4 * random_batch(8, 2).obs)
    params, key = both.init(jax.random.key(0), batch), jax.random.key(5)
    keys = jax.random.split(key)
    numbers, way = hparams(), batch.subgoal / hierarchy.UNIT

    def below(way):
        return np.concatenate([batch.obs[:, BODY], hierarchy.SEEN[name](way, batch.obs[:, HEADING])], -1)

    where, how = batch._replace(obs=batch.obs[:, ELSEWHERE[name]], action=way), batch._replace(obs=below(way))
    expected = (
        upper.loss(params["upper"], params["upper"], keys[0], where, numbers, 3)[0]
        + lower.loss(params["lower"], params["lower"], keys[1], how, numbers, 3)[0]
    )
    np.testing.assert_array_equal(both.loss(params, params, key, batch, numbers, 3)[0], expected)
    chosen = upper.sample(params["upper"], keys[0], where.obs, 2, 0.5)
    expected = lower.sample(params["lower"], keys[1], below(chosen), 2, 0.5)
    np.testing.assert_array_equal(both.sample(params, key, batch.obs, 2, 0.5), expected)


def test_a_run_of_two_levels_from_the_command_line(runner, tmp_path):
    """Trained, written, evaluated, and loaded again to act on what the environment gives."""
    words = {"config": "antmaze.py:tiny,gtp-subgoal", "num_seeds": 2, "policy.subgoal_hidden": "(4,)"}
    output = runner(f"--workdir={tmp_path / 'run'}", **words)
    assert "gtp, subgoals 20 steps ahead by bearing, value critic, condition" in output
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["subgoal/flow"] > 0 and row["policy/flow"] > 0 and row["critic/loss"] > 0 for row in rows)
    policy = gtp_jax.load_policy(tmp_path / "run")
    assert policy.params["upper"]["params"]["Dense_0"]["bias"].shape == (2, 4)
    assert policy.params["lower"]["params"]["Dense_0"]["bias"].shape == (2, 8)
    first = {level: policy.params[level]["params"]["Dense_0"]["kernel"].shape[1] for level in ("upper", "lower")}
    assert policy.observe.transform == "maze-egocentric"
    assert first == {"upper": len(ELSEWHERE["bearing"]) + 1 + 2 + 32, "lower": len(BODY) + 2 + 8 + 32}
    obs = {"observation": np.zeros((3, 27)), "achieved_goal": np.zeros((3, 2)), "desired_goal": np.ones((3, 2))}
    action = policy(obs, seed_index=1)
    assert action.shape == (3, 8) and (np.abs(action) <= 1).all()
