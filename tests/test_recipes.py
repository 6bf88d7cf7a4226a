"""Policies, guidance and critics compose; every named method builds; what means nothing to a policy is refused."""

import functools
import importlib.util
import itertools
import sys
from pathlib import Path

import jax
import numpy as np
import pages
import pytest
from oracles import quick_jit, random_batch, settings_with

from gtp_jax import critics, policies
from gtp_jax.agent import build as build_agent
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.config import methods, tasks
from gtp_jax.config.settings import DEFAULTS, check, describe, flatten, is_cloning
from gtp_jax.types import Batch

ROOT = Path(__file__).parents[1]
BATCH = jax.tree.map(np.asarray, random_batch(16))
LOW, HIGH = -np.ones(2, np.float32), np.ones(2, np.float32)


def build(**changes):
    return build_agent.make(settings_with(**changes), LOW, HIGH)


def train(updates, **changes):
    """The metrics of every update, the initial and the last state; one compiled program."""
    agent, hparams = build(**changes)

    @quick_jit
    def run(key):
        first = agent.init(key, BATCH, hparams)
        last, metrics = jax.lax.scan(lambda state, _: agent.update(state, BATCH), first, length=updates)
        return metrics, first.policy, last

    metrics, first, last = run(jax.random.key(0))
    return jax.tree.map(np.asarray, metrics), first, last, agent


# The choices that some policies have, away from their defaults.
CHOICES = {
    "diffusion": {"policy__weighting": "edm", "policy__times": "log-normal", "policy__solver": "heun"},
    "gtp": {"policy__teacher": "heun", "policy__flow_times": "log-normal", "policy__intervals": 20},
    "ctm": {"policy__solver": "heun", "policy__target": "ema"},
    "mean_flow": {"policy__adaptive_power": 0.0},
}


@pytest.mark.parametrize("name", build_agent.names(policies))
def test_every_policy_clones(name):
    metrics, first, last, _ = train(2, policy__name=name, guidance__name="none", **CHOICES.get(name, {}))
    assert all(np.isfinite(value).all() for value in metrics.values())
    assert last.step == 2 and last.critic == ()
    moved = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), first, last.policy)
    assert all(jax.tree.leaves(moved))


# Every guidance with either critic or both; GTP with its own defaults runs in test_configs.py.
COMBINATIONS = [
    ("gaussian", "unnormalised", "expectile", {}),
    ("vp_diffusion", "q", "twin_q", {"critic__candidates": 3}),
    ("consistency", "advantage", "twin_q", {}),
    ("flow_matching", "exponential", "expectile", {"policy__solver": "heun"}),
    ("shortcut", "q", "expectile", {}),
    ("gtp", "exponential", "value", {"critic__expectile": 0.5}),
    ("mean_flow", "filter", "twin_q", {"critic__samples": 2}),
    ("gtp", "condition", "value", {}),
    ("shortcut", "condition", "twin_q", {}),
]


def test_the_combinations_cover_the_table():
    assert {row[1] for row in COMBINATIONS} == set(GUIDANCE) - {"none"}
    assert {row[2] for row in COMBINATIONS} == set(build_agent.names(critics))


@pytest.mark.parametrize("policy", build_agent.names(policies))
def test_every_policy_trains_with_every_guidance_and_critic(policy):
    """One update each, operation by operation, since to compile as many programs takes minutes; benchmarks/matrix.py
    trains them from the command line."""
    for guidance, critic in itertools.product(GUIDANCE, build_agent.names(critics)):
        names = {"policy__name": policy, "guidance__name": guidance, "critic__name": critic}
        if (guidance, critic) == ("q", "value"):
            with pytest.raises(ValueError, match="this critic values states alone"):
                build(**names)
            continue
        agent, hparams = build(**names)
        first = agent.init(jax.random.key(0), BATCH, hparams)
        last, metrics = agent.update(first, BATCH)
        assert all(np.isfinite(value).all() for value in jax.tree.leaves((last.policy, last.critic, metrics)))
        moved = jax.tree.map(lambda a, b: (np.asarray(a) != np.asarray(b)).any(), first.policy, last.policy)
        assert any(jax.tree.leaves(moved)) and last.step == 1, (guidance, critic)


