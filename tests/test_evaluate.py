"""`gtp-jax evaluate`, and the policy of a run on AntMaze's raw observations; test_serving.py has the rest of acting."""

import json
import shutil
import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from toy import ThreeSteps, Untrained

import gtp_jax
from gtp_jax.agent.build import build_policy
from gtp_jax.commands import evaluate, main
from gtp_jax.datasets.transforms import transform_observation
from gtp_jax.envs.evaluation import _ROOT, Evaluator
from gtp_jax.runs import scores
from gtp_jax.training import train

# Few and small pictures take no time, even without a GPU.
SMALL = """
import sys
from gtp_jax.commands import main
from gtp_jax.envs import video
whole = video.render
video.render = lambda *given, every: whole(*given, width=64, every=10 * every)
sys.exit(main(["evaluate", *sys.argv[1:]]))
"""


def films(env, word):
    """Evaluates in a process of its own, since MuJoCo reads once how it renders."""
    command = [sys.executable, "-c", SMALL, "--num_steps=1,2", "--episodes=1", "--video", word]
    return subprocess.run(command, env=env, text=True, capture_output=True)


def test_a_file_of_evaluations_keeps_those_with_other_settings(tmp_path):
    path, row = tmp_path / "evaluations.json", dict.fromkeys(evaluate._SAME, 1)
    rows = [row, row | {"candidates": 2}, row | {"noise_seed": 0}]
    for each in [*rows, rows[1] | {"score": 5}]:
        evaluate.add_result(path, each)
    assert json.loads(path.read_text()) == [rows[0], rows[1] | {"score": 5}, rows[2]]
    evaluate.add_result(tmp_path / "none.json", None)
    for text in ("{", '{"a": 1}', "[3]", "7", '[{"updates": []}]'):
        path.write_text(text)
        with pytest.raises(
            ValueError, match="evaluations.json holds no evaluations .*; move it, or choose another --out"
        ):
            evaluate.add_result(path, None)
        assert path.read_text() == text


def test_the_time_is_that_of_the_first_trial_that_acts(tmp_path):
    policy = Untrained(tmp_path, (0, 1), guidance__name="none").policy
    for diverged in ([], [0], [0, 1]):
        policy.params = jax.tree.map(lambda leaf, i=diverged: leaf.at[jnp.array(i, int)].set(jnp.nan), policy.params)
        policy._params_of.cache_clear()
        found = evaluate.milliseconds_per_sample(policy, np.zeros(3), 1, repeats=2)
        assert found is None if len(diverged) == 2 else found > 0


def test_scores_and_times_for_each_combination(whole, runner, tmp_path, monkeypatch, capsys, refused):
    run = shutil.copytree(whole[0], tmp_path / "run")
    monkeypatch.setenv("MINARI_DATASETS_PATH", runner.env["MINARI_DATASETS_PATH"])
    words = ["evaluate", f"--workdir={run}", "--num_steps=1", "--candidates=1,3", "--softmax=2", "--episodes=1"]
    assert main(words) == 0
    results, out = json.loads((run / "evaluations.json").read_text()), capsys.readouterr().out
    found = [(row["num_steps"], row["temperature"], row["candidates"], row["selection"]) for row in results]
    assert found == [(1, 0.5, 1, None), (1, 0.5, 3, "softmax, 2 Q")]  # the temperature is the run's own
    for row in results:
        assert len(row["score"]["per_seed"]) == 2 and row["episodes"] == 1 and row["milliseconds_per_sample"] > 0
        assert row["command"] == f"gtp-jax {' '.join(words)}"
        how = f"K = 1, temperature 0.5{', softmax, 2 Q of 3' * (row['candidates'] == 3)}: "
        assert how in out and f"  {row['milliseconds_per_sample']:.2f} ms per action" in out
    monkeypatch.setattr(Evaluator, "__call__", lambda *_: 1 / 0)
    for path, says in (
        (run, "is a folder; name a file: --output=FILE"),
        ("/dev/null/x", "/dev/null cannot be written"),
    ):
        assert says in refused(*words, f"--output={path}")
    before = (run / "evaluations.json").read_bytes()
    load = train.load_dataset
    monkeypatch.setattr(train, "load_dataset", lambda *given: load(*given)._replace(fingerprint="other"))
    assert main(words) == 70 and (late := capsys.readouterr().out)
    assert "the evaluation failed with ZeroDivisionError" in late and "warning" not in out
    assert "has changed since the run: fingerprint: " in late and "environment" not in late
    assert (run / "evaluations.json").read_bytes() == before


def by_hand(policy, trial, episodes):
    """The returns of a deterministic policy's episodes, played one after the other."""
    env, found = ThreeSteps(), []
    for episode in range(episodes):
        entropy = np.random.SeedSequence((_ROOT, policy.seeds[trial], episode)).generate_state(1)[0]
        (obs, _), total, done = env.reset(seed=int(entropy)), 0.0, False
        while not done:
            obs, reward, _, done, _ = env.step(policy(obs, temperature=0, trial=trial))
            total += reward
        found.append(total)
    return found


