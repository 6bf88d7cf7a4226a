"""Hierarchical policies: what each level observes and learns from, in any policy class and method."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import hparams
from oracles import quick_jit, random_batch, settings_with

import gtp_jax
from gtp_jax import policies
from gtp_jax.agent import build, hierarchy
from gtp_jax.config import methods, tasks
from gtp_jax.config.settings import Settings
from gtp_jax.types import Batch, Layout, Policy

LOW, HIGH = -np.ones(3, np.float32), np.ones(3, np.float32)
ANT = Layout(slice(0, 2), slice(29, 31), slice(2, 29), slice(60, 62), (0, 1, *range(29, 36)))  # of "maze-egocentric"
ENCODED = {"displacement": ANT._replace(heading=None), "egocentric": ANT}
EGOCENTRIC = {"policy.subgoal_encoding": "egocentric", "data.observation": "maze-egocentric"}
EVERY_ENCODING = pytest.mark.parametrize("encoding", hierarchy.ENCODINGS)


def transparent(actions):
    """A policy that acts by its first observation numbers, and whose loss and metrics are what it was given."""
    return Policy(
        init=lambda key, batch: (batch.obs, batch.action),
        loss=lambda params, target, key, batch, hparams, step: (
            batch.action.sum(-1) + params,
            {"policy/obs": batch.obs, "policy/action": batch.action},
        ),
        sample=lambda params, key, obs, num_steps, temperature=1.0: temperature * obs[..., :actions] + params,
    )


@EVERY_ENCODING
def test_the_high_level_observes_no_body_and_the_low_level_no_position(encoding):
    """Columns: position, two of the body, position, two of the heading or, without one, of the position, the label."""
    obs = np.arange(7, dtype=np.float32) + 10 * np.arange(3, dtype=np.float32)[:, None]
    obs[:, 4:6] = [[1, 0], [0, 1], [-0.6, 0.8]]
    without_body = [0, 3, 6] if encoding == "egocentric" else [0, 3, 4, 5, 6]
    scalars = jnp.zeros(3)
    batch = Batch(obs, jnp.full((3, 1), 7.0), scalars, scalars, obs, jnp.array([[3.0, 4.0], [0.0, -2.0], [-6.0, 8.0]]))
    layout = Layout(slice(0, 1), slice(0, 1), slice(1, 3), slice(4, 6) if encoding == "egocentric" else None, (0,))
    policy = hierarchy.make(high=transparent(2), low=transparent(4), layout=layout, encoding=encoding)
    init = policy.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(init.high[0], obs[:, without_body])
    np.testing.assert_array_equal(init.low[0][:, :2], obs[:, 1:3])
    assert init.high[1].shape == (3, 2) and init.low[0].shape == (3, 4)
    np.testing.assert_array_equal(init.low[1], batch.action)

    params = hierarchy.HierarchicalParams(low=1000.0, high=100.0)
    per_example, metrics = policy.loss(params, params, jax.random.key(0), batch, {}, 0)
    np.testing.assert_array_equal(metrics["high_level/obs"], obs[:, without_body])
    np.testing.assert_array_equal(metrics["high_level/action"], batch.subgoal / hierarchy.UNIT)
    ahead_and_left = np.array([[0.6, 0.8], [-1, 0], [1, 0]])
    encoded = ahead_and_left if encoding == "egocentric" else batch.subgoal / 4
    np.testing.assert_allclose(metrics["policy/obs"], jnp.concatenate([obs[:, 1:3], encoded], -1), atol=1e-6)
    np.testing.assert_array_equal(metrics["policy/action"], batch.action)
    np.testing.assert_array_equal(per_example, (batch.subgoal.sum(-1) / 4 + 100.0) + (7 + 1000.0))

    # The high level's offset is obs 0 and 3, halved, plus 100; the low level acts by all of its own, halved, plus 1000.
    action = policy.sample(params, jax.random.key(0), obs, 1, 0.5)
    x, y = (0.5 * obs[:, [0, 3]] + 100).T
    (ahead, left), (cos, sin) = np.stack([x, y]) / np.hypot(x, y), obs[:, 4:6].T
    encoded = [x, y] if encoding == "displacement" else [cos * ahead + sin * left, cos * left - sin * ahead]
    np.testing.assert_allclose(action, 0.5 * np.stack([*obs[:, 1:3].T, *encoded], -1) + 1000, rtol=1e-6)


def test_a_direction_has_no_length_and_no_offset_has_no_direction():
    """Its length is 1 from SHORTEST on and less below; it is finite, with its derivatives, where there is no offset."""
    length, unit = jnp.array([1e-6, 1e-3, 1.0, 100.0])[:, None], jnp.array([[0.6, -0.8]])
    np.testing.assert_allclose(hierarchy.direction(length * unit), jnp.repeat(unit, 4, axis=0), rtol=1e-5)
    np.testing.assert_allclose(hierarchy.direction(1e-7 * unit), 0.1 * unit, rtol=1e-5)
    derivatives = quick_jit(jax.jacobian(hierarchy.direction))(jnp.zeros(2))
    assert np.isfinite(derivatives).all() and (hierarchy.direction(jnp.zeros(2)) == 0).all()


def test_the_egocentric_encoding_is_invariant_under_rotation():
    """Turned together, offset and heading are encoded alike: by the angle between them, counter-clockwise."""
    offset, heading, turn = np.random.default_rng(0).uniform(-4, 4, (3, 1000)).astype(np.float32)

    def along(angle):
        return jnp.stack([np.cos(angle), np.sin(angle)], axis=-1)

    encoded = hierarchy.egocentric(3.0 * along(offset), along(heading))
    np.testing.assert_allclose(encoded, along(offset - heading), atol=1e-5)
    np.testing.assert_allclose(hierarchy.egocentric(along(offset + turn), along(heading + turn)), encoded, atol=1e-5)


@EVERY_ENCODING
def test_both_levels_are_the_policies_that_they_are_alone(encoding):
    """The loss and the action are those of two separate policies, bit for bit."""
    settings = settings_with(policy__name="flow_matching")
    layout, far = ENCODED[encoding], np.full(2, hierarchy.FARTHEST, np.float32)
    high = build.build_policy(settings.replace({"policy.hidden": (4,)}), -far, far, None)
    low = build.build_policy(settings, LOW, HIGH, None)
    both = hierarchy.make(high=high, low=low, layout=layout, encoding=encoding)
    batch = jax.tree.map(jnp.asarray, random_batch(8, 62, 3)._replace(subgoal=4 * random_batch(8, 2).obs[:, :2]))
    params, key = quick_jit(both.init)(jax.random.key(0), batch), jax.random.key(5)
    key_high, key_low = jax.random.split(key)
    body, offset = batch.obs[:, layout.body], batch.subgoal / hierarchy.UNIT
    elsewhere = batch.obs[:, np.r_[0:2, 29 : 60 if encoding == "egocentric" else 62]]

    def for_low(offset):
        encoded = hierarchy.ENCODINGS[encoding](offset, batch.obs[:, 60:62])
        return batch._replace(obs=jnp.concatenate([body, encoded], -1))

    for_high = batch._replace(obs=elsewhere, action=offset)
    expected = (
        high.loss(params.high, params.high, key_high, for_high, hparams(), 3)[0]
        + low.loss(params.low, params.low, key_low, for_low(offset), hparams(), 3)[0]
    )
    np.testing.assert_array_equal(both.loss(params, params, key, batch, hparams(), 3)[0], expected)
    offset = high.sample(params.high, key_high, for_high.obs, 2, 0.5)
    expected = low.sample(params.low, key_low, for_low(offset).obs, 2, 0.5)
    np.testing.assert_array_equal(both.sample(params, key, batch.obs, 2, 0.5), expected)


def first_layers(params):
    """The widths of what the networks of both levels observe: one number more than `params` have is the label."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
    return [
        next(shape[-2] for name, shape in names.items() if level in name and "Dense_0" in name and "kernel" in name)
        for level in (".low", ".high")
    ]