@pytest.mark.parametrize(("policy", "guidance", "critic", "more"), COMBINATIONS, ids=lambda v: v if v else "")
def test_combinations_train(policy, guidance, critic, more):
    metrics, _, last, _ = train(2, policy__name=policy, guidance__name=guidance, critic__name=critic, **more)
    assert all(np.isfinite(value).all() for value in metrics.values())
    assert "critic/loss" in metrics and ("guidance/q_loss" in metrics) == (guidance == "q")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((last.policy, last.critic)))


def config(family, variant):
    spec = importlib.util.spec_from_file_location(f"config_{family}", ROOT / f"experiments/configs/{family}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant).to_dict()


antmaze = functools.partial(config, "antmaze")


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_builds_from_the_command_line(method):
    """Its row is what the configuration then says, types and all; ranges hold; the agent is made."""
    settings = antmaze(f"tiny,{method}")
    check(settings)
    flat = dict(flatten(settings))
    assert flat.keys() == dict(flatten(DEFAULTS)).keys()
    for name, value in methods.overrides(method, tasks.TASKS["antmaze-umaze"]).items():
        assert flat[name] == value and type(flat[name]) is type(dict(flatten(DEFAULTS))[name]), name
    build_agent.check(settings)
    agent, hparams = build_agent.make(settings, LOW, HIGH)
    batch = random_batch(16, obs_dim=62)  # as many numbers as the widest that a method observes
    state = jax.eval_shape(agent.init, jax.random.key(0), batch, hparams)
    assert (state.critic == ()) == is_cloning(settings)
    steps = settings["policy"]["num_steps"]  # that it acts with at evaluation
    action = jax.eval_shape(lambda params: agent.act(params, jax.random.key(0), batch.obs, steps, 1.0), state.policy)
    assert action.shape == (16, 2)


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize("family", tasks.FAMILIES)
def test_every_method_has_settings_for_every_task(method, family):
    """Or, where a task's own numbers were never published, says so. Agents of the same words and K are traced once."""
    traced = set()
    for name, task in tasks.of_family(family).items():
        attribute = methods.PUBLISHED.get(method)
        if attribute and getattr(task, attribute) is None:
            with pytest.raises(ValueError, match=f"{method} has published .*, and none for '{task.name}'"):
                config(family, f"{name},{method}")
            continue
        if method in methods.WITH_SUBGOALS and family != "antmaze":
            with pytest.raises(ValueError, match=f"{method} has subgoals"):
                config(family, f"{name},{method}")
            continue
        settings = config(family, f"{name},{method}")
        check(settings)
        flat = dict(flatten(settings)) | {"dataset": ""}
        structure = tuple(value for key, value in flat.items() if isinstance(value, str) or key.endswith("num_steps"))
        if structure not in traced:
            build_agent.check(settings)
            traced.add(structure)
        if settings["guidance"]["name"] == "q":
            assert settings["policy"]["num_steps"] == settings["critic"]["num_steps"]


def test_published_rows():
    """Table 6 of Diffusion-QL, four of its rows, one of Consistency-AC's, and IQL's exp(10 A) at expectile 0.9."""
    rows = {"umaze": (3e-4, 0.5, 1, 2.0), "large-diverse": (3e-4, 3.5, 10, 7.0)}
    names = ("policy.learning_rate", "guidance.eta", "critic.candidates", "max_grad_norm")
    for task, row in rows.items():
        flat = dict(flatten(antmaze(f"{task},diffusion-ql")))
        assert tuple(flat[name] for name in names) == row
        assert flat["policy.name"] == "vp_diffusion" and flat["guidance.name"] == "q"
        assert flat["policy.num_steps"] == flat["critic.num_steps"] == 5
    for task, row in {"hopper-medium-replay": (3e-4, 1.0, 1, 4.0), "walker2d-medium": (3e-4, 1.0, 1, 1.0)}.items():
        flat = dict(flatten(config("gym", f"{task},diffusion-ql")))
        assert tuple(flat[name] for name in names) == row and flat["data.reward"] == "none"
    flat = dict(flatten(config("gym", "walker2d-medium,consistency-ac")))
    assert tuple(flat[name] for name in names) == (3e-4, 1.0, 1, 1.0) and flat["policy.num_steps"] == 5
    flat = dict(flatten(antmaze("umaze,iql")))
    assert (flat["critic.name"], flat["critic.expectile"], flat["guidance.name"], flat["guidance.eta"]) == (
        *("expectile", 0.9),
        *("unnormalised", 10.0),
    )


def test_methods_are_described_by_what_shapes_them():
    assert describe(antmaze("umaze,diffusion-ql")) == "vp_diffusion, twin_q critic, q eta = 0.5, K = 5"
    assert describe(antmaze("umaze,d-bc")) == "vp_diffusion-bc, K = 5"
    assert describe(antmaze("umaze,iql")) == "gaussian, expectile critic, unnormalised eta = 10, K = 1"


@pytest.mark.parametrize(
    ("policy", "setting", "value"),
    [
        ("gaussian", "solver", "heun"),
        ("gaussian", "sigma_data", 0.4),
        ("mean_flow", "target", "ema"),
        ("flow_matching", "weighting", "edm"),
        ("consistency", "gap", "any"),
        ("consistency", "intervals", 80),
        ("gtp", "solver", "heun"),
        ("gtp", "adaptive_power", 0.5),
        ("ctm", "teacher", "euler"),
        ("shortcut", "tau", "zero"),
        ("diffusion", "flow_times", "log-normal"),
        ("vp_diffusion", "times", "log-normal"),
    ],
)
def test_a_setting_that_means_nothing_to_a_policy_is_refused_by_name(policy, setting, value):
    with pytest.raises(ValueError) as error:
        build(**{"policy__name": policy, f"policy__{setting}": value})
    assert all(word in str(error.value) for word in (f"policy.{setting}", repr(value), repr(policy)))


@pytest.mark.parametrize(
    ("policy", "setting"),
    [("diffusion", "times"), ("diffusion", "weighting"), ("diffusion", "solver"), ("ctm", "target"), ("ctm", "solver")],
)
def test_a_choice_that_there_is_not_is_refused_by_name(policy, setting):
    with pytest.raises(ValueError, match=f"policy.{setting} = 'nonsense' is not one of"):
        changed = settings_with(**{"policy__name": policy, f"policy__{setting}": "nonsense"})
        build_agent.make_policy(changed["policy"], LOW, HIGH, 16)


def test_a_critic_of_places_sees_no_body():
    """Its values of two bodies in one place are equal; a critic without values of states has no use for that."""
    place, everything = (
        build_agent.make_critic(settings_with(critic__name="value", critic__observes=observes)["critic"])
        for observes in ("place", "all")
    )
    rng = np.random.default_rng(0)
    batch = Batch(*(rng.normal(size=shape).astype(np.float32) for shape in ((4, 60), (4, 2), (4,), (4,), (4, 60))))
    other_body = batch._replace(obs=batch.obs + np.eye(60, dtype=np.float32)[2:29].sum(0))
    elsewhere = batch._replace(obs=batch.obs + np.eye(60, dtype=np.float32)[29])
    hparams = {"discount": np.float32(0.9)}

    def advantages(critic):
        params = critic.init(jax.random.key(0), batch)
        each = (batch, other_body, elsewhere)
        return [np.asarray(critic.evaluate(params, params, b, None, None, hparams).advantage) for b in each]

    same, with_other_body, with_other_goal = advantages(place)
    np.testing.assert_array_equal(same, with_other_body)
    assert (same != with_other_goal).all()
    same, with_other_body, _ = advantages(everything)
    assert (same != with_other_body).all()
    with pytest.raises(ValueError, match="critic.observes = 'place' means nothing to critic.name = 'twin_q'"):
        build_agent.check(settings_with(critic__observes="place"))


@pytest.mark.parametrize(
    ("policy", "term"), [("flow_matching", "lambda_flow"), ("gaussian", "lambda_flow"), ("ctm", "lambda_consistency")]
)
def test_the_coefficient_of_a_term_that_a_loss_does_not_have_is_refused(policy, term):
    build_agent.check(settings_with(policy__name=policy, guidance__name="none"))
    with pytest.raises(ValueError, match=f"policy.{term} = 0.5 means nothing to policy.name = '{policy}'"):
        build_agent.check(settings_with(policy__name=policy, guidance__name="none", **{f"policy__{term}": 0.5}))


def test_coefficients_of_terms_that_are_there_are_taken():
    build_agent.check(settings_with(policy__lambda_flow=0.5, policy__lambda_consistency=0.5))
    build_agent.check(settings_with(policy__name="shortcut", guidance__name="none", policy__lambda_flow=0.5))


def test_steps_that_a_policy_cannot_take_are_found_before_any_data():
    with pytest.raises(ValueError, match="built for 5 steps and cannot sample in 2"):
        build_agent.check(settings_with(policy__name="vp_diffusion", policy__num_steps=5, critic__num_steps=2))


def test_eta_zero_trains_a_critic_where_it_plays_no_part():
    """Its weights are there without eta; every other guidance is cloning then."""
    for name in GUIDANCE:
        settings = settings_with(guidance__name=name, guidance__eta=0.0)
        assert is_cloning(settings) == (name not in ("filter", "condition"))


def test_eta_zero_is_refused_where_it_would_not_clone():
    for name in ("filter", "condition"):
        with pytest.raises(ValueError, match=f"guidance.eta = 0.0 means nothing to guidance.name = '{name}'; to clone"):
            build_agent.check(settings_with(guidance__name=name, guidance__eta=0.0))


def test_the_page_on_adding_a_policy_tells_the_truth(tmp_path, monkeypatch):
    """Its code block, saved as it says, is found by name and trains, with a critic and a guidance."""
    (block,) = (b for b in pages.blocks(pages.TEXTS["docs/adding-a-policy.md"]) if b.language == "python")
    assert block.title == "gtp_jax/policies/one_jump.py"
    (tmp_path / "one_jump.py").write_text(block.text)
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path)])
    module = "gtp_jax.policies.one_jump"
    try:
        assert "one_jump" in build_agent.names(policies)
        faster = {"policy__name": "one_jump", "policy__learning_rate": 1e-2, "policy__decay": False}
        metrics, _, last, agent = train(100, guidance__name="q", guidance__eta=0.01, critic__name="twin_q", **faster)
        losses = metrics["policy/one_jump"]
        assert np.isfinite(losses).all() and losses[-10:].mean() < 0.8 * losses[:10].mean()
        actions = agent.act(last.policy, jax.random.key(0), BATCH.obs, 1)
        assert actions.shape == (16, 2) and (np.abs(actions) <= 1).all()
        assert {"policy/one_jump", "critic/loss", "guidance/q_loss"} <= metrics.keys()
        assert all(np.isfinite(value).all() for value in metrics.values())
        with pytest.raises(ValueError, match="policy.sigma_data = 0.4 means nothing to policy.name = 'one_jump'"):
            build(policy__name="one_jump", policy__sigma_data=0.4)
    finally:
        sys.modules.pop(module, None)
        vars(policies).pop("one_jump", None)