def test_a_policy_is_evaluated_in_any_environment_from_python_and_from_the_command_line(tmp_path, capsys, refused):
    policy = Untrained(tmp_path, (4, 9), guidance__name="none", dataset="arrays/mine").policy
    found = gtp_jax.evaluate(policy, ThreeSteps, num_episodes=3, num_envs=2, temperature=0)
    np.testing.assert_allclose(found["returns"], [by_hand(policy, trial, 3) for trial in (0, 1)], rtol=1e-5)
    assert found["score_of"] == "return" and (found["length"] == 3).all() and not found["success"].any()
    assert found["score"] == scores.summarise(found["returns"])
    gymnasium.register("toy/ThreeSteps-v0", ThreeSteps)
    words = ["evaluate", f"--workdir={tmp_path}", "--num_steps=1", "--temperature=0", "--episodes=3"]
    words.append("--num_envs=2")
    assert main([*words, "--env=toy/ThreeSteps-v0"]) == 0 and "K = 1, temperature 0" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "evaluations.json").read_text())
    assert row["environment"] == "toy/ThreeSteps-v0" and row["score"] == found["score"]
    says = "arrays/mine names no environment to evaluate in; give one: "
    assert f"{says}--env=ID" in refused(*words)
    for env, changes, message in (
        (None, {}, f"{says}env=ID"),
        ("Pendulum-v1", {}, r"shows \[3\] and acts \[1\]; the policy observes \[3\] and acts \[2\]"),
        ("MountainCarContinuous-v0", {}, r"MountainCarContinuous-v0 shows \[2\] and acts \[1\]; the policy obs"),
        ("toy/ThreeStep-v0", {}, "not registered; .*; did you mean 'toy/ThreeSteps-v0'"),
        (ThreeSteps, {"num_episodes": 0}, "num_episodes = 0 must be a whole number at least 1"),
        (ThreeSteps, {"num_envs": 2.5}, "num_envs = 2.5 must be a whole number at least 1"),
        (ThreeSteps, {"seed": -1}, "seed = -1 must be a whole number at least 0"),
        (ThreeSteps, {"temperature": -1.0}, "temperature = -1.0 must be at least 0"),
        (ThreeSteps, {"candidates": 2}, "candidates = 2: this run cloned and has no critic"),
    ):
        with pytest.raises(ValueError, match=message):
            gtp_jax.evaluate(policy, env, **changes)


@pytest.mark.slow
def test_the_first_episode_is_filmed_at_each_k(whole, runner, tmp_path, renders):
    run = shutil.copytree(whole[0], tmp_path / "run")
    for env in [runner.env | {"MUJOCO_GL": "nosuch"}] + [runner.env] * (renders is None):
        done = films(env, f"--workdir={run}")  # refused before anything is played
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "apt install libegl1" in done.stderr
        assert done.stderr.startswith("error: MuJoCo cannot render here: MUJOCO_GL=")
        assert not [*run.glob("video-*"), *run.glob("evaluations.json")]
    if renders is None:
        return
    done = films(runner.env, f"--workdir={run}")
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


@pytest.fixture(scope="module")
def policy(whole):
    return gtp_jax.load_policy(whole[0])


SIZES = {"observation": 27, "achieved_goal": 2, "desired_goal": 2}
RAW = {name: np.random.default_rng(size).normal(size=(6, size)) for name, size in SIZES.items()}
RAW["desired_goal"] += 2


def test_a_loaded_policy_is_the_sampler_behind_its_statistics(policy):
    """Raw observations of any library and shape in; the network sees them by the data's mean and deviation."""
    seen, key = transform_observation(policy.observe.transform, RAW), jax.random.key(3)
    seen = (seen - policy.observe.mean) / policy.observe.std
    assert np.abs(policy.observe.mean).max() > 0.1  # or nothing would have been subtracted
    sample = build_policy(policy.settings, -np.ones(8, np.float32), np.ones(8, np.float32), None).sample
    params = jax.tree.map(lambda leaf: leaf[1], policy.params)
    expected = jax.jit(sample, static_argnums=3)(params, key, seen, 3, 0.3)
    given = {"key": key, "num_steps": 3, "temperature": 0.3, "trial": 1}
    actions = policy(RAW, **given)
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)  # the call's program is of 8 observations
    np.testing.assert_array_equal(policy({name: jnp.asarray(part) for name, part in RAW.items()}, **given), actions)
    assert policy({name: part.reshape(2, 3, -1) for name, part in RAW.items()}, trial=None).shape == (2, 2, 3, 8)


def test_steps_and_temperature_are_the_runs_own_by_default_and_actions_bounded(policy):
    own = policy.settings.policy
    np.testing.assert_array_equal(policy(RAW), policy(RAW, num_steps=own.num_steps, temperature=own.temperature))
    assert (policy(RAW) != policy(RAW, num_steps=3)).any() and (policy(RAW) != policy(RAW, temperature=1.0)).any()
    actions = policy({name: 100 * part for name, part in RAW.items()}, temperature=5.0)
    assert actions.dtype == np.float32 and (np.abs(actions) <= 1).all() and (np.abs(actions) == 1).any()
    with pytest.raises(ValueError, match="expects a dict with keys .*achieved_goal.* got ndarray"):
        policy(RAW["observation"])
