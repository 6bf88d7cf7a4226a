"""Exported policies: the same actions in a process that cannot import this package and in onnxruntime."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from oracles import quick_jit, random_batch, settings_with
from runs import run_info
from safetensors import safe_open

import gtp_jax
from gtp_jax import policies
from gtp_jax.agent.build import build_agent
from gtp_jax.commands import main
from gtp_jax.config.trials import Trial
from gtp_jax.datasets import Observer
from gtp_jax.datasets.transforms import transform_observation
from gtp_jax.runs.checkpoints import Saved
from gtp_jax.serving import export
from gtp_jax.serving.onnx_graph import Untranslated, convert
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


def untrained(observer="identity", size=3, low=(-1.0, -1.0), high=(1.0, 1.0), **changes):
    """A LoadedPolicy of two trials as they are initialised, for array observations and two actions."""
    settings, batch = settings_with(**changes), random_batch(1, size, 2)
    observer = Observer(observer, np.zeros(size, np.float32), np.ones(size, np.float32))
    agent, hparams = build_agent(settings, np.array(low), np.array(high), observer.layout)
    init = quick_jit(jax.vmap(lambda key: agent.init(key, batch, hparams)))
    state = init(jax.random.split(jax.random.key(0), 2))
    spec = Observer("identity", observer.mean, observer.std).spec()
    bounds = {"action_low": low, "action_high": high}
    trials = (Trial(0, {}), Trial(1, {}))
    info = run_info(settings=settings, trials=trials, observer=spec, layout=observer.layout, **bounds)
    return LoadedPolicy(info, 1, lambda like: Saved(state.policy_ema, state.critic_ema, None))


def observations(count):
    rng = np.random.default_rng(0)
    sizes = {"observation": 27, "achieved_goal": 2, "desired_goal": 2}
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def policy(whole):
    return gtp_jax.load_policy(whole[0])


def check_onnx(policy, num_steps, model, obs, trial=1, counts=(1, 3, 4), atol=1e-5):
    """onnxruntime acts like the policy on the same noise, for any batch size; returns the number of noise columns."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    *parts, noise_input = session.get_inputs()
    assert noise_input.name == "noise" and {each.shape[0] for each in session.get_inputs()} == {"batch"}

    @quick_jit
    def act(key, obs):
        with pytest.MonkeyPatch.context() as patch:
            draws, normal = [], jax.random.normal
            patch.setattr(jax.random, "normal", lambda *given: draws.append(normal(*given)) or draws[-1])
            action = policy.act(policy.params_of(trial), key, obs, num_steps, 0.25)
        return action, jnp.concatenate(draws, axis=-1)

    action, noise = map(np.asarray, act(jax.random.key(3), obs))
    rows = {part.name: obs[part.name] if isinstance(obs, dict) else obs for part in parts} | {"noise": noise}
    for count in counts:
        (got,) = session.run(["action"], {name: array[:count] for name, array in rows.items()})
        # The rounding of the first point, which lies sigma_max times the temperature away, is less.
        np.testing.assert_allclose(got, action[:count], rtol=0, atol=atol)
        assert got.dtype == np.float32 and got.shape == action[:count].shape
    assert np.ptp(action) > 0.1
    return noise_input.shape[1]


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
@pytest.mark.parametrize("num_steps", [2, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 5))])
def test_every_policy_class_can_be_exported(name, num_steps):
    """Array observations, any batch size and all platforms; K and temperature are the run's own by default."""
    steps = {"policy__num_steps": num_steps, "critic__num_steps": num_steps}
    policy = untrained(policy__name=name, guidance__name="none", policy__temperature=0.25, **steps)
    obs, key = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), jax.random.key(2)
    exported = export.program(policy, trial=1)
    for count in (1, 3, 4):
        got = exported.call(obs[:count], jax.random.key_data(key))
        np.testing.assert_allclose(got, policy(obs[:count], key=key, trial=1), rtol=1e-4, atol=1e-5)
        assert got.shape == (count, 2)
    draws = {"consistency": num_steps + 1, "vp_diffusion": num_steps}.get(name, 1)
    model = export.onnx_model(policy, trial=1)
    # A time rounded otherwise moves VP diffusion's sample by 1e-5; float32 itself is 2e-5 away from float64 there.
    atol = 3e-5 if name == "vp_diffusion" else 1e-5
    assert check_onnx(policy, num_steps, model.SerializeToString(), obs, atol=atol) == 2 * draws


