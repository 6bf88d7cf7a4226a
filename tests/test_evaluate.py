"""`gtp-jax evaluate`, and a trained policy as one uses it: `gtp_jax.load_policy`."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gtp_jax
from gtp_jax import datasets
from gtp_jax.agent.build import build_policy
from gtp_jax.commands import evaluate, main

# Few and small pictures take no time, even without a GPU.
SMALL = """
import sys
from gtp_jax.commands import main
from gtp_jax.envs import video
whole = video.render
video.render = lambda *given, every: whole(*given, width=64, every=10 * every)
sys.exit(main(["evaluate", *sys.argv[1:]]))
"""


def films(env, *words):
    """Evaluates in a process of its own, since MuJoCo reads once how it renders."""
    command = [sys.executable, "-c", SMALL, "--num_steps=1,2", "--episodes=1", "--video", *words]
    return subprocess.run(command, env=env, text=True, capture_output=True)


def test_the_time_is_that_of_the_first_trial_that_acts():
    asked = []

    class Loaded(SimpleNamespace):
        trials = range(3)

        def params_of(self, trial):
            if trial not in self.finite:
                raise ValueError("diverged")

        def __call__(self, obs, num_steps, trial):
            asked.append(trial)

    assert evaluate.milliseconds_per_sample(Loaded(finite={1, 2}), None, 1, repeats=2) >= 0 and asked == [1, 1]
    assert evaluate.milliseconds_per_sample(Loaded(finite=()), None, 1) is None and len(asked) == 2


def test_scores_and_times_for_each_combination(whole, runner, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(whole[0], tmp_path / "run")
    monkeypatch.setenv("MINARI_DATASETS_PATH", runner.env["MINARI_DATASETS_PATH"])
    words = ["evaluate", f"--workdir={run}", "--num_steps=1", "--candidates=1,3", "--softmax=2", "--episodes=1"]
    assert main(words) == 0
    results, out = json.loads((run / "evaluations.json").read_text()), capsys.readouterr().out
    found = [(row["num_steps"], row["temperature"], row["candidates"], row["selection"]) for row in results]
    assert found == [(1, 1, 1, None), (1, 1, 3, "softmax, 2 Q")]
    for row in results:
        assert len(row["score"]["per_seed"]) == 2 and row["episodes"] == 1 and row["milliseconds_per_sample"] > 0
        assert row["command"] == f"gtp-jax {' '.join(words)}"
        how = f"K = 1, temperature 1, softmax, 2 Q of {row['candidates']}: "
        assert how in out and f"  {row['milliseconds_per_sample']:.2f} ms per action" in out


@pytest.mark.slow
def test_the_first_episode_is_filmed_at_each_k(whole, runner, tmp_path, renders):
    run = shutil.copytree(whole[0], tmp_path / "run")
    done = films(runner.env, f"--workdir={run}")
    if renders is None:  # then the command says so before anything is played
        assert done.returncode == 2 and "apt install libegl1" in done.stderr
        assert not [*run.glob("video-*"), *run.glob("evaluations.json")]
        return
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    names = sorted(path.name for path in run.glob("video-*"))
    assert names == ["video-K1.gif", "video-K1.mp4", "video-K2.gif", "video-K2.mp4"]
    for path in run.glob("video-*.gif"):
        assert str(path) in done.stdout
        with Image.open(path) as film:
            assert film.width == 64 and film.n_frames > 5 and film.info["loop"] == 0
            first = np.asarray(film.convert("RGB"))
            film.seek(film.n_frames - 1)
            assert (first != np.asarray(film.convert("RGB"))).any()


@pytest.mark.slow
def test_a_backend_that_does_not_render_is_one_line(whole, runner):
    done = films({**runner.env, "MUJOCO_GL": "nosuch"}, f"--workdir={whole[0]}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: MuJoCo cannot render here: MUJOCO_GL=nosuch failed; install EGL")
    assert not (whole[0] / "evaluations.json").exists()


# A loaded policy.


@pytest.fixture(scope="module")
def policy(whole):
    return gtp_jax.load_policy(whole[0])


def observations(count):
    rng = np.random.default_rng(0)
    sizes = {"observation": 27, "achieved_goal": 2, "desired_goal": 2}
    return {name: rng.normal(size=(count, size)) for name, size in sizes.items()}


def test_a_loaded_policy_is_the_sampler_behind_its_statistics(policy):
    """Raw observations in; what the network sees is standardised by the data's mean and deviation."""
    raw, key = observations(6), jax.random.key(3)
    flat = datasets.Observer(policy.observe.transform, np.zeros(60, np.float32), np.ones(60, np.float32))(raw)
    seen = (flat - policy.observe.mean) / policy.observe.std
    assert np.abs(policy.observe.mean).max() > 0.1  # or nothing would have been subtracted
    bound = np.ones(8, np.float32)
    made = build_policy(policy.settings, -bound, bound, None)
    params = jax.tree.map(lambda leaf: leaf[1], policy.params)
    expected = jax.jit(made.sample, static_argnums=3)(params, key, seen, 3, 0.3)
    np.testing.assert_array_equal(policy(raw, key=key, num_steps=3, temperature=0.3, trial=1), expected)


