"""Settings: anything out of place is refused by name, value and what is allowed; anything in its range is accepted."""

import dataclasses
import functools
import json
import math

import pytest
import stored
from hypothesis import example, given, settings, strategies

from gtp_jax import critics, datasets, policies
from gtp_jax.agent import guidance, hierarchy, networks
from gtp_jax.config import groups
from gtp_jax.config.settings import Settings, hparam_names, is_cloning, structural, uses_labels
from gtp_jax.config.table import declarations, is_free, reference
from gtp_jax.datasets.transforms import OBSERVATIONS, Observer
from gtp_jax.declare import MAX_DEPTH, MAX_INT, WIDTHS

DECLARED = {name: each.setting for name, each in declarations().items() if not name.startswith("sweep.")}
SWEPT = sorted(name for name in declarations() if name.startswith("sweep."))
NUMBERS = sorted(name for name, each in DECLARED.items() if type(each.default) in (int, float))
WORDS = sorted(name for name, each in DECLARED.items() if each.words())
TEXTS = sorted(name for name, each in DECLARED.items() if each.text)
SWITCHES = sorted(name for name, each in DECLARED.items() if isinstance(each.default, bool))
TUPLES = sorted(name for name, each in DECLARED.items() if isinstance(each.default, tuple))


def refusal(changes, make=Settings.of):
    """The one line with which settings are refused."""
    return stored.refusal(lambda: make(changes))


def owner(name):
    """The member that a setting belongs to, if only some have it."""
    owners, part = declarations()[name].owners, name.partition(".")[0]
    return {f"{part}.name": owners[0]} if owners and part != "sweep" else {}


def refused(name, value):
    text = refusal(owner(name) | {name: value})
    assert name in text, text
    return text


def companions(name, value):
    """The settings without which a setting cannot have a value: what has to divide or to exceed it."""
    found = owner(name)
    if name == "log_every":
        found |= {"checkpoint_every": value, "eval.every": value}
    elif name in ("checkpoint_every", "eval.every"):
        found["log_every"] = 1
    elif name == "policy.sigma_min":
        found["policy.sigma_max"] = min(2 * value, 1e6)
    elif name == "policy.sigma_max":
        found["policy.sigma_min"] = max(value / 2, 1e-30)  # less counts as 0
    elif name in ("policy.intervals", "policy.first_intervals"):
        found |= {"policy.intervals": value, "policy.first_intervals": value}
    elif name in ("seed_offset", "devices"):
        found["num_seeds"] = (name == "devices" and value) or 1
    elif name in ("guidance.relative", "guidance.anchor", "guidance.anchor_steps", "guidance.filter_temperature"):
        found["guidance.name"] = "q"
    elif name == "policy.high_level_hidden":
        found["policy.subgoal_steps"] = 20
    elif name == "policy.subgoal_encoding":
        found |= {"policy.subgoal_steps": 20}
        found["data.observation"] = "maze-egocentric" if value == "egocentric" else "maze-scales"
    return {"guidance.name": "none"} | found


def accepted(name, value):
    """Makes settings with the value, which they hold in their own place, flat, and after a trip through JSON."""
    value = float(value) if isinstance(DECLARED[name].default, float) else value  # which rounds whole numbers
    changes = companions(name, value) | {name: value}
    if changes.get("policy.sigma_min", 0.002) >= changes.get("policy.sigma_max", 10.0):
        return None
    made = Settings.of(changes)
    again = Settings.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made and repr(again) == repr(made) and made.replace({}) == made
    assert made.flat()[name] == value and type(again.flat()[name]) is type(DECLARED[name].default)
    *part, last = name.rsplit(".", 1)
    group = getattr(made, *part) if part else made
    assert getattr(group if hasattr(group, last) else group.own, last) == value
    return made


