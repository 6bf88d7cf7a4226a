"""Exported policies: the same actions in a process that cannot import this package, and weights for NumPy."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import settings_with
from pages import TEXTS, blocks
from runs import ROOT
from test_serving import ACTIONS, OBS, loaded
from toy import full_disk

import gtp_jax
from gtp_jax import policies as family
from gtp_jax.agent import build
from gtp_jax.datasets import Observer
from gtp_jax.datasets.transforms import transform_observation
from gtp_jax.serving import export

SCRIPT = ROOT / "experiments" / "export.py"
# As somebody who has JAX and the file: this package, what it is made with, and the environments cannot be imported.
STRANGER = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"gtp_jax", "flax", "optax", "orbax", "chex", "gymnasium", "minari", "mujoco"}:
            raise ImportError(f"{name} is out of reach")

sys.meta_path.insert(0, Nothing())
try:
    import gtp_jax
except ImportError:
    pass
else:
    raise SystemExit("the block does not hold")

import jax, numpy as np
path, given, out = sys.argv[1:]
act = jax.export.deserialize(bytearray(open(path, "rb").read())).call
obs = dict(np.load(given))
key = obs.pop("key")
np.savez(out, **{str(n): act({k: v[:n] for k, v in obs.items()}, key) for n in (1, 3, len(obs["observation"]))})
"""


def observations(count):
    rng = np.random.default_rng(0)
    sizes = {"observation": 27, "achieved_goal": 2, "desired_goal": 2}
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def policy(whole):
    return gtp_jax.load_policy(whole[0])


