"""Every task, preset and method: it exists or says why not, fits the loader, and builds an agent."""

import dataclasses
import inspect

import jax
import numpy as np
import pytest
from oracles import random_batch

from gtp_jax import datasets
from gtp_jax.agent.build import build_agent
from gtp_jax.config import methods, presets, tasks
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings, describe, hparam_names, is_cloning
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.transforms import Observer

VARIANTS = [
    name
    for family in presets.DEFAULT_TASKS
    for name in (family, *(f"{family}:{task}" for task in tasks.of_family(family)))
]
VARIANTS += ["d4rl:hopper-medium-v2,iql", "d4rl:antmaze-umaze-v2,gtp-bc", "ogbench:tiny", "d4rl:tiny"]
VARIANTS += ["antmaze:tiny", "antmaze:D4RL/antmaze/umaze-v1", "gym:mujoco/hopper/medium-v0", "adroit:D4RL/pen/human-v2"]
LOW, HIGH = -np.ones(2, np.float32), np.ones(2, np.float32)


def trace(settings):
    """Traces the agent's three functions, which finds shapes and types that do not go together; computes nothing."""
    transform = settings.data.observation
    size = {"maze-scales": 60, "maze-egocentric": 62}.get(transform, 11)
    layout = Observer(transform, np.zeros(size), np.ones(size)).layout
    agent, hparams = build_agent(settings, LOW, HIGH, layout)
    batch = random_batch(16, obs_dim=size)._replace(subgoal=np.ones((16, 2), np.float32))
    first = jax.eval_shape(agent.init, jax.random.key(0), batch, hparams)
    last, metrics = jax.eval_shape(agent.update, first, batch)
    assert jax.tree.structure(first) == jax.tree.structure(last)
    steps = settings.policy.num_steps  # that it acts with at evaluation
    action = jax.eval_shape(lambda params: agent.act(params, jax.random.key(0), batch.obs, steps, 1.0), last.policy)
    assert action.shape == (16, 2) and (last.critic == ()) == is_cloning(settings) == ("critic/loss" not in metrics)
    assert {name: float(value) for name, value in hparams.items()} == {
        name: np.float32(settings.flat()[key]) for name, key in hparam_names(settings).items()
    }


