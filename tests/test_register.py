"""A policy class with settings of its own, registered from outside the package, is a member like the others."""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from runs import arrays

import gtp_jax
from gtp_jax import critics, policies
from gtp_jax.commands import main, run
from gtp_jax.config.settings import Settings, hparam_names
from gtp_jax.config.table import declarations, reference
from gtp_jax.critics import twin_q
from gtp_jax.declare import NOT_NEGATIVE, WIDTHS, NoSettings, setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow import policy as flow_policy
from gtp_jax.policies import gtp

pytestmark = pytest.mark.usefixtures("quick_compilation")


@dataclasses.dataclass(frozen=True)
class OutsideSettings:
    pull: float = setting(1.0, "Weight of the action's square.", range=NOT_NEGATIVE, hparam="pull")
    norm: str = setting("square", "How errors count.", choices=("square", "absolute"))
    places: tuple[int, ...] = setting((1, 2), "Numbers.", range=WIDTHS)


def make(settings, *, network, action_low, action_high):
    """Regression of a jump from 0 to the action, with a pull back to 0."""

    def objective(given):
        one = jnp.ones(len(given.action))
        predicted = flow_map.jump(given.velocity, jnp.zeros_like(given.action), one, 0 * one)
        error = jnp.abs(predicted - given.action) ** (2 if settings.norm == "square" else 1)
        return jnp.sum(error + given.hparams["pull"] * predicted**2, axis=-1), {}

    return flow_policy.make(network=network, action_low=action_low, action_high=action_high, objective=objective)


OUTSIDE = SimpleNamespace(Settings=OutsideSettings, make=make)
CHANGES = {"policy.name": "outside", "policy.norm": "absolute", "policy.places": (3,), "sweep.pull": (0.0, 100.0)}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The outside policy, for one test."""
    for family in (policies.FAMILY, critics.FAMILY):
        monkeypatch.setattr(family, "_registered", {})
    policies.register("outside", OUTSIDE)


def test_its_settings_are_flags_are_checked_and_documented(capsys):
    words = [f"--config.{name}={value}" for name, value in CHANGES.items()]
    settings, *_ = run.parse(["--config=antmaze.py:tiny", *words, "--config.policy.pull=0.5"])
    assert settings.policy.own == OutsideSettings(0.5, "absolute", (3,)) and settings.sweep == {"pull": (0.0, 100.0)}
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert hparam_names(settings)["pull"] == "policy.pull" and "lambda_flow" not in hparam_names(settings)
    with pytest.raises(ValueError, match=r"policy.pull = -1.0 must be a number at least 0"):
        settings.replace({"policy.pull": -1.0})
    with pytest.raises(ValueError, match="policy.norm = 'squared' must be one of square, absolute; did you mean 'sq"):
        settings.replace({"policy.norm": "squared"})
    with pytest.raises(ValueError, match=r"policy.norm = 'absolute' means nothing to .* 'gtp'.*belongs to outside\)"):
        Settings.of({"policy.norm": "absolute"})
    with pytest.raises(ValueError, match="did you mean policy.places"):
        settings.replace({"policy.place": (3,)})
    (row,) = (row for row in reference() if row.name == "policy.pull")
    assert (row.default, row.owners, row.hparam) == (1.0, ("outside",), "pull")
    assert main(["run", "--help"]) == 0 and "--config.policy.pull=1.0" in capsys.readouterr().out


def test_it_trains_is_saved_and_read_back(tmp_path):
    result = toy.train(tmp_path / "run", **CHANGES, **{"guidance.name": "none", "num_updates": 10})
    assert result.summary["algorithm"].startswith("outside-bc")
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (saved["policy"]["pull"], saved["policy"]["places"], saved["sweep"]) == (1.0, [3], {"pull": [0.0, 100.0]})
    np.testing.assert_array_equal(arrays(tmp_path / "run")["['training']['hparams']['pull']"], [0, 0, 100, 100])
    loaded = gtp_jax.load_policy(tmp_path / "run")
    assert loaded.settings == result.policy.settings and loaded.settings.policy.own.places == (3,)
    obs = np.ones((5, 3))
    np.testing.assert_array_equal(loaded(obs, trial=None), result.policy(obs, trial=None))
    assert (loaded(obs, trial=0) != loaded(obs, trial=2)).any()  # equal but for the pull


def test_a_process_that_did_not_register_it_says_so(monkeypatch):
    values = Settings.of(CHANGES).to_json()
    monkeypatch.setattr(policies.FAMILY, "_registered", {})
    with pytest.raises(ValueError, match="policy.name = 'outside' must be one of consistency, ctm"):
        Settings.from_json(values)


def member(name, **changes):
    """A policy module with one setting, declared as the outside policy's `pull` but for changes."""
    pull = OutsideSettings.__dataclass_fields__["pull"].metadata["setting"]
    field = (name, float, setting(**pull._replace(**changes)._asdict()))
    return SimpleNamespace(Settings=dataclasses.make_dataclass("Own", [field], frozen=True), make=make)


def test_one_declaration_is_shared_and_must_agree():
    policies.register("second", member("pull"))
    assert declarations()["policy.pull"].owners == ("outside", "second")
    for other, says in (
        (member("pull", default=2.0), "policy.pull: second declares it otherwise than outside"),
        (member("num_steps"), "policy.num_steps, which second declares, is a setting of every policy"),
        (member("push"), "another setting has the hyperparameter 'pull'"),
    ):
        policies.register("second", other)  # in place of the one before, as a notebook's cell that runs again
        with pytest.raises(ValueError, match=says):
            declarations()


def test_what_is_no_member_is_refused():
    for name, value, says in (
        ("gtp", gtp, "gtp_jax.policies has a member 'gtp' already"),
        ("mine", SimpleNamespace(make=make), "'mine' needs the attributes Settings and make"),
        ("mine", SimpleNamespace(Settings=NoSettings), "'mine' needs the attributes Settings and make"),
    ):
        with pytest.raises(ValueError, match=says):
            policies.register(name, value)
    assert "mine" not in policies.FAMILY.names()


def test_a_critic_is_registered_likewise():
    critics.register("mine", SimpleNamespace(**{name: getattr(twin_q, name) for name in ("Settings", "make")}))
    settings = Settings.of({"critic.name": "mine", "critic.backup_samples": 3, "guidance.name": "q"})
    assert settings.critic.own == twin_q.Settings(backup_samples=3)
    assert "mine" in declarations()["critic.backup_samples"].owners
    with pytest.raises(ValueError, match="unknown name 'twinq' among critics; there are .*did you mean 'twin_q'"):
        critics.FAMILY["twinq"]
