"""Exported policies: the same actions in a process that cannot import this package, and weights for NumPy."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import quick_jit, random_batch, settings_with
from pages import TEXTS, blocks
from runs import run_info

import gtp_jax
from gtp_jax import policies
from gtp_jax.agent.build import build_agent
from gtp_jax.commands import main
from gtp_jax.config.trials import Trial
from gtp_jax.datasets import Observer
from gtp_jax.datasets.transforms import transform_observation
from gtp_jax.runs.checkpoints import Saved
from gtp_jax.serving import export
from gtp_jax.serving.policy import LoadedPolicy

# As somebody who has JAX and the file: this package, what it is made with, and the environments cannot be imported.
STRANGER = """
import sys
names = ("gtp_jax", "flax", "optax", "orbax", "chex", "gymnasium", "minari", "mujoco")
sys.modules.update(dict.fromkeys(names))
import jax, numpy as np
path, given, out = sys.argv[1:]
act = jax.export.deserialize(bytearray(open(path, "rb").read())).call
obs = dict(np.load(given))
key = obs.pop("key")
np.savez(out, **{str(n): act({k: v[:n] for k, v in obs.items()}, key) for n in (1, 3, len(obs["observation"]))})
"""


def untrained(observer="identity", size=3, **changes):
    """A LoadedPolicy of two trials as they are initialised, for array observations and two actions."""
    settings, bound, batch = settings_with(**changes), np.ones(2, np.float32), random_batch(1, size, 2)
    observer = Observer(observer, np.zeros(size, np.float32), np.ones(size, np.float32))
    agent, hparams = build_agent(settings, -bound, bound, observer.layout)
    init = quick_jit(jax.vmap(lambda key: agent.init(key, batch, hparams)))
    state = init(jax.random.split(jax.random.key(0), 2))
    spec = Observer("identity", observer.mean, observer.std).spec()
    info = run_info(settings=settings, trials=(Trial(0, {}), Trial(1, {})), observer=spec, layout=observer.layout)
    return LoadedPolicy(info, 1, lambda like: Saved(state.policy_ema, state.critic_ema, None))


def observations(count):
    rng = np.random.default_rng(0)
    sizes = {"observation": 27, "achieved_goal": 2, "desired_goal": 2}
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def policy(whole):
    return gtp_jax.load_policy(whole[0])


@pytest.fixture(scope="module")
def reader():
    """The functions that docs/export.md shows."""
    (block,) = [block for block in blocks(TEXTS["docs/export.md"]) if "def see(" in block.text]
    scope = {}
    exec(block.text, scope)
    assert "import jax" not in block.text
    return scope


def test_an_exported_policy_acts_alike_without_this_package(whole, policy, runner, tmp_path, capsys):
    out, given, found = tmp_path / "policy.stablehlo", tmp_path / "given.npz", tmp_path / "found.npz"
    chosen = {"num_steps": 3, "temperature": 0.7, "trial": 1}
    words = [f"--{name}={value}" for name, value in ({"workdir": whole[0], "out": out} | chosen).items()]
    assert main(["export", *words]) == 0 and capsys.readouterr().out.split() == [str(out)]
    obs, key = observations(5), jax.random.key(11)
    np.savez(given, key=jax.random.key_data(key), **obs)
    environment = {**runner.env, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    words = [sys.executable, "-c", STRANGER, str(out), str(given), str(found)]
    done = subprocess.run(words, env=environment, text=True, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    actions, here = dict(np.load(found)), jax.export.deserialize(bytearray(out.read_bytes()))
    assert set(here.platforms) == {"cpu", "cuda", "tpu"}
    for count in (1, 3, 5):
        some = {name: part[:count] for name, part in obs.items()}
        # The same program, compiled in the two processes: bit for bit. The policy's own program is another one.
        np.testing.assert_array_equal(actions[str(count)], here.call(some, jax.random.key_data(key)))
    np.testing.assert_allclose(actions["5"], policy(obs, key=key, **chosen), rtol=1e-4, atol=1e-5)
    assert (np.abs(actions["5"]) <= 1).all() and np.ptp(actions["5"]) > 0.1
    assert np.abs(actions["5"] - policy(obs, key=key, **chosen | {"trial": 0})).max() > 0.01


@pytest.mark.parametrize("name", policies.FAMILY.names())
def test_every_policy_class_can_be_exported(name):
    """Array observations, a symbolic batch and all platforms; K and temperature are the run's own by default."""
    policy = untrained(policy__name=name, guidance__name="none", policy__temperature=0.5)
    exported, key = export.program(policy, trial=1), jax.random.key(2)
    for count in (1, 3, 4):
        obs = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
        got = exported.call(obs, jax.random.key_data(key))
        np.testing.assert_allclose(got, policy(obs, key=key, trial=1), rtol=1e-4, atol=1e-5)
        assert got.shape == (count, 2)


