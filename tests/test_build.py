"""From settings to an agent: every policy with every guidance and critic, and what each is made of."""

import chex
import jax
import numpy as np
import pytest
from oracles import quick_jit, random_batch, settings_with

from gtp_jax import critics, policies
from gtp_jax.agent.build import build_agent, build_critic, build_policy
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.datasets.transforms import Observer

BATCH = jax.tree.map(np.asarray, random_batch(16))
pytestmark = pytest.mark.usefixtures("quick_compilation")
LOW, HIGH = -np.ones(2, np.float32), np.ones(2, np.float32)
POLICIES, CRITICS = policies.FAMILY.names(), critics.FAMILY.names()


def build(**changes):
    return build_agent(settings_with(**changes), LOW, HIGH, None)


def trained(**changes):
    """The metrics of each of two updates, one compiled program, which are finite and move all that is trained."""
    agent, hparams = build(**changes)

    @quick_jit
    def run(key):
        first = agent.init(key, BATCH, hparams)
        last, metrics = jax.lax.scan(lambda state, _: agent.update(state, BATCH), first, length=2)
        return metrics, first.policy, last

    metrics, first, last = run(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, last.policy, last.critic)))
    moved = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), first, last.policy)
    assert all(jax.tree.leaves(moved))
    return metrics


RECOMMENDED = {"guidance__relative": True, "guidance__anchor": 1.0, "guidance__filter_temperature": 0.01}  # as gtp-q
# Every policy once, every guidance and every critic at least once; choices away from their defaults.
COMBINATIONS = [
    ("gaussian", "unnormalised", "expectile", {}),
    ("vp_diffusion", "q", "twin_q", {"critic__backup_samples": 3}),
    ("consistency", "none", "twin_q", {}),
    ("flow_matching", "exponential", "expectile", {"policy__solver": "heun"}),
    ("shortcut", "q", "expectile", {"policy__decay": False, **RECOMMENDED}),
    (*("gtp", "conditioning", "value"), {"policy__teacher": "heun", "policy__zero_share": 1.0}),
    ("mean_flow", "filter", "twin_q", {"critic__baseline_samples": 2, "policy__adaptive_power": 0.0}),
    ("ctm", "conditioning", "twin_q", {"policy__target": "ema", "critic__ensemble": 3, "critic__layer_norm": True}),
    ("diffusion", "advantage", "value", {"policy__weighting": "edm", "policy__times": "log-normal"}),
]


def test_the_combinations_cover_the_table():
    covered = [{row[i] for row in COMBINATIONS} for i in range(3)]
    assert covered == [set(POLICIES), set(GUIDANCE), set(CRITICS)]


CASES = [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] not in ("gaussian", "gtp"))) for row in COMBINATIONS]


@pytest.mark.parametrize(("policy", "guidance", "critic", "more"), CASES, ids=lambda v: v if v else "")
def test_combinations_train(policy, guidance, critic, more):
    metrics = trained(policy__name=policy, guidance__name=guidance, critic__name=critic, **more)
    assert ("critic/loss" in metrics) == (guidance != "none")
    assert ("guidance/q_loss" in metrics) == (guidance == "q")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_fits_every_guidance_and_critic(policy):
    """Shapes and types alone, of the guidances that differ in more than a formula."""
    with_advantage = [("advantage", critic) for critic in CRITICS]
    for guidance, critic in [("none", "twin_q"), *with_advantage, ("conditioning", "value"), ("q", "expectile")]:
        steps = {"guidance__anchor_steps": settings_with(policy__name=policy).policy.num_steps}
        more = RECOMMENDED | steps if guidance == "q" else {}
        agent, hparams = build(policy__name=policy, guidance__name=guidance, critic__name=critic, **more)
        first = jax.eval_shape(agent.init, jax.random.key(0), BATCH, hparams)
        last, metrics = jax.eval_shape(agent.update, first, BATCH)
        chex.assert_trees_all_equal_shapes_and_dtypes(first, last)
        assert all(metric.shape == () for metric in metrics.values())


def test_a_critic_of_positions_observes_no_body():
    """Its values of two bodies in one position are equal."""
    layout = Observer("maze-scales", np.zeros(60), np.ones(60)).layout
    of_positions, of_all = (
        build_critic(settings_with(critic__name="value", critic__observation=observation), LOW, HIGH, layout)
        for observation in ("position", "all")
    )
    batch = random_batch(4, obs_dim=60)
    other_body = batch._replace(obs=batch.obs + np.eye(60, dtype=np.float32)[layout.body].sum(0))
    elsewhere = batch._replace(obs=batch.obs + np.eye(60, dtype=np.float32)[list(layout.location)].sum(0))
    hparams = {"discount": np.float32(0.9)}

    def advantages(critic):
        params = quick_jit(critic.init)(jax.random.key(0), batch)
        each = (batch, other_body, elsewhere)
        return [np.asarray(critic.evaluate(params, params, b, None, None, hparams).advantage) for b in each]

    same, with_other_body, with_other_goal = advantages(of_positions)
    np.testing.assert_array_equal(same, with_other_body)
    assert (same != with_other_goal).all()
    same, with_other_body, _ = advantages(of_all)
    assert (same != with_other_body).all()


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("critic.observation = 'position'", {"critic__name": "value", "critic__observation": "position"}),
        ("policy.subgoal_steps = 20", {"policy__subgoal_steps": 20}),
    ],
)
def test_what_needs_a_layout_is_refused_without(setting, changes):
    with pytest.raises(ValueError, match=f"{setting} needs observations that tell positions apart"):
        build(**changes)


def test_a_policy_is_built_as_it_acts():
    """An advantage-conditioned one observes the label itself, as the agent's policy does."""
    for guidance in ("advantage", "conditioning"):
        settings = settings_with(policy__name="gaussian", guidance__name=guidance)
        agent, hparams = build_agent(settings, LOW, HIGH, None)
        state = quick_jit(agent.init)(jax.random.key(0), BATCH, hparams)
        policy, key = build_policy(settings, LOW, HIGH, None), jax.random.key(1)
        np.testing.assert_array_equal(
            policy.sample(state.policy, key, BATCH.obs, 1), agent.act(state.policy, key, BATCH.obs, 1)
        )