LABELLED = {"critic__name": "value", "guidance__name": "conditioning", "policy__subgoal_steps": 20}
BOTH = {name.replace(".", "__"): value for name, value in EGOCENTRIC.items()} | LABELLED
ROWS = random_batch(16, 62, 3)._replace(subgoal=random_batch(16, 2).obs)


@pytest.mark.parametrize("name", policies.FAMILY.names())
def test_any_policy_class_may_be_hierarchical(name):
    """The high level alone observes the label."""
    agent, numbers = build.build_agent(settings_with(policy__name=name, **BOTH), LOW, HIGH, ANT)
    state = jax.eval_shape(agent.init, jax.random.key(0), ROWS, numbers)
    low, high = first_layers(state.policy)
    assert (low, high) == (27 + 2 + 3 + 32, 2 + 31 + 1 + 2 + 32)  # what each observes, its action, and two times
    after, metrics = jax.eval_shape(agent.update, state, ROWS)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {each.removeprefix("high_level/") for each in metrics if each.startswith("high_level/")} == {
        each.removeprefix("policy/") for each in metrics if each.startswith("policy/") and each != "policy/loss"
    }


def test_both_levels_learn_in_one_update():
    agent, numbers = build.build_agent(settings_with(policy__name="gaussian", **BOTH), LOW, HIGH, ANT)
    state = quick_jit(agent.init)(jax.random.key(0), ROWS, numbers)
    after, metrics = quick_jit(agent.update)(state, ROWS)
    moved = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), state.policy, after.policy)
    assert all(jax.tree.leaves(moved)) and all(np.isfinite(value).all() for value in metrics.values())
    action = quick_jit(agent.act, static_argnums=3)(after.policy, jax.random.key(1), ROWS.obs, 2, 1.0)
    assert action.shape == (16, 3) and (np.abs(action) <= 1).all()


