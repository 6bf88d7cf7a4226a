"""Actions in an environment's own units train and act as the same actions scaled to [-1, 1]."""

import functools

import chex
import jax
import numpy as np
import pytest
from oracles import quick_jit, random_batch, settings_with

from gtp_jax.agent.build import build_agent, build_critic, build_policy
from gtp_jax.agent.scaling import Scaling

pytestmark = pytest.mark.usefixtures("quick_compilation")
LOW, HIGH = np.array([0.0, -0.25], np.float32), np.array([16.0, 0.25], np.float32)
SCALED = Scaling.between(LOW, HIGH)
UNIT = (-np.ones(2, np.float32), np.ones(2, np.float32))
BATCH = jax.tree.map(np.asarray, random_batch(16))
OWN = BATCH._replace(action=np.array([8, 0], np.float32) + np.array([8, 0.25], np.float32) * BATCH.action)
RECOMMENDED = {"guidance__relative": True, "guidance__anchor": 1.0, "guidance__filter_temperature": 0.01}
assert_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)


def test_the_bounds_become_minus_one_and_one():
    scaling = Scaling.between([0.0, -0.3, 5.0], [10.0, 0.1, 5.0])
    np.testing.assert_array_equal(scaling.bounds, [[-1, -1, 0], [1, 1, 0]])
    np.testing.assert_allclose(
        scaling.scaled(np.array([[0, -0.3, 5], [2.5, -0.1, 5]])), [[-1, -1, 0], [-0.5, 0, 0]], atol=1e-7
    )
    rng = np.random.default_rng(0)
    low = rng.uniform(-3, 3, 200).astype(np.float32)
    high = low + rng.exponential(size=200).astype(np.float32)
    scaling = Scaling.between(low, high)
    for end in (-1.0, 1.0):
        found = np.asarray(scaling.unscaled(np.full(200, end, np.float32)))
        assert (found >= low).all() and (found <= high).all()
        np.testing.assert_allclose(found, low if end < 0 else high, rtol=1e-5, atol=1e-6)
    action = rng.uniform(low, high).astype(np.float32)
    np.testing.assert_allclose(scaling.unscaled(scaling.scaled(action)), action, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy__name": "gtp", "guidance__name": "q", "critic__name": "twin_q", **RECOMMENDED},
        {"policy__name": "gaussian", "guidance__name": "conditioning", "critic__name": "expectile"},
    ],
)
def test_an_agent_learns_and_acts_as_on_scaled_actions(changes):
    """Also the action's part of the critic, and the distances between actions that the anchor measures."""
    settings, found = settings_with(**changes), {}
    for name, bounds, batch in (("own", (LOW, HIGH), OWN), ("scaled", UNIT, BATCH)):
        agent, hparams = build_agent(settings, *bounds, None)
        state = quick_jit(agent.init)(jax.random.key(0), batch, hparams)
        state, metrics = quick_jit(agent.update)(state, batch)
        state, metrics = quick_jit(agent.update)(state, batch)
        policy = build_policy(settings, *bounds, None)
        actions = [policy.sample(state.policy, jax.random.key(1), batch.obs, 2)]
        if settings.guidance.name != "conditioning":
            actions += [agent.act(state.policy, jax.random.key(1), batch.obs, 2)]
        found[name] = (state._replace(key=jax.random.key_data(state.key)), metrics, actions)
    (own, own_metrics, acted), (scaled, metrics, acted_scaled) = found["own"], found["scaled"]
    assert_close(own, scaled)
    assert_close(own_metrics, metrics)
    for one, other in zip(acted, acted_scaled, strict=True):
        np.testing.assert_allclose(one, SCALED.unscaled(other), rtol=1e-5, atol=1e-6)
        assert (np.asarray(one)[:, 0] >= 0).all() and (np.asarray(one)[:, 0] > 1).any()


def test_a_critic_values_an_environments_actions_as_scaled_ones():
    settings = settings_with(critic__name="twin_q")
    own, unit = (build_critic(settings, *bounds, None) for bounds in ((LOW, HIGH), UNIT))
    params = quick_jit(own.init)(jax.random.key(0), OWN)
    assert_close(own.q(params, OWN.obs, OWN.action), unit.q(params, BATCH.obs, BATCH.action))
    hparams = {"discount": np.float32(0.9)}
    drawn, own_drawn = ((b.action[None], b.action[::-1][None]) for b in (BATCH, OWN))
    estimates = (
        own.evaluate(params, params, OWN, *own_drawn, hparams),
        unit.evaluate(params, params, BATCH, *drawn, hparams),
    )
    assert_close(*estimates)
    next_value = estimates[0].next_value
    assert_close(
        own.loss(params, params, OWN, next_value, hparams), unit.loss(params, params, BATCH, next_value, hparams)
    )


def test_bounds_of_one_change_nothing():
    scaling, agent = Scaling.between(*UNIT), build_agent(settings_with(policy__name="gaussian"), *UNIT, None)[0]
    assert scaling.agent(agent) is agent
