"""Settings: anything out of place is refused by name, value and what is allowed; anything in its range is accepted."""

import copy
import math

import pytest
from hypothesis import example, given, settings, strategies

from gtp_jax import critics, datasets, policies
from gtp_jax.agent import build, networks
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.config.ranges import CHOICES, MAX_DEPTH, MOST, RANGES, TEXTS, WIDTH, choices
from gtp_jax.config.settings import DEFAULTS, HPARAMS, allowed, check, flatten
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.flow.times import GAPS, TAUS
from gtp_jax.names import members
from gtp_jax.policies import diffusion

FLAT = dict(flatten(DEFAULTS))
NUMBERS = sorted(RANGES)
WHOLE = sorted(name for name in NUMBERS if isinstance(FLAT[name], int))
WORDS = sorted(name for name in FLAT if choices(name))


def with_value(name, value):
    """The defaults with one setting changed, and those that must follow it."""
    changed = copy.deepcopy(DEFAULTS)
    *parents, last = name.split(".")
    part = changed
    for parent in parents:
        part = part[parent]
    part[last] = value
    if name == "policy.subgoal_way":
        changed["policy"]["subgoal_steps"] = 20
        changed["data"]["observation"] = "maze-egocentric" if value == "bearing" else "maze-scales"
    return changed


def refusal(name, value):
    with pytest.raises(ValueError) as error:
        check(with_value(name, value))
    text = str(error.value)
    assert name in text and "\n" not in text and len(text) < 1000, text
    return text


def test_every_setting_has_a_range_a_list_or_a_kind():
    """None is left that check would let through as whatever it is."""
    of_a_kind = {n for n, v in FLAT.items() if isinstance(v, bool | tuple)} | {*TEXTS}
    assert {*RANGES} | {*WORDS} | of_a_kind == {*FLAT}
    assert set(RANGES).isdisjoint(WORDS) and set(RANGES).isdisjoint(of_a_kind)
    assert all(allowed(name) for name in FLAT)


def test_the_words_are_those_that_the_code_knows():
    assert set(CHOICES["guidance.name"]) == set(GUIDANCE)
    assert set(CHOICES["data.reward"]) == set(datasets.REWARDS)
    assert set(CHOICES["data.observation"]) == set(datasets.OBSERVATIONS)
    assert set(CHOICES["data.episodes"]) == set(datasets.EPISODES)
    assert set(CHOICES["policy.activation"]) == set(CHOICES["critic.activation"]) == set(networks.ACTIVATIONS)
    assert set(CHOICES["policy.target"]) == set(flow_policy.TARGETS)
    assert set(CHOICES["policy.solver"]) == set(flow_map.SOLVERS)
    assert set(CHOICES["policy.teacher"]) == {"score", *flow_map.SOLVERS}
    assert (CHOICES["policy.gap"], CHOICES["policy.tau"]) == (GAPS, TAUS)
    assert (CHOICES["policy.times"], CHOICES["policy.weighting"]) == (diffusion.TIMES, diffusion.WEIGHTINGS)
    assert choices("policy.name") == members(policies) and choices("critic.name") == members(critics)


NOT_NUMBERS = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.text(max_size=5),
    strategies.binary(max_size=3),
    strategies.complex_numbers(),
    strategies.lists(strategies.floats(), max_size=2),
    strategies.tuples(strategies.integers()),
    strategies.dictionaries(strategies.text(max_size=2), strategies.integers(), max_size=2),
    strategies.sampled_from([math.nan, math.inf, -math.inf, -0.0, float("1e400"), 10**400, -(10**5000)]),
)


@settings(max_examples=200, deadline=None)
@given(strategies.sampled_from(NUMBERS), NOT_NUMBERS)
@example("num_seeds", "9" * 2000)
def test_what_is_no_number_is_refused_for_a_number(name, value):
    text = refusal(name, value)
    assert isinstance(value, dict) or "must be a" in text


@settings(max_examples=200, deadline=None)
@given(strategies.sampled_from(NUMBERS), strategies.floats(allow_nan=False) | strategies.integers())
@example("policy.learning_rate", 1e-300)  # 0 in float32
@example("guidance.eta", 1e-45)
@example("num_seeds", 2.0)  # a float for a count
def test_numbers_outside_their_range_are_refused_and_the_others_accepted(name, value):
    inside = RANGES[name].low <= value <= RANGES[name].high and value not in RANGES[name].excluded
    inside = inside and (value >= 1e-30 or (value == 0 and math.copysign(1, value) > 0))
    if inside and (name not in WHOLE or isinstance(value, int)):
        accepted(name, value)
    else:
        assert str(RANGES[name]) in refusal(name, value)