HIERARCHY = {"policy__subgoal_steps": 20}
EGOCENTRIC = HIERARCHY | {"policy__subgoal_encoding": "egocentric", "data__observation": "maze-egocentric"}


@pytest.mark.parametrize(
    ("observer", "size", "changes"),
    [("identity", 3, {}), ("maze-scales", 60, HIERARCHY), ("maze-egocentric", 62, EGOCENTRIC)],
)
def test_label_and_hierarchy_are_exported(reader, monkeypatch, observer, size, changes):
    """An advantage-conditioned policy, flat or hierarchical: the program acts like it, and so does NumPy."""
    labelled = {"guidance__name": "conditioning", "critic__name": "value", "policy__temperature": 0.5}
    policy = untrained(observer=observer, size=size, **labelled, **changes)
    obs, key = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32), jax.random.key(2)
    obs[:, -2:] /= np.linalg.norm(obs[:, -2:], axis=-1, keepdims=True)  # a heading, where there is one
    ours = policy(obs, key=key, num_steps=2, temperature=0.5, trial=1)
    got = export.program(policy, num_steps=2, trial=1).call(obs, jax.random.key_data(key))
    np.testing.assert_allclose(got, ours, rtol=1e-4, atol=1e-5)
    arrays, metadata = export.weights(policy, trial=1)
    monkeypatch.setitem(reader, "see", lambda observer, obs: (obs - observer["mean"]) / observer["std"])
    noise = [
        0.5 * np.asarray(jax.random.normal(each, (4, 2))) for each in (jax.random.split(key) if changes else [key])
    ]
    theirs = reader["act"](arrays, json.loads(metadata["gtp_jax"]), obs, noise if changes else noise[0], 2)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    assert np.ptp(ours) > 0.1


@pytest.mark.parametrize("transform", ["maze-scales", "maze-egocentric"])
def test_observations_are_the_same_in_numpy_jax_and_the_reader(reader, transform):
    obs = observations(200)
    obs["observation"][0, 1:5] = 0, 0.6, 0.8, 0  # on its back
    flat = transform_observation(transform, obs)
    observe = Observer(transform, flat.mean(0), flat.std(0) + 1)
    np.testing.assert_allclose(reader["see"](observe.spec(), obs), observe(obs), atol=1e-5)
    obs["observation"][-1] = 0
    traced = jax.jit(lambda obs: observe(obs, jnp))(obs)
    np.testing.assert_allclose(traced, observe(obs), rtol=1e-5, atol=1e-5)


def test_numpy_alone_acts_from_the_weights_which_say_where_they_come_from(whole, policy, reader, tmp_path):
    weights, about = reader["read"](gtp_jax.export(whole[0], tmp_path / "policy.safetensors", trial=1))
    obs, key = observations(5), jax.random.key(5)
    noise = 0.8 * np.asarray(jax.random.normal(key, (5, 8)))
    for num_steps in (1, 5):
        ours = policy(obs, key=key, num_steps=num_steps, temperature=0.8, trial=1)
        np.testing.assert_allclose(reader["act"](weights, about, obs, noise, num_steps), ours, atol=1e-4)
        assert np.ptp(ours) > 0.1
    assert sorted(weights) == [f"params/Dense_{i}/{part}" for i in range(2) for part in ("bias", "kernel")]
    kernel = policy.params["params"]["Dense_0"]["kernel"][1]
    np.testing.assert_array_equal(weights["params/Dense_0/kernel"], kernel, strict=True)
    expected = {"format": 5, "time_scale": "log", "label": None, "hierarchy": None, "trial": {"seed": 1}}
    expected |= {"policy": policy.settings.to_json()["policy"], "observer": policy.observe.spec()}
    expected |= {"action_low": [-1.0] * 8, "action_high": [1.0] * 8, "updates": policy.step}
    assert about == expected | {"dataset": policy.settings.dataset, "versions": about["versions"]}


def test_mistakes_name_what_is_wrong_and_write_nothing(whole, tmp_path, monkeypatch):
    for name, given, says in (
        ("policy.onnx", {}, "policy.onnx: the suffix must say what to write, .stablehlo or .safetensors"),
        ("nowhere/policy.stablehlo", {}, "there is no folder"),
        ("policy.safetensors", {"num_steps": 2}, "weights have no num_steps and no temperature"),
        ("policy.safetensors", {"trial": 2}, "trial = 2: this run has 2 trials"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            gtp_jax.export(whole[0], tmp_path / name, **given)
    for name, suffix in (("flatbuffers", "stablehlo"), ("safetensors", "safetensors")):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, f"{name}.numpy", None)
        with pytest.raises(ValueError, match=rf"needs the package {name}: pip install 'gtp_jax\[export\]'"):
            gtp_jax.export(whole[0], tmp_path / f"policy.{suffix}")
    assert not list(tmp_path.iterdir())