HIERARCHY = {"policy__subgoal_steps": 20}
EGOCENTRIC = HIERARCHY | {"policy__subgoal_encoding": "egocentric", "data__observation": "maze-egocentric"}


@pytest.mark.parametrize(
    ("observer", "size", "changes"),
    [("identity", 3, {}), ("maze-scales", 60, HIERARCHY), ("maze-egocentric", 62, EGOCENTRIC)],
)
def test_label_and_hierarchy_are_exported(observer, size, changes):
    """An advantage-conditioned policy, flat or hierarchical."""
    labelled = {"guidance__name": "conditioning", "critic__name": "value", "policy__temperature": 0.5}
    policy = untrained(observer=observer, size=size, **labelled, **changes)
    obs, key = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32), jax.random.key(2)
    obs[:, -2:] /= np.linalg.norm(obs[:, -2:], axis=-1, keepdims=True)  # a heading, where there is one
    ours = policy(obs, key=key, num_steps=2, temperature=0.5, trial=1)
    got = export.program(policy, num_steps=2, trial=1).call(obs, jax.random.key_data(key))
    np.testing.assert_allclose(got, ours, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 0.1
    model = export.onnx_model(policy, num_steps=2, temperature=0.25, trial=1)
    assert check_onnx(policy, 2, model.SerializeToString(), obs) == (4 if changes else 2)


def test_actions_are_exported_in_the_environments_units():
    """Those of the same policy between -1 and 1, moved to its bounds."""
    changes = {"policy__name": "gtp", "guidance__name": "none", "policy__temperature": 0.25}
    scaled, own = untrained(**changes), untrained(low=(0.0, -0.25), high=(8.0, 0.25), **changes)
    obs, key = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), jax.random.key(2)
    expected = [4, 0] + np.array([4, 0.25]) * scaled(obs, key=key, trial=1)
    got = export.program(own, trial=1).call(obs, jax.random.key_data(key))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own(obs, key=key, trial=1), expected, rtol=1e-4, atol=1e-5)
    model = export.onnx_model(own, num_steps=2, trial=1).SerializeToString()
    assert check_onnx(own, 2, model, obs, atol=4e-5) == 2


@pytest.mark.parametrize("transform", ["maze-scales", "maze-egocentric"])
def test_observations_are_the_same_in_numpy_and_jax(transform):
    obs = observations(200)
    obs["observation"][0, 1:5] = 0, 0.6, 0.8, 0  # on its back
    flat = transform_observation(transform, obs)
    observe = Observer(transform, flat.mean(0), flat.std(0) + 1)
    obs["observation"][-1] = 0
    traced = jax.jit(lambda obs: observe(obs, jnp))(obs)
    np.testing.assert_allclose(traced, observe(obs), rtol=1e-5, atol=1e-5)


def test_an_onnx_model_holds_the_transform_of_the_observation(whole, policy, tmp_path, capsys):
    out = tmp_path / "policy.bin"
    words = f"export --workdir={whole[0]} --out={out} --format=onnx --num_steps=3 --temperature=0.25 --trial=1".split()
    assert main(words) == 0 and capsys.readouterr().out.split() == [str(out)]
    assert check_onnx(policy, 3, out.read_bytes(), observations(5), counts=(1, 5)) == 8