def accepted(name, value):
    changed = with_value(name, value)
    if name == "log_every":
        changed["checkpoint_every"] = changed["eval"]["every"] = value
    elif name in ("checkpoint_every", "eval.every"):
        changed["log_every"] = 1
    elif name == "policy.sigma_min":
        changed["policy"]["sigma_max"] = min(2 * value, 1e6)
    elif name == "policy.sigma_max":
        changed["policy"]["sigma_min"] = value / 2
    elif name == "seed_offset":
        changed["num_seeds"] = 1
    elif name == "devices":
        changed["num_seeds"] = value or 1
    if changed["policy"]["sigma_min"] < max(changed["policy"]["sigma_max"], 1e-29):
        check(changed)


@settings(max_examples=200, deadline=None)
@given(strategies.data())
def test_every_number_in_its_range_is_accepted(data):
    name = data.draw(strategies.sampled_from(NUMBERS))
    low, high = RANGES[name].low, RANGES[name].high
    numbers = strategies.integers(int(low), int(high)) if name in WHOLE else strategies.floats(low, high)
    value = data.draw(numbers)
    if value in RANGES[name]:
        accepted(name, value)
    else:
        assert value in RANGES[name].excluded or 0 <= value < 1e-30


@settings(max_examples=200, deadline=None)
@given(strategies.sampled_from(WORDS), strategies.text(max_size=12) | NOT_NUMBERS)
def test_words_that_there_are_not_are_refused(name, value):
    if isinstance(value, str) and value in choices(name):
        check(with_value(name, value))
    else:
        text = refusal(name, value)
        assert isinstance(value, dict) or all(word in text for word in choices(name))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [None, 3, True, b"a", "a\nb", "a" * 201, "a\0b", "x?y", ["a"]])
def test_names_that_anybody_may_choose_have_a_form(name, value):
    check(with_value(name, "some-name_2.x"))
    assert allowed(name) in refusal(name, value)


@pytest.mark.parametrize("name", WORDS)
def test_the_nearest_word_is_named(name):
    for word in choices(name):
        check(with_value(name, word))
        if len(word) > 3:
            assert f"did you mean {word!r}?" in refusal(name, word + "x")