def test_every_family_of_tasks_has_a_preset():
    assert set(presets.PRESETS) == set(tasks.TASK_FAMILIES)
    for family in presets.DEFAULT_TASKS:
        trace(preset(family).replace({"policy.hidden": (4,), "critic.hidden": (4,)}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_preset_fits_the_loader(variant):
    settings = preset(variant)
    if ids.is_builtin(settings.dataset) and "/ogbench/" in settings.dataset:
        pytest.importorskip("ogbench")
    assert Settings.from_json(settings.to_json()) == settings == preset(variant.replace(":", ".py:", 1))
    data = dataclasses.asdict(settings.data)
    inspect.signature(datasets.load).bind(settings.dataset, **data)
    if ids.is_builtin(settings.dataset):
        assert ids.parse_id(settings.dataset).id == settings.dataset
        del data["standardise"]
        datasets.check_dataset(settings.dataset, **data, batch_size=settings.batch_size)
    else:
        assert "/" not in variant or settings.dataset == variant.partition(":")[2]
    file, _, task = variant.partition(":")
    found, _ = (
        presets.find(file, (task or presets.DEFAULT_TASKS[file]).partition(",")[0]) if task != "tiny" else (None, "")
    )
    assert settings.eval.num_episodes == (tasks.TASK_FAMILIES[found.family].episodes if found else 4)


def test_the_main_command_asks_for_what_the_project_promises():
    """At least 3 seeds of 100 episodes, value guidance, and at most 5 sampling steps."""
    settings = preset("antmaze")
    assert settings == preset("antmaze.py:umaze,gtp-hierarchical") and settings.dataset == "gtp/antmaze/umaze-v0"
    assert settings.num_seeds >= 3 and settings.eval.num_episodes >= 100
    assert not is_cloning(settings) and settings.policy.num_steps <= 5


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_is_its_row_and_builds(method):
    settings = preset(f"antmaze:tiny,{method}")
    flat, defaults = settings.flat(), Settings.of({}).flat()
    for name, value in methods.overrides(method, tasks.TASKS["antmaze-umaze"]).items():
        assert flat[name] == value and type(flat[name]) is type(defaults.get(name, value)), name
    trace(settings)


@pytest.mark.parametrize("family", tasks.TASK_FAMILIES)
@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_has_settings_for_every_task_or_says_why_not(method, family):
    for name, task in tasks.of_family(family).items():
        if refused := methods.method_refusal(method, task):
            assert methods.PUBLISHED.get(method) or (method in methods.HIERARCHICAL and family != "antmaze")
            with pytest.raises(ValueError) as error:
                preset(f"{family}:{name},{method}")
            assert str(error.value) == refused and method in refused and repr(task.name) in refused
            continue
        settings = preset(f"{family}:{name},{method}")
        if method == "gtp-paper":
            assert (settings.critic.name, settings.guidance.name, settings.critic.n_step) == ("twin_q", "advantage", 1)
        if settings.guidance.name == "q":
            assert settings.policy.num_steps == settings.critic.num_steps


def test_the_papers_times_are_those_of_three_methods_and_of_no_other():
    expected = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "sigma_data": 0.5, "sampling": "karras"}
    expected |= {"first_intervals": 10, "intervals": 1280, "gap": "adjacent", "zero_share": 0.0}
    expected |= {"consistency_weighting": "none"}
    with_them = []
    for method in methods.METHODS:
        if not methods.method_refusal(method, tasks.TASKS["antmaze-umaze"]):
            own = dataclasses.asdict(preset(f"antmaze:umaze,{method}").policy.own)
            with_them += [method] if expected.items() <= own.items() else []
    assert with_them == ["gtp-paper", "gtp-q", "gtp-paper-times"]


def test_the_jump_as_the_actor_is_the_same_guidance_for_every_policy():
    def rest(method):
        flat = preset(f"ogbench:cube-single-play-singletask-task1-v0,{method}").flat()
        own = dataclasses.asdict(preset(f"ogbench:cube-single-play-singletask-task1-v0,{method}").policy.own)
        return {name: value for name, value in flat.items() if name.removeprefix("policy.") not in {"name", *own}}

    assert rest("flow-matching-q") == rest("diffusion-q") == rest("gtp-q") and rest("gtp-q")["guidance.name"] == "q"


@pytest.mark.parametrize(
    ("name", "row"),
    [  # table 6 of Diffusion-QL, four of its rows, one of Consistency-AC's
        ("antmaze:umaze,diffusion-ql", (3e-4, 0.5, 1, 2.0, 5)),
        ("antmaze:large-diverse,diffusion-ql", (3e-4, 3.5, 10, 7.0, 5)),
        ("gym:hopper-medium-replay,diffusion-ql", (3e-4, 1.0, 1, 4.0, 5)),
        ("gym:walker2d-medium,diffusion-ql", (3e-4, 1.0, 1, 1.0, 5)),
        ("gym:walker2d-medium,consistency-ac", (3e-4, 1.0, 1, 1.0, 5)),
    ],
)
def test_published_rows(name, row):
    flat = preset(name).flat()
    names = ("policy.learning_rate", "guidance.eta", "critic.backup_samples", "max_grad_norm", "policy.num_steps")
    assert tuple(flat[name] for name in names) == row and flat["guidance.name"] == "q"
    assert flat["data.reward"] == ("none" if name.startswith("gym") else "minus-half-times-four")


def test_iql_has_its_own_weights_and_expectile():
    settings = preset("antmaze:umaze,iql")  # exp(10 A) at expectile 0.9
    assert (settings.critic.name, settings.critic.own.expectile) == ("expectile", 0.9)
    assert (settings.guidance.name, settings.guidance.eta) == ("unnormalised", 10.0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nosuch", "unknown preset 'nosuch'; there are antmaze, gym"),
        ("gtp-bc", "unknown preset 'gtp-bc'; .*'gtp-bc' is a method, and stands behind a comma: 'gym:,gtp-bc'"),
        ("antmaze:gtp-q", "unknown task 'gtp-q'.*; 'gtp-q' is a method.*: 'antmaze:,gtp-q'"),
        ("antmase.py:umaze", "did you mean 'antmaze'"),
        ("antmaze:umazes", "unknown task 'umazes'.*did you mean 'umaze'"),
        ("antmaze:tinny", "unknown task 'tinny'.*large-diverse, .*tiny; did you mean 'tiny'"),
        ("gym:tiny", "unknown task 'tiny'.*there are .*expert$"),
        ("antmaze:umaze,gtpp", "unknown method 'gtpp'; there are gtp, gtp-paper.*did you mean 'gtp'"),
        (
            "antmaze:mine/maze-v0,diffusion-ql",
            "published .* for antmaze-umaze, .* none for 'mine/maze",
        ),
        (
            "gym:hopper-medium,gtp-hierarchical",
            "gtp-hierarchical needs positions in a maze .* 'hopper-medium' has none",
        ),
        ("gym:gtp/antmaze/umaze-v0", "is the task antmaze-umaze of another family than gym"),
    ],
)
def test_presets_that_there_are_not(name, says):
    with pytest.raises(ValueError, match=says):
        preset(name)