# Operations beyond those of the built-in classes, for classes from outside: functions of a key and an array [B, 3].
OPERATIONS = {
    "rounding": lambda key, x: jnp.sign(x) * jnp.abs(x) + jnp.where((x <= 1) & ~(x >= 0) | (x == 0), x, -x),
    "activations": lambda key, x: jax.nn.sigmoid(x) + jax.scipy.special.erf(x) + jax.nn.tanh(x) + x ** jnp.float32(2),
    "shapes": lambda key, x: jnp.stack([x.T[0], x[:, 1] + jnp.ones(x.shape[0])], axis=-1) @ jnp.ones((2, 3)),
    "a constant": lambda key, x: jnp.broadcast_to(jnp.arange(3.0), x.shape),
    "a sum over the batch": lambda key, x: x - jnp.sum(jnp.ones_like(x), axis=0, keepdims=True),
    "types": lambda key, x: (x < 0).astype(jnp.float32) * x**3 + jnp.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_translated(name):
    model = convert(OPERATIONS[name], {"observation": 3}, {}).SerializeToString()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"observation": x, "noise": np.zeros((4, 0), np.float32)})
    np.testing.assert_allclose(got, OPERATIONS[name](None, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda key, x: x + jax.random.uniform(key, x.shape), "random numbers other than by jax.random.normal"),
        (
            lambda key, x: x + jax.random.normal(key, (1, 3)),
            r"noise of shape \(1, 3\), not one draw for each",
        ),
        (lambda key, x: jnp.sort(x), "the operation 'sort'"),
        (lambda key, x: jnp.concatenate([x, x]), r"an axis of size 2\*batch"),
        (lambda key, x: jax.lax.slice(x, (0, 0), x.shape, (1, 2)), "the operation 'slice' with strides"),
        (lambda key, x: x[:, ::2], "the operation 'gather' with other indices"),
        (lambda key, x: jnp.einsum("bi,bi->b", x, x), "the operation 'dot_general' with"),
    ],
)
def test_what_onnx_cannot_express_is_refused(function, says):
    with pytest.raises(Untranslated, match=says):
        convert(function, {"observation": 3}, {})


def test_weights_say_where_they_come_from(whole, policy, tmp_path):
    with safe_open(gtp_jax.export(whole[0], tmp_path / "policy.safetensors", trial=1), "numpy") as file:
        weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
        about = json.loads(file.metadata()["gtp_jax"])
    assert sorted(weights) == [f"params/Dense_{i}/{part}" for i in range(2) for part in ("bias", "kernel")]
    kernel = policy.params["params"]["Dense_0"]["kernel"][1]
    np.testing.assert_array_equal(weights["params/Dense_0/kernel"], kernel, strict=True)
    expected = {"format": 7, "time_scale": "log", "label": None, "hierarchy": None, "trial": {"seed": 1}}
    expected |= {"policy": policy.settings.to_json()["policy"], "observer": policy.observe.spec()}
    expected |= {"action_low": [-1.0] * 8, "action_high": [1.0] * 8, "updates": policy.step}
    assert about == expected | {"dataset": policy.settings.dataset, "versions": about["versions"]}


def test_mistakes_name_what_is_wrong_and_write_nothing(whole, tmp_path, monkeypatch):
    for name, given, says in (
        ("policy.pt", {}, "policy.pt: the suffix must say what to write, stablehlo, onnx, safetensors"),
        ("policy.onnx", {"format": "pt"}, "policy.onnx: format = 'pt' must say what to write"),
        ("nowhere/policy.stablehlo", {}, "there is no folder"),
        ("policy.safetensors", {"num_steps": 2}, "weights have no num_steps and no temperature"),
        ("policy.safetensors", {"trial": 2}, "trial = 2: this run has 2 trials"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            gtp_jax.export(whole[0], tmp_path / name, **given)
    for suffix, (name, extra) in export.FORMATS.items():
        monkeypatch.setitem(sys.modules, name, None)
        package = name.partition(".")[0]
        with pytest.raises(ValueError, match=rf"needs the package {package}: pip install 'gtp_jax\[{extra}\]'"):
            gtp_jax.export(whole[0], tmp_path / f"policy.{suffix}")
    assert not list(tmp_path.iterdir())
