"""experiments/evaluate.py as a user starts it, and a trained policy as one uses it: `gtp_jax.load_policy`."""

import importlib.util
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from runs import ROOT

import gtp_jax
from gtp_jax import datasets
from gtp_jax.agent import build

SCRIPT = ROOT / "experiments" / "evaluate.py"
# Few and small pictures take no time, even without a GPU.
SMALL = f"""
import runpy, sys
from gtp_jax import video
whole = video.render
video.render = lambda *given, every: whole(*given, width=64, every=10 * every)
sys.argv[0] = {str(SCRIPT)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def evaluate(env, *words, program=(str(SCRIPT),)):
    return subprocess.run([sys.executable, *program, *words], env=env, text=True, capture_output=True)


def test_the_time_is_that_of_the_first_training_that_acts():
    spec = importlib.util.spec_from_file_location("evaluate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = []

    class Loaded:
        lanes = range(3)

        def __init__(self, sound):
            self.sound = sound

        def params_of(self, lane):
            if lane not in self.sound:
                raise ValueError("diverged")

        def __call__(self, obs, num_steps, seed_index):
            asked.append(seed_index)

    assert module.milliseconds_per_sample(Loaded({1, 2}), None, 1, repeats=2) >= 0 and asked == [1, 1]
    assert module.milliseconds_per_sample(Loaded(set()), None, 1) is None and len(asked) == 2


def test_scores_and_times_for_each_k_and_seed_and_a_film(whole, runner, tmp_path, renders):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    words = [f"--workdir={run}", "--num_steps=1,2", "--episodes=1", "--video"]
    done = evaluate(runner.env, *words, program=("-c", SMALL))
    results = [] if not (run / "evaluations.json").exists() else json.loads((run / "evaluations.json").read_text())
    films = sorted(path.name for path in run.glob("video-*.gif"))
    if renders is None:  # then it says so before anything is played
        assert done.returncode == 2 and "apt install libegl1" in done.stderr and results == films == []
        return
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert [(row["num_steps"], row["temperature"], row["episodes"]) for row in results] == [(1, 1, 1), (2, 1, 1)]
    for row in results:
        assert len(row["score"]["per_seed"]) == 2 and row["milliseconds_per_sample"] > 0
        shown = f"{row['milliseconds_per_sample']:.2f} ms per action"
        assert f"K = {row['num_steps']}, temperature 1" in done.stdout and shown in done.stdout
    assert films == ["video-K1.gif", "video-K2.gif"]
    assert sorted(path.name for path in run.glob("video-*.mp4")) == ["video-K1.mp4", "video-K2.mp4"]
    for name in films:
        with Image.open(run / name) as film:
            assert film.width == 64 and film.n_frames > 5 and film.info["loop"] == 0
            first = np.asarray(film.convert("RGB"))
            film.seek(film.n_frames - 1)
            assert (first != np.asarray(film.convert("RGB"))).any()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workdir=nowhere"], ["nowhere", "--workdir"]),
        (["--workdir=x", "--num_steps=0,1"], ["--num_steps", "at least 1"]),
        (["--workdir=x", "--num_steps=two"], ["--num_steps", "'two'"]),
        (["--workdir=x", "--temperature=-1"], ["--temperature", "at least 0"]),
        (["--workdir=x", "--temperature=nan"], ["--temperature", "nan"]),
        (["--workdir=x", "--episodes=0"], ["--episodes", "at least 1"]),
    ],
)
def test_mistakes_are_one_line(runner, tmp_path, words, says):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], cwd=tmp_path, env=runner.env, text=True, capture_output=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "error: " in last and all(word in last for word in says), done.stderr


def test_a_backend_that_does_not_render_is_one_line(whole, runner):
    done = evaluate({**runner.env, "MUJOCO_GL": "nosuch"}, f"--workdir={whole[0]}", "--video")
    assert done.returncode == 2
    assert done.stderr.startswith("error: MuJoCo cannot render here: MUJOCO_GL=nosuch failed; install EGL")
    assert len(done.stderr.splitlines()) == 1
    assert not (whole[0] / "evaluations.json").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_help_is_quick(path):
    """Processor time, which a busy machine does not change, and nothing imported that takes seconds when it is cold."""
    program = f"""
import contextlib, runpy, sys, time
sys.argv = [{str(path)!r}, "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_path(sys.argv[0], run_name="__main__")
heavy = "jax flax orbax gymnasium minari mujoco matplotlib".split()
print(time.process_time(), *set(heavy) & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    seconds, *heavy = done.stdout.splitlines()[-1].split()
    assert "--" in done.stdout and float(seconds) < 2
    assert not heavy


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
    raw, key = observations(5), jax.random.key(3)
    flat = datasets.Observer(policy.observe.transform, np.zeros(60, np.float32), np.ones(60, np.float32))(raw)
    seen = (flat - policy.observe.mean) / policy.observe.std
    assert np.abs(policy.observe.mean).max() > 0.1  # or nothing would have been subtracted
    bound = np.ones(8, np.float32)
    made = build.make_policy(policy.settings["policy"], -bound, bound, 60)
    for seed, num_steps, temperature in ((0, 1, 1.0), (1, 4, 0.3)):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], policy.params)
        expected = jax.jit(made.sample, static_argnums=3)(params, key, seen, num_steps, temperature)
        given = {"num_steps": num_steps, "temperature": temperature, "seed_index": seed}
        np.testing.assert_array_equal(policy(raw, key=key, **given), expected)


def test_all_seeds_act_at_once(policy):
    raw, key = observations(5), jax.random.key(3)
    every = policy(raw, key=key, seed_index=None)
    assert every.shape == (2, 5, 8) and isinstance(every, np.ndarray) and every.dtype == np.float32
    assert (np.abs(every) <= 1).all()
    for index in range(2):
        np.testing.assert_allclose(every[index], policy(raw, key=key, seed_index=index), rtol=1e-5, atol=1e-6)
    assert np.abs(every[0] - every[1]).max() > 0.01


def test_observations_of_any_library_and_shape(policy):
    raw = observations(6)
    plain = policy(raw)
    np.testing.assert_array_equal(policy({name: jnp.asarray(part) for name, part in raw.items()}), plain)
    assert policy({name: part[0] for name, part in raw.items()}).shape == (8,)
    many = {name: part.reshape(2, 3, -1) for name, part in raw.items()}
    assert policy(many).shape == (2, 3, 8) and policy(many, seed_index=None).shape == (2, 2, 3, 8)


def test_equal_calls_act_alike_and_keys_and_steps_matter(policy):
    raw = observations(4)
    own = policy.settings["policy"]
    np.testing.assert_array_equal(policy(raw), policy(raw))
    np.testing.assert_array_equal(
        policy(raw), policy(raw, num_steps=own["num_steps"], temperature=own["temperature"], seed_index=0)
    )
    one, two = (policy(raw, key=jax.random.key(i)) for i in range(2))
    assert (one != two).any() and (policy(raw, num_steps=1) != policy(raw, num_steps=3)).any()
    cold = [policy(raw, key=jax.random.key(i), temperature=0.0) for i in range(2)]
    np.testing.assert_array_equal(*cold)


def test_actions_stay_inside_the_bounds(policy):
    far = {name: 100 * part for name, part in observations(50).items()}
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
    [{"num_steps": 0}, {"num_steps": 1.5}, {"temperature": -1}, {"temperature": np.nan}, {"seed_index": 2}],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused_by_name(policy, given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        policy(observations(1), **given)