def test_every_setting_has_a_kind_a_documentation_and_an_allowed_default():
    assert sorted([*NUMBERS, *WORDS, *TEXTS, *SWITCHES, *TUPLES]) == sorted(DECLARED)
    for name, each in DECLARED.items():
        assert each.allows(each.default) and each.allowed() and each.doc.endswith("."), name
        assert (each.range is None) == (name not in NUMBERS + TUPLES), name
    assert [row.name for row in reference()] == list(DECLARED)
    assert Settings() == Settings.of({}) == Settings.from_json({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().policy.num_steps = 3


def test_the_words_are_those_that_the_code_knows():
    assert set(DECLARED["guidance.name"].words()) == set(groups.GUIDANCE_FACTS) == set(guidance.GUIDANCE)
    for name, facts in groups.GUIDANCE_FACTS.items():
        made = guidance.GUIDANCE[name]()
        assert facts.label == (made.label is not None) and facts.q_values == (made.improve is not None)
        assert made.needs_critic == (name != "none")
    assert set(DECLARED["data.reward"].words()) == set(datasets.REWARDS)
    assert set(DECLARED["data.observation"].words()) == {"auto", *OBSERVATIONS}
    assert set(DECLARED["data.episodes"].words()) == set(datasets.EPISODES)
    assert set(groups.ACTIVATION_NAMES) == set(networks.ACTIVATIONS)
    assert set(DECLARED["policy.subgoal_encoding"].words()) == set(hierarchy.ENCODINGS)
    assert DECLARED["policy.name"].words() == policies.FAMILY.names()
    assert DECLARED["critic.name"].words() == critics.FAMILY.names()
    observers = {name: Observer(name, *2 * [DECLARED]) for name in OBSERVATIONS}  # statistics play no part
    assert {name for name, each in observers.items() if each.layout} == set(groups.WITH_POSITIONS)


ODD = strategies.sampled_from([None, True, math.nan, math.inf, -math.inf, -0.0, float("1e400"), 10**400, -(10**5000)])
LISTS = strategies.lists(strategies.floats(), max_size=2) | strategies.tuples(strategies.integers())
DICTS = strategies.dictionaries(strategies.text(max_size=2), strategies.integers(), max_size=2)
TEXT = strategies.text(max_size=5) | strategies.binary(max_size=3)
NOT_NUMBERS = ODD | LISTS | DICTS | TEXT | strategies.complex_numbers()
often = functools.partial(settings, max_examples=200, deadline=None)


@often()
@given(strategies.sampled_from(NUMBERS), NOT_NUMBERS)
@example("num_seeds", "9" * 2000)
def test_what_is_no_number_is_refused_for_a_number(name, value):
    assert "must be a" in refused(name, value)


@often(max_examples=400)
@given(strategies.data())
def test_numbers_outside_their_range_are_refused_and_the_others_accepted(data):
    name = data.draw(strategies.sampled_from(NUMBERS))
    range_, is_whole = DECLARED[name].range, isinstance(DECLARED[name].default, int)
    inside = strategies.integers(int(range_.low), int(range_.high)) if is_whole else strategies.floats(*range_[:2])
    near_0 = strategies.sampled_from([1e-300, 1e-45, 2.0, 1.0, *range_.excluded])  # the first two are 0 in float32
    value = data.draw(inside | strategies.floats(allow_nan=False) | strategies.integers() | near_0)
    is_inside = range_.low <= value <= range_.high and value not in range_.excluded
    is_inside = is_inside and (value >= 1e-30 or (value == 0 and math.copysign(1, value) > 0))
    if is_inside and (not is_whole or isinstance(value, int)):
        accepted(name, value)
    else:
        assert str(range_) in refused(name, value)


@pytest.mark.parametrize("name", WORDS + TEXTS + SWITCHES)
def test_words_names_and_switches(name):
    """The sound ones are accepted, and a word is the nearest to its misspelling; anything else is refused."""
    for value in DECLARED[name].words() or ((True, False) if name in SWITCHES else ("some-name_2.x",)):
        accepted(name, value)
        if name in WORDS and len(value) > 3:
            assert f"did you mean {value!r}?" in refused(name, value + "x")
    texts = ("a\nb", "a" * 201, "True?") if name != "continue_from" else ("a" * 4097,)  # a path may be any text
    for value in (None, 3, 0, 1.0, 1j, b"a", "a\0b", *texts, ["a"], (), {"a": 1}):
        assert DECLARED[name].allowed() in refused(name, value)


MANY_WIDTHS = strategies.lists(strategies.integers(int(WIDTHS.low), int(WIDTHS.high)), min_size=1, max_size=5)


@often(max_examples=40)
@given(strategies.sampled_from(TUPLES), MANY_WIDTHS, NOT_NUMBERS, strategies.integers(0))
def test_widths_are_tuples_of_whole_numbers(name, widths, wrong, place):
    made = accepted(name, tuple(widths))
    assert made == made.replace({name: widths})  # a list, as of JSON
    place %= len(widths)
    assert "whole number" in refused(name, (*widths[:place], wrong, *widths[place + 1 :]))
    for bad in ((), (0,), (True,), (8.0,), (8,) * (MAX_DEPTH + 1), 8, "8", None, {8: 8}):
        refused(name, bad)


@often(max_examples=100)
@given(strategies.sampled_from(SWEPT), NOT_NUMBERS, strategies.booleans())
def test_swept_values_are_numbers_of_the_settings_range(name, wrong, second):
    range_ = declarations()[name].setting.range
    fine = range_.low + (range_.high - range_.low) / 2
    made = Settings.of({name: [fine]})
    assert made.sweep == {name.partition(".")[2]: (fine,)}
    assert Settings.from_json(json.loads(json.dumps(made.to_json()))) == made
    text = refused(name, (fine, wrong) if second else (wrong,))
    assert str(range_) in text
    if not isinstance(wrong, tuple | list):
        assert str(range_) in refused(name, wrong)
    assert "twice" in refused(name, (fine, fine))
    assert Settings.of({name: ()}) == Settings()


SUBGOALS, PLAIN = {"policy.subgoal_steps": 20}, {"data.observation": "identity"}
OF_POSITIONS = {"critic.name": "value", "critic.observation": "position"}
Q, ANCHORED = {"guidance.name": "q"}, "guidance.anchor_steps = 4 must be policy.num_steps = 5 for vp_diffusion"
EGOCENTRIC, BODY = {"policy.subgoal_encoding": "egocentric"}, {"data.observation": "maze-egocentric"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policy.rh": 1.0}, "there is no setting 'policy.rh'; did you mean policy.rho?"),
        *(({name: 1.0}, "did you mean policy.learning_rate?") for name in ("learning_rate", "lr")),
        ({"policy.subgoal_way": "vector"}, "there is no setting 'policy.subgoal_way'"),
        ({"sweep.eat": (1.0,)}, "there is no setting 'sweep.eat'; did you mean sweep.eta?"),
        ({"sweep.sigma_min": (1.0,)}, "policy.sigma_min cannot be swept: .*; sweeps may vary .*eta"),
        ({"sweep.policy.rho": (1.0,)}, "policy.rho cannot be swept"),
        ({"sweep.learning_rate": (1.0,)}, "there is no setting 'sweep.learning_rate'; did you mean sweep.policy_lr?"),
        ({"policy": 3}, "policy is a group of settings: policy.name, policy.num_steps"),
        ({7: 1}, "there is no setting 7"),
        ({"checkpoint_every": 251}, "checkpoint_every = 251 must be a multiple of log_every = 250"),
        ({"eval.every": 251}, "eval.every = 251 must be a multiple of log_every = 250"),
        ({"policy.intervals": 9}, "policy.first_intervals = 10 must be at most policy.intervals = 9"),
        ({"policy.sigma_min": 10.0}, "policy.sigma_min = 10.0 must be below policy.sigma_max = 10.0"),
        ({"devices": 5}, "devices = 5 exceeds the 4 trials"),
        ({"seed_offset": MAX_INT}, "seed_offset = 2147483647 must be at most 2147483644 with num_seeds = 4"),
        ({"num_seeds": 65_536, "sweep.eta": (0.1, 1.0)}, "num_seeds = 65536 times what is swept are 131072 trials"),
        (OF_POSITIONS | PLAIN, "critic.observation = 'position' needs data.observation = .*set .* = 'all'"),
        (SUBGOALS | PLAIN, "policy.subgoal_steps = 20 needs .*it is 'identity'; else set policy.subgoal_steps = 0"),
        (SUBGOALS | BODY, "subgoal_encoding = 'displacement' cannot go with data.observation = 'maze-egocentric'"),
        (SUBGOALS | EGOCENTRIC, "subgoal_encoding = 'egocentric' cannot go with data.observation = 'maze-scales'"),
        (EGOCENTRIC | BODY, "policy.subgoal_encoding = 'egocentric' means nothing to policy.subgoal_steps = 0"),
        ({"policy.high_level_hidden": (8,)}, "policy.high_level_hidden = .* means nothing to policy.subgoal_steps = 0"),
        ({"guidance.name": "filter", "guidance.eta": 0.0}, "guidance.eta = 0.0 means nothing to .*'filter'; to clone"),
        ({"guidance.name": "conditioning", "guidance.eta": 0.0}, "eta = 0.0 means nothing to .*conditioning"),
        ({"guidance.anchor": 1.0}, "guidance.anchor = 1.0 means nothing to guidance.name = 'advantage'; set it to 0.0"),
        ({"guidance.name": "none", "guidance.relative": True}, "guidance.relative = True means nothing to .* False"),
        ({"guidance.filter_temperature": 0.1}, "filter_temperature = 0.1 means nothing to .* set it to 0.0"),
        (Q | {"policy.name": "vp_diffusion", "guidance.anchor": 1.0}, ANCHORED),
        (Q | {"critic.name": "value"}, "guidance.name = 'q' asks for .* critic.name = 'value' values"),
        ({"policy.name": "vp_diffusion"}, "critic.num_steps = 2 must be policy.num_steps = 5: vp_diffusion samples in"),
        ({"guidance.name": "none", "sweep.discount": (0.9, 1.0)}, "sweep.discount = .* means nothing to gtp-bc, K = 5"),
        ({"policy.name": "gaussian", "sweep.lambda_flow": (1.0,)}, "sweep.lambda_flow = .* means nothing to gaussian"),
        ({"guidance.name": "filter", "sweep.eta": (1.0,)}, "sweep.eta = .* means nothing to gtp, .* filter, K = 5"),
        ({"critic.n_step": 0, "sweep.discount": (0.9, 1.0)}, "sweep.discount = .* cannot go with critic.n_step = 0"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(changes, says):
    with pytest.raises(ValueError, match=says):
        Settings.of(changes)


def test_settings_that_go_together_although_others_like_them_do_not():
    for changes in (
        {"devices": 2},
        {"policy.name": "vp_diffusion", "guidance.name": "none"},  # no critic samples
        {"policy.name": "vp_diffusion", "critic.name": "expectile"},  # nor does this one
        {"policy.name": "vp_diffusion", "critic.num_steps": 5},
        {"guidance.name": "none", "sweep.policy_lr": (1e-4, 1e-3)},
        {"sweep.eta": (0.0, 1.0), "sweep.discount": (0.9, 1.0)},
        SUBGOALS | EGOCENTRIC | BODY,
    ):
        assert changes.items() <= Settings.of(changes).flat().items()


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ("gaussian", "policy.solver", "heun"),
        ("mean_flow", "policy.target", "ema"),
        ("gtp", "policy.adaptive_power", 0.5),
        ("ctm", "policy.lambda_consistency", 0.5),
        ("diffusion", "policy.lambda_flow", 0.5),
        ("twin_q", "critic.observation", "position"),
        ("value", "critic.backup_samples", 2),
    ],
)
def test_a_setting_of_another_member_is_refused_by_name_with_its_owners(member, name, value):
    part, owners = name.partition(".")[0], ", ".join(declarations()[name].owners)
    text = refusal({f"{part}.name": member, name: value})
    assert f"{name} = {value!r} means nothing to {part}.name = {member!r}" in text
    assert f"belongs to {owners})" in text and member not in declarations()[name].owners
    at_default = Settings.of({f"{part}.name": member, name: DECLARED[name].default, "guidance.name": "none"})
    assert name not in at_default.flat()  # as the flags give all of them


def test_a_change_to_another_member_drops_the_defaults_of_the_one_before():
    assert Settings().replace({"policy.name": "gaussian"}) == Settings.of({"policy.name": "gaussian"})
    with pytest.raises(ValueError, match=r"policy.rho = 5.0 means nothing .*belongs to .*gtp\)"):
        Settings.of({"policy.rho": 5.0}).replace({"policy.name": "gaussian"})


@pytest.mark.parametrize("wrong", [None, 3, [Settings().to_json()], "policy", {"policy": 3}])
def test_json_that_is_no_settings(wrong):
    assert "group" in refusal(wrong, Settings.from_json)


def test_what_follows_from_settings():
    assert set(hparam_names(Settings())) == {name.partition(".")[2] for name in SWEPT if name != "sweep.adaptive_power"}
    assert hparam_names(Settings())["eta"] == "guidance.eta"
    trained = structural(Settings())
    assert {"policy.hidden", "policy.sigma_data", "critic.ensemble"} <= trained.keys()
    cloned = structural(Settings.of({"guidance.eta": 0.0}))
    assert cloned == {name: value for name, value in trained.items() if not name.startswith("critic.")}
    assert is_free("num_updates") and is_free("log.wandb") and not is_free("policy.rho") and not is_free("nonsense")


def test_which_settings_clone_and_which_label():
    for name, facts in groups.GUIDANCE_FACTS.items():
        assert is_cloning(Settings.of({"guidance.name": name})) == (name == "none")
        assert uses_labels(Settings.of({"guidance.name": name})) == facts.label
        if facts.eta:
            assert is_cloning(Settings.of({"guidance.name": name, "guidance.eta": 0.0}))
            assert not is_cloning(Settings.of({"guidance.name": name, "sweep.eta": (0.0, 1.0)}))
            assert "sweep.eta = (0.0,) means nothing to gtp-bc" in refusal({"guidance.name": name, "sweep.eta": (0.0,)})
