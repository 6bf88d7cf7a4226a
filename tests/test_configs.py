"""Every configuration, shrunk: it loads, its settings are complete and in range, and its agent runs one chunk."""

import copy
import importlib.util
import inspect
from pathlib import Path

import jax
import numpy as np
import pytest
from oracles import random_batch

from gtp_jax import critics, datasets, policies
from gtp_jax.agent import build as build_agent
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.config import tasks
from gtp_jax.config.settings import DEFAULTS, HPARAMS, RANGES, check, describe, flatten, is_cloning
from gtp_jax.datasets.builtin import ids
from gtp_jax.parallel.seeds import Seeds

CONFIGS = Path(__file__).parents[1] / "experiments" / "configs"
HOSTED = {"antmaze": "D4RL/antmaze/umaze-v1", "gym": "mujoco/hopper/medium-v0", "adroit": "D4RL/pen/human-v2"}
VARIANTS = {family: [None, *tasks.of_family(family), *filter(None, [HOSTED.get(family)])] for family in tasks.FAMILIES}
VARIANTS["antmaze"].append("tiny")
EVERY = [pytest.param(name, variant, id=f"{name}:{variant}") for name in VARIANTS for variant in VARIANTS[name]]


def load(name, variant=None):
    """The settings of a config file as experiments/run.py reads them: the file is a loose module."""
    spec = importlib.util.spec_from_file_location(f"config_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config() if variant is None else module.get_config(variant)
    return config.to_dict()


def test_every_config_file_is_tested():
    assert {path.stem for path in CONFIGS.glob("*.py")} == set(VARIANTS)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_settings_are_complete_and_fit_the_loader(name, variant):
    settings = load(name, variant)
    check(settings)
    assert dict(flatten(settings)).keys() == dict(flatten(DEFAULTS)).keys()
    inspect.signature(datasets.load).bind(settings["dataset"], **settings["data"])
    assert settings["data"]["reward"] in datasets.REWARDS
    assert settings["data"]["observation"] in datasets.OBSERVATIONS
    if ids.is_embedded(settings["dataset"]):
        assert ids.parse(settings["dataset"]).id == settings["dataset"]
    elif variant and "/" in variant:
        assert settings["dataset"] == variant


def test_what_a_configuration_says_was_published_is_the_tables():
    """Every task that has a published score of GTP stands in its file's description, with that score."""
    for family in ("antmaze", "gym"):
        text = (CONFIGS / f"{family}.py").read_text().split('"""')[1]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
        shown = {row[0]: row[1:] for row in rows}
        for name, task in tasks.of_family(family).items():
            if "GTP" in task.scores:
                body, _, data = name.partition("-")
                cell = shown[name][0] if family == "antmaze" else shown[data][shown["data"].index(body)]
                assert float(cell) == task.scores["GTP"], name
                assert family != "antmaze" or float(shown[name][1]) == task.scores["GTP-BC"]


def test_the_main_command_asks_for_what_the_project_promises():
    """At least 3 seeds of 100 episodes, value guidance, and at most 5 sampling steps."""
    settings = load("antmaze")
    assert settings["dataset"] == "gtp/antmaze/umaze-v0" and settings == load("antmaze", "umaze")
    assert settings["num_seeds"] >= 3 and settings["eval"]["num_episodes"] >= 100
    assert not is_cloning(settings) and settings["policy"]["num_steps"] <= 5


def test_variants_do_not_leak_into_one_another():
    """Each is built from a fresh copy of the defaults."""
    before = copy.deepcopy(DEFAULTS)
    load("antmaze", "tiny")
    assert before == DEFAULTS


def shrunk(settings, **changes):
    """The same code path with a network that compiles in no time; changes are like {"critic.name": "expectile"}."""
    settings = copy.deepcopy(settings)
    changes = {"policy.hidden": (4,), "critic.hidden": (4,), "batch_size": 4} | changes
    for name, value in changes.items():
        *parents, last = name.split(".")
        target = settings
        for parent in parents:
            target = target[parent]
        assert last in target, name
        target[last] = value
    return settings


def chunk(settings):
    """Metrics of one chunk of two updates of one seed on transitions of AntMaze's size."""
    data = random_batch(32, obs_dim=62, action_dim=8)._replace(subgoal=np.ones((32, 2), np.float32))
    agent, hparams = build_agent.make(settings, -np.ones(8, np.float32), np.ones(8, np.float32))
    example = jax.tree.map(lambda column: column[:1], data)
    engine = Seeds(
        lambda key: agent.init(key, example, hparams), agent.update, data, seeds=(0,), batch_size=settings["batch_size"]
    )
    state, metrics = engine.advance(engine.init(), 2)
    assert engine.gather(state).step == 2
    return engine.gather(metrics)


def same_agent(settings):
    """What an agent is built from, so that variants that differ only in their data, in numbers that live in the state,
    or in how they are evaluated are compiled once."""
    apart = {*HPARAMS.values(), "policy.num_steps", "policy.temperature"}
    parts = {part: settings[part] for part in ("policy", "critic", "guidance")}
    return repr([item for item in flatten(parts) if item[0] not in apart])


CHUNKS: dict[str, dict] = {}


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_a_chunk_runs(name, variant):
    settings = shrunk(load(name, variant))
    key = same_agent(settings)
    if key not in CHUNKS:
        CHUNKS[key] = chunk(settings)
    assert all(np.isfinite(value).all() for value in CHUNKS[key].values())
    assert "critic/loss" in CHUNKS[key]


OVERRIDES = [
    {"guidance.eta": 0.0},
    {"critic.name": "expectile", "critic.layer_norm": True, "policy.target": "ema", "policy.activation": "relu"},
    {"critic.samples": 3, "critic.ensemble": 3, "critic.num_steps": 1, "policy.decay": False},
]


@pytest.mark.parametrize("changes", OVERRIDES, ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()))
def test_a_chunk_runs_with(changes):
    settings = shrunk(load("antmaze", "tiny"), **changes)
    check(settings)
    metrics = chunk(settings)
    assert all(np.isfinite(value).all() for value in metrics.values())
    assert ("critic/loss" in metrics) == (not is_cloning(settings))