def test_an_exported_policy_acts_alike_without_this_package(whole, policy, runner, tmp_path):
    out, given, found = tmp_path / "policy.stablehlo", tmp_path / "given.npz", tmp_path / "found.npz"
    words = [f"--workdir={whole[0]}", f"--out={out}", "--num_steps=3", "--temperature=0.7", "--seed_index=1"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], env=runner.env, text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout.split() == [str(out)], done.stderr
    obs, key = observations(5), jax.random.key(11)
    np.savez(given, key=jax.random.key_data(key), **obs)
    environment = {**runner.env, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    words = [sys.executable, "-c", STRANGER, str(out), str(given), str(found)]
    done = subprocess.run(words, env=environment, text=True, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    actions = dict(np.load(found))
    here = jax.export.deserialize(bytearray(out.read_bytes()))
    assert set(here.platforms) == {"cpu", "cuda", "tpu"}
    for count in (1, 3, 5):
        some = {name: part[:count] for name, part in obs.items()}
        # The same program, compiled in the two processes: bit for bit. Beside the policy it is another one.
        np.testing.assert_array_equal(actions[str(count)], here.call(some, jax.random.key_data(key)))
        ours = policy(some, key=key, num_steps=3, temperature=0.7, seed_index=1)
        np.testing.assert_allclose(actions[str(count)], ours, rtol=1e-4, atol=1e-5)
    assert (np.abs(actions["5"]) <= 1).all() and np.ptp(actions["5"]) > 0.1
    assert np.abs(actions["5"] - policy(obs, key=key, num_steps=3, temperature=0.7)).max() > 0.01  # another seed's


@pytest.mark.parametrize("name", build.names(family))
def test_every_member_can_be_exported(name, tmp_path):
    """Array observations, a symbolic batch and all platforms; K and temperature are the run's own by default."""
    policy, _ = loaded(tmp_path, settings_with(policy__name=name, guidance__name="none", policy__temperature=0.5))
    exported = export.program(policy, seed_index=1)
    key = jax.random.key(2)
    for count in (1, 4):
        obs = np.random.default_rng(0).normal(size=(count, OBS)).astype(np.float32)
        got = exported.call(obs, jax.random.key_data(key))
        np.testing.assert_allclose(got, policy(obs, key=key, seed_index=1), rtol=1e-4, atol=1e-5)
        assert got.shape == (count, ACTIONS)


def test_a_policy_that_is_told_is_exported_with_what_it_is_told(reader, tmp_path, monkeypatch):
    """The program acts like it, and NumPy does from the weights."""
    settings = settings_with(guidance__name="condition", critic__name="value", policy__temperature=0.5)
    policy, _ = loaded(tmp_path, settings)
    obs, key = np.random.default_rng(0).normal(size=(4, OBS)).astype(np.float32), jax.random.key(2)
    ours = policy(obs, key=key, num_steps=2, temperature=0.5, seed_index=1)
    got = export.program(policy, num_steps=2, seed_index=1).call(obs, jax.random.key_data(key))
    np.testing.assert_allclose(got, ours, rtol=1e-4, atol=1e-5)
    arrays, metadata = export.weights(policy, seed_index=1)
    assert len(arrays["params/Dense_0/kernel"]) == OBS + 1 + ACTIONS + 32
    monkeypatch.setitem(reader, "see", lambda observer, obs: (obs - observer["mean"]) / observer["std"])
    noise = 0.5 * np.asarray(jax.random.normal(key, (4, ACTIONS)))
    np.testing.assert_allclose(reader["act"](arrays, json.loads(metadata["gtp_jax"]), obs, noise, 2), ours, atol=1e-4)


@pytest.mark.parametrize(
    ("way", "width", "observation"),  # 32: the body's numbers, and five around them
    [("vector", 32, "maze-scales"), ("direction", 32, "maze-scales"), ("bearing", 62, "maze-egocentric")],
)
def test_a_policy_with_subgoals_is_exported_with_both_levels(reader, tmp_path, monkeypatch, way, width, observation):
    """Likewise, from a noise for each level."""
    asked = {"guidance__name": "condition", "critic__name": "value", "policy__subgoal_way": way}
    asked["data__observation"] = observation
    policy, _ = loaded(tmp_path, settings_with(policy__subgoal_steps=20, policy__temperature=0.5, **asked), width)
    obs, key = np.random.default_rng(0).normal(size=(4, width)).astype(np.float32), jax.random.key(2)
    obs[:, -2:] /= np.linalg.norm(obs[:, -2:], axis=-1, keepdims=True)  # a heading
    ours = policy(obs, key=key, num_steps=2, temperature=0.5, seed_index=1)
    got = export.program(policy, num_steps=2, seed_index=1).call(obs, jax.random.key_data(key))
    np.testing.assert_allclose(got, ours, rtol=1e-4, atol=1e-5)
    arrays, metadata = export.weights(policy, seed_index=1)
    monkeypatch.setitem(reader, "see", lambda observer, obs: (obs - observer["mean"]) / observer["std"])
    keys = jax.random.split(key)
    noise = [0.5 * np.asarray(jax.random.normal(k, (4, n))) for k, n in zip(keys, (2, ACTIONS), strict=True)]
    about = json.loads(metadata["gtp_jax"])
    np.testing.assert_allclose(reader["act"](arrays, about, obs, noise, 2), ours, atol=1e-4)
    elsewhere = reader["act"](arrays, about, obs, [-noise[0], noise[1]], 2)
    assert np.abs(elsewhere - ours).max() > 0.01


def test_the_precision_of_the_run_is_in_the_program(tmp_path):
    settings = settings_with(policy__name="gaussian", guidance__name="none", matmul_precision="bfloat16")
    policy, _ = loaded(tmp_path, settings)
    with jax.default_matmul_precision("float32"):  # as something else may have left it
        assert "HIGHEST" not in export.program(policy).mlir_module()
        policy.settings["matmul_precision"] = "float32"
        assert "HIGHEST" in export.program(policy).mlir_module()


@pytest.mark.parametrize("transform", ["maze-scales", "maze-egocentric"])
def test_the_observation_is_the_same_in_both_worlds(transform):
    """The transforms, written once, in NumPy for acting and in JAX for the program."""
    obs = observations(6)
    obs["observation"][-1] = 0
    flat = transform_observation(transform, obs)
    observe = Observer(transform, flat.mean(0), flat.std(0) + 1)
    traced = jax.jit(lambda obs: observe.traced(obs, jnp))(obs)
    np.testing.assert_allclose(traced, observe(obs), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The functions that docs/export.md shows."""
    (block,) = [block for block in blocks(TEXTS["docs/export.md"]) if "def see(" in block.text]
    scope = {}
    exec(block.text, scope)
    assert "import jax" not in block.text
    return scope


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_numpy_alone_acts_from_the_weights(whole, policy, reader, tmp_path, num_steps):
    out = gtp_jax.export(whole[0], tmp_path / "policy.safetensors", seed_index=1)
    weights, about = reader["read"](out)
    obs, key = observations(5), jax.random.key(5)
    noise = 0.8 * np.asarray(jax.random.normal(key, (5, 8)))
    ours = policy(obs, key=key, num_steps=num_steps, temperature=0.8, seed_index=1)
    np.testing.assert_allclose(reader["act"](weights, about, obs, noise, num_steps), ours, atol=1e-4)
    assert np.ptp(ours) > 0.1


@pytest.mark.parametrize("transform", ["maze-scales", "maze-egocentric"])
def test_the_readers_observation_is_ours(reader, transform):
    obs = observations(200)
    obs["observation"] = np.random.default_rng(1).normal(size=(200, 27))
    obs["observation"][0, 1:5] = 0, 0.6, 0.8, 0  # on its back
    width = transform_observation(transform, obs).shape[1]
    observe = Observer(transform, np.full(width, 0.5, np.float32), np.full(width, 2.0, np.float32))
    np.testing.assert_allclose(reader["see"](observe.spec(), obs), observe(obs), atol=1e-5)


def test_weights_say_where_they_come_from(whole, policy):
    arrays, metadata = export.weights(policy, seed_index=1)
    assert sorted(arrays) == [f"params/Dense_{i}/{part}" for i in range(2) for part in ("bias", "kernel")]
    np.testing.assert_array_equal(
        arrays["params/Dense_0/kernel"], policy.params["params"]["Dense_0"]["kernel"][1], strict=True
    )
    about = json.loads(metadata["gtp_jax"])
    assert (
        about["format"] == 4 and about["told"] is None and about["time_scale"] == "log" and about["lane"] == {"seed": 1}
    )
    assert about["subgoals"] is None
    assert about["policy"] == policy.settings["policy"] and about["observer"] == policy.observe.spec()
    assert about["action_low"] == [-1.0] * 8 and about["action_high"] == [1.0] * 8 and about["updates"] == policy.step
    assert about["dataset"] == "gtp/antmaze/umaze-600-v0"


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("policy.onnx", {}, "policy.onnx: the suffix must say what to write, .stablehlo or .safetensors"),
        ("nowhere/policy.stablehlo", {}, "there is no folder"),
        ("policy.stablehlo", {"num_steps": 0}, "num_steps = 0 must be a whole number"),
        ("policy.stablehlo", {"seed_index": 2}, "seed_index = 2: this run has 2 lanes"),
        ("policy.safetensors", {"num_steps": 2}, "weights have no num_steps"),
        ("policy.safetensors", {"temperature": 0.5}, "weights have no num_steps and no temperature"),
        ("policy.safetensors", {"seed_index": 2}, "seed_index = 2: this run has 2 lanes"),
    ],
)
def test_mistakes_name_what_is_wrong_and_write_nothing(whole, tmp_path, name, given, says):
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        gtp_jax.export(whole[0], tmp_path / name, **given)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(whole, tmp_path, monkeypatch):
    out = tmp_path / "policy.safetensors"
    out.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(OSError, match="No space left"):
            gtp_jax.export(whole[0], out)
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]


def test_a_missing_package_is_named_with_its_cure(whole, tmp_path, monkeypatch):
    for name, suffix in (("flatbuffers", "stablehlo"), ("safetensors", "safetensors")):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, f"{name}.numpy", None)
        with pytest.raises(ValueError, match=rf"needs the package {name}: pip install 'gtp_jax\[export\]'"):
            gtp_jax.export(whole[0], tmp_path / f"policy.{suffix}")