WIDTHS = strategies.lists(strategies.integers(int(WIDTH.low), int(WIDTH.high)), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(strategies.sampled_from(["policy.hidden", "critic.hidden"]), WIDTHS, NOT_NUMBERS, strategies.integers(0))
def test_widths_are_whole_numbers(name, widths, wrong, place):
    check(with_value(name, tuple(widths)))
    place %= len(widths)
    assert "whole number" in refusal(name, (*widths[:place], wrong, *widths[place + 1 :])) or isinstance(wrong, dict)
    for bad in ((), (0,), (True,), (8.0,), (8,) * (MAX_DEPTH + 1), 8, "8", None):
        refusal(name, bad)


@settings(max_examples=100, deadline=None)
@given(strategies.sampled_from(sorted(HPARAMS)), NOT_NUMBERS, strategies.booleans())
def test_swept_values_are_numbers_of_the_settings_range(name, wrong, second):
    range_ = RANGES[HPARAMS[name]]
    fine = range_.low + (range_.high - range_.low) / 2
    check(with_value(f"sweep.{name}", (fine,)))
    text = refusal(f"sweep.{name}", (fine, wrong) if second else (wrong,))
    assert str(range_) in text and HPARAMS[name] in text
    if not isinstance(wrong, tuple | list):
        refusal(f"sweep.{name}", wrong)
    assert "twice" in refusal(f"sweep.{name}", (fine, fine))


@pytest.mark.parametrize("name", [name for name, value in FLAT.items() if isinstance(value, bool)])
def test_switches_are_true_or_false(name):
    for value in (0, 1, "True", None, 1.0, ()):
        assert "True or False" in refusal(name, value)


def test_unknown_and_missing_keys_are_named_with_the_nearest():
    for name, near in (("polcy.rho", "policy.rho"), ("learning_rate", "learning_rate"), ("policy.rh", "policy.rho")):
        changed = copy.deepcopy(DEFAULTS)
        part = changed.setdefault(name.split(".")[0], {}) if "." in name else changed
        part[name.rpartition(".")[2]] = 1.0
        with pytest.raises(ValueError, match="no setting") as error:
            check(changed)
        assert name.split(".")[0] in str(error.value)
        if name != "polcy.rho":
            assert f"did you mean {near}" in str(error.value) or near in str(error.value)
    with pytest.raises(ValueError, match="policy = 3 must be a group of settings: name"):
        check(with_value("policy", 3))
    for wrong in (None, 3, [DEFAULTS], "policy"):
        with pytest.raises(ValueError, match="the configuration = .* must be a group"):
            check(wrong)
    with pytest.raises(ValueError, match="no setting '7'"):
        check({**DEFAULTS, 7: 1})
    for name in FLAT:
        changed = with_value(name, 0)
        part = changed
        for parent in name.split(".")[:-1]:
            part = part[parent]
        del part[name.rpartition(".")[2]]
        with pytest.raises(ValueError, match=f"lacks {name}"):
            check(changed)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policy.sigma_min": 80.0}, "policy.sigma_min = 80.0 must be below policy.sigma_max = 80.0"),
        ({"checkpoint_every": 251}, "checkpoint_every = 251 must be a multiple of log_every = 250"),
        (
            {"critic.observes": "place", "data.observation": "ant"},
            "critic.observes = 'place' needs .* 'goal-scales' or 'maze-.*, and it is 'ant'; else set .*es = 'all'",
        ),
        (
            {"policy.subgoal_steps": 20, "data.observation": "ant"},
            "policy.subgoal_steps = 20 needs .* 'goal-scales' or 'maze-.*, and it is 'ant'; else set .*_steps = 0",
        ),
        ({"devices": 3}, "devices = 3 must divide the 4 trainings"),
        ({"seed_offset": MOST}, "seed_offset = 2147483647: with num_seeds = 4 it must be at most 2147483644"),
        ({"num_seeds": 65_536, "sweep.eta": (0.1, 1.0)}, "num_seeds = 65536, times what is swept, are 131072"),
    ],
)
def test_settings_that_do_not_go_together(changes, says):
    together = copy.deepcopy(DEFAULTS)
    for name, value in changes.items():
        group, _, last = name.rpartition(".")
        (together[group] if group else together)[last] = value
    with pytest.raises(ValueError, match=says):
        check(together)
    if "devices" in changes:
        check({**together, "devices": 2})


def test_agents_are_made_of_checked_settings_only():
    import numpy as np

    bound = np.ones(2, np.float32)
    for name, value in (("policy.rho", "7"), ("guidance.name", "adv"), ("num_updates", True)):
        for make in (lambda s: build.make(s, -bound, bound), build.check):
            with pytest.raises(ValueError, match=f"{name} = "):
                make(with_value(name, value))


def test_minibatches_are_not_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size = 601 must be at most 600, the transitions of gtp/antmaze/umaze"):
        datasets.check("gtp/antmaze/umaze-600-v0", batch_size=601)
    datasets.check("gtp/antmaze/umaze-600-v0", batch_size=600)


def test_dataset_ids_and_transforms_are_checked_by_name_alone(tmp_path):
    for bad in (
        "gtp/antmaze/umazes-v0",
        "../x-v0",
        "gtp/antmaze/../x-v0",
        "/etc/x-v0",
        "",
        3,
        None,
        "a/" * 200 + "x-v0",
    ):
        with pytest.raises(ValueError, match="dataset"):
            datasets.check(bad)
    with pytest.raises(ValueError, match="did you mean 'gtp/antmaze/umaze-v0'"):
        datasets.check("gtp/antmaze/umazes-v0")
    for size in ("0", "100000001", "9" * 60):
        with pytest.raises(ValueError, match="transitions must be at least 1 and at most"):
            datasets.check(f"gtp/antmaze/umaze-{size}-v0")
    with pytest.raises(ValueError, match="the seed must be below"):
        datasets.check("gtp/antmaze/umaze-seed99999999999-v0")
    # Before a file is looked at, let alone collected or downloaded.
    for given_, says in (
        ({"reward": "minus-won"}, "no reward transform 'minus-won'.*did you mean 'minus-one'"),
        ({"observation": "goal-scale"}, "did you mean 'goal-scales'"),
        ({"reward": None}, "no reward transform None"),
    ):
        with pytest.raises(ValueError, match=says):
            datasets.load("gtp/antmaze/umaze-v0", root=tmp_path, **given_)
    assert list(tmp_path.iterdir()) == []