def test_eta_zero_and_no_guidance_are_the_same_method():
    settings = load("antmaze", "tiny")
    assert not is_cloning(settings)
    assert all(is_cloning(shrunk(settings, **{f"guidance.{k}": v})) for k, v in (("eta", 0.0), ("name", "none")))


def test_methods_are_named_by_what_matters_for_their_score():
    settings = load("antmaze", "tiny")
    plain = shrunk(settings, **{"policy.temperature": 1.0, "guidance.eta": 0.3, "policy.num_steps": 2})
    assert describe(plain) == "gtp, twin_q critic, advantage eta = 0.3, K = 2"
    cold = shrunk(settings, **{"policy.temperature": 0.5, "guidance.eta": 0.0, "policy.num_steps": 5})
    assert describe(cold) == "gtp-bc, K = 5, temperature 0.5"


def build(**changes):
    return build_agent.make(shrunk(load("antmaze", "tiny"), **changes), -np.ones(8), np.ones(8))


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({"policy.name": "gpt"}, build_agent.names(policies)),
        ({"critic.name": "twinq"}, build_agent.names(critics)),
        ({"guidance.name": "adventage"}, GUIDANCE),
        ({"policy.target": "emma"}, ("online", "ema")),
        ({"policy.activation": "mich"}, ("mish", "relu", "silu")),
        ({"critic.activation": "mich"}, ("mish", "relu", "silu")),
    ],
    ids=lambda value: str(value),
)
def test_unknown_names_are_refused_with_the_valid_ones(changes, valid):
    (wrong,) = changes.values()
    with pytest.raises(ValueError, match=wrong) as error:
        build(**changes)
    assert all(name in str(error.value) for name in valid)


def test_members_are_found_by_file_name():
    assert "gtp" in build_agent.names(policies) and {"twin_q", "expectile"} <= set(build_agent.names(critics))


def test_hyperparameters_are_float32_scalars():
    _, hparams = build(**{"guidance.eta": 0.3, "critic.discount": 0.95})
    assert all(value.shape == () and value.dtype == np.float32 for value in hparams.values())
    assert hparams["eta"] == np.float32(0.3) and hparams["discount"] == np.float32(0.95)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_seeds", 0),
        ("num_updates", 0),
        ("batch_size", -1),
        ("policy.num_steps", 0),
        ("critic.num_steps", 0),
        ("policy.learning_rate", -3e-4),
        ("policy.learning_rate", float("nan")),
        ("critic.discount", 1.1),
        ("critic.ema", 0.0),
        ("guidance.eta", -1.0),
        ("policy.temperature", -0.5),
        ("critic.expectile", 1.0),
        ("eval.num_episodes", 0),
        ("policy.hidden", ()),
        ("critic.hidden", (0,)),
        ("policy.sigma_min", 100.0),
        ("checkpoint_every", 7),
        ("eval.every", 7),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(key, value):
    with pytest.raises(ValueError) as error:
        check(shrunk(load("antmaze", "tiny"), **{key: value}))
    assert key in str(error.value) and repr(value) in str(error.value)


def test_a_missing_setting_is_named():
    settings = load("antmaze", "tiny")
    del settings["policy"]["rho"]
    with pytest.raises(ValueError, match="lacks policy.rho"):
        check(settings)
    assert set(RANGES) <= dict(flatten(DEFAULTS)).keys()