@pytest.mark.parametrize("method", ["gtp", "gtp-mc", "diffusion-ql", "iql-flow", "awr"])
def test_methods_without_a_hierarchy_may_have_one(method):
    """Whatever their critic asks of the policy: actions at both states, a term of its own, or nothing."""
    changes = methods.overrides(method, tasks.TASKS["antmaze-umaze"])
    settings = Settings.of(dict(changes) | EGOCENTRIC | {"policy.subgoal_steps": 20})
    agent, numbers = build.build_agent(settings, LOW, HIGH, ANT)
    state = jax.eval_shape(agent.init, jax.random.key(0), ROWS, numbers)
    after, _ = jax.eval_shape(agent.update, state, ROWS)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_what_does_not_fit_together_is_refused():
    for encoding, heading in (("egocentric", None), ("displacement", slice(60, 62)), ("direction", None)):
        with pytest.raises(ValueError, match=f"encoding = '{encoding}' with a layout whose heading is"):
            layout = ANT._replace(heading=heading)
            hierarchy.make(high=transparent(2), low=transparent(4), layout=layout, encoding=encoding)
    policy = hierarchy.make(high=transparent(2), low=transparent(4), layout=ANT, encoding="egocentric")
    with pytest.raises(ValueError, match="trained on batches with subgoals, and there are none"):
        policy.loss((), (), jax.random.key(0), random_batch(4, 62), {}, 0)


def test_a_layout_goes_through_json():
    for layout in ENCODED.values():
        assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.slow
def test_a_hierarchical_run_from_the_command_line(runner, tmp_path):
    """Trained, written, evaluated, and loaded again to act on what the environment gives."""
    words = {"config": "antmaze.py:tiny,gtp-hierarchical", "num_seeds": 2, "policy.high_level_hidden": "(4,)"}
    output = runner(f"--workdir={tmp_path / 'run'}", **words)
    assert "gtp, egocentric subgoals 20 steps ahead, value critic, conditioning" in output
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["high_level/flow"] > 0 and row["policy/flow"] > 0 and row["critic/loss"] > 0 for row in rows)
    policy = gtp_jax.load_policy(tmp_path / "run")
    assert policy.params.high["params"]["Dense_0"]["bias"].shape == (2, 4)
    assert policy.params.low["params"]["Dense_0"]["bias"].shape == (2, 8)
    assert first_layers(policy.params) == [27 + 2 + 8 + 32, 2 + 31 + 1 + 2 + 32]
    assert policy.observe.transform == "maze-egocentric"
    obs = {"observation": np.zeros((3, 27)), "achieved_goal": np.zeros((3, 2)), "desired_goal": np.ones((3, 2))}
    action = policy(obs, trial=1)
    assert action.shape == (3, 8) and (np.abs(action) <= 1).all()