def test_all_trials_act_at_once(policy):
    raw, key = observations(6), jax.random.key(3)
    every = policy(raw, key=key, trial=None)
    assert every.shape == (2, 6, 8) and isinstance(every, np.ndarray) and every.dtype == np.float32
    assert (np.abs(every) <= 1).all()
    for index in range(2):
        np.testing.assert_allclose(every[index], policy(raw, key=key, trial=index), rtol=1e-5, atol=1e-6)
    assert np.abs(every[0] - every[1]).max() > 0.01


def test_observations_of_any_library_and_shape(policy):
    raw = observations(6)
    plain = policy(raw)
    np.testing.assert_array_equal(policy({name: jnp.asarray(part) for name, part in raw.items()}), plain)
    assert policy({name: part[0] for name, part in raw.items()}).shape == (8,)
    many = {name: part.reshape(2, 3, -1) for name, part in raw.items()}
    assert policy(many).shape == (2, 3, 8) and policy(many, trial=None).shape == (2, 2, 3, 8)


def test_equal_calls_act_alike_and_keys_and_steps_matter(policy):
    raw, own = observations(6), policy.settings.policy
    np.testing.assert_array_equal(policy(raw), policy(raw))
    same = policy(raw, num_steps=own.num_steps, temperature=own.temperature, trial=0)
    np.testing.assert_array_equal(policy(raw), same)
    one, two = (policy(raw, key=jax.random.key(i)) for i in range(2))
    assert (one != two).any() and (one != policy(raw, num_steps=3)).any()
    cold = [policy(raw, key=jax.random.key(i), temperature=0.0) for i in range(2)]
    np.testing.assert_array_equal(*cold)


def test_actions_stay_inside_the_bounds(policy):
    far = {name: 100 * part for name, part in observations(6).items()}
    actions = policy(far, temperature=5.0)
    assert (np.abs(actions) <= 1).all() and (np.abs(actions) == 1).any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw["observation"], "expects a dict with keys .*achieved_goal.*got ndarray"),
        (lambda raw: {"observation": raw["observation"]}, r"keys \['achieved_goal', .* got \['observation'\]"),
        (lambda raw: raw | {"observation": raw["observation"][:, :26]}, r"\[\*B, 27\].*got .*26"),
        (lambda raw: raw | {"desired_goal": raw["desired_goal"][0]}, r"got .*'desired_goal': \(2,\)"),
    ],
    ids=["array", "keys", "size", "batch"],
)
def test_other_observations_are_refused_by_name(policy, change, says):
    with pytest.raises(ValueError, match=says):
        policy(change(observations(3)))


@pytest.mark.parametrize(
    "given",
    [{"num_steps": 0}, {"num_steps": 1.5}, {"temperature": -1}, {"temperature": np.nan}, {"trial": 2}],
    ids=str,
)
def test_impossible_arguments_are_refused_by_name(policy, given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        policy(observations(1), **given)