def test_names_and_ids_find_their_task():
    umaze = tasks.TASKS["antmaze-umaze"]
    assert tasks.find("antmaze", "umaze") == (umaze, "gtp/antmaze/umaze-v0")
    assert tasks.find("adroit", "pen-human")[1] == "D4RL/pen/human-v2"
    with pytest.raises(ValueError, match="unknown task 'hoper-medium'.*did you mean 'hopper-medium'"):
        tasks.find("gym", "hoper-medium")
    for name in ("gtp/antmaze/umaze-5k-v0", "gtp/antmaze/umaze-600-seed3-v0", "D4RL/antmaze/umaze-v2"):
        assert tasks.find("antmaze", name) == (umaze, name)
    assert preset("gym:my-hopper-v0,gtp-bc").dataset == "my-hopper-v0"  # Minari's ids need no namespace
    own, name = tasks.find("antmaze", "mine/maze-v0")
    assert name == own.name == "mine/maze-v0" and own.diffusion_ql is own.builtin is None


def test_every_paper_task_is_there_with_its_scores():
    """Nine of Gym, six of AntMaze; arXiv 2510.11499's averages of GTP are those of its tasks."""
    gym, antmaze = (tasks.of_family(name).values() for name in ("gym", "antmaze"))
    published = [[task.scores["GTP"] for task in family if "GTP" in task.scores] for family in (gym, antmaze)]
    assert [len(scores) for scores in published] == [9, 6]
    assert [sum(scores) / len(scores) for scores in published] == pytest.approx([89.0, 80.6], abs=0.051)
    assert all(task.builtin for task in (*gym, *antmaze))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"guidance.eta": 0.3, "policy.num_steps": 2}, "gtp, twin_q critic, advantage eta = 0.3, K = 2"),
        ({"guidance.eta": 0.0, "policy.temperature": 0.5}, "gtp-bc, K = 5, temperature 0.5"),
        ({"guidance.name": "filter", "sweep.policy_lr": (0.1,)}, "gtp, twin_q critic, filter, K = 5"),
        ({"sweep.eta": (0.1, 1.0)}, "gtp, twin_q critic, advantage, K = 5"),
        ({"policy.subgoal_steps": 20, "guidance.name": "none"}, "gtp-bc, displacement subgoals 20 steps ahead, K = 5"),
    ],
)
def test_methods_are_described_by_what_matters_for_their_score(changes, text):
    assert describe(Settings.of(changes)) == text
