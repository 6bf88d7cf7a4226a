"""experiments/evaluate.py as a user starts it, and a trained policy as one uses it: `gtp_jax.load_policy`."""

import json
import os
import shutil
import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from runs import ROOT

import gtp_jax
from gtp_jax import datasets, recipes, video

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


@pytest.fixture(scope="module")
def renders():
    """What MuJoCo says of this machine: the backend that works without a screen, or None."""
    saved = os.environ.get("MUJOCO_GL")
    try:
        video.choose_backend()
        return os.environ.get("MUJOCO_GL", "")
    except ValueError:
        return None
    finally:
        os.environ.pop("MUJOCO_GL", None)
        if saved is not None:
            os.environ["MUJOCO_GL"] = saved


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
    assert not heavy or path.stem == "train_ant_controller"  # whose every line needs them


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
    made = recipes.make_policy(policy.settings["policy"], -bound, bound, 60)
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


# Films.


def test_what_is_recorded_is_what_was_played():
    recorded = video.Recorded(gymnasium.make("HalfCheetah-v5", disable_env_checker=True))
    positions = []
    for episode in range(2):
        recorded.reset(seed=episode)
        positions.append([recorded.env.unwrapped.data.qpos.copy()])
        for _ in range(3):
            recorded.step(np.ones(6, np.float32))
            positions[-1].append(recorded.env.unwrapped.data.qpos.copy())
    recorded.close()
    assert [[moment.qpos.tolist() for moment in episode] for episode in recorded.episodes] == [
        [qpos.tolist() for qpos in episode] for episode in positions
    ]
    np.testing.assert_allclose(np.diff([moment.time for moment in recorded.episodes[1]]), 0.05, rtol=1e-6)


PICTURES = """
import json, os
import numpy as np
from gtp_jax import video
from gtp_jax.datasets import TASKS, environments
video.choose_backend()
task = TASKS["umaze"]
evaluation = environments.for_task(task)
env = video.Recorded(evaluation.make_env())
env.reset(seed=0)
start = env.episodes[0][0]
moved = []
for x, y in (start.qpos[:2], start.qpos[:2] + [3, 0], start.qpos[:2] + [9, 3]):
    qpos = start.qpos.copy()
    qpos[:2] = x, y
    moved.append(start._replace(qpos=qpos))
before = env.env.unwrapped.data.qpos.copy()
frames = video.render(env.env, moved, evaluation.maze, width=200, every=1)
red, green, blue = (frames[..., i].astype(int) for i in range(3))
ant, goal = (red > blue + 60) & (green > blue + 30), (red > 120) & (green < 60) & (blue < 60)
centre = lambda mask: [[float(axis.mean()) for axis in np.nonzero(m)] for m in mask]
cheetah = video.Recorded(environments.make_gym("HalfCheetah-v5"))
cheetah.reset(seed=0)
cheetah.step(np.ones(6, np.float32))
followed = video.render(cheetah.env, cheetah.episodes[0], None, width=64)
print(json.dumps({
    "shape": frames.shape, "ant": centre(ant), "goal": centre(goal), "colours": len(np.unique(frames)),
    "kept": bool((before == env.env.unwrapped.data.qpos).all()), "followed": followed.shape,
    "seen": int(np.ptp(followed)),
}))
"""


def test_pictures_show_the_ant_and_the_goal_where_they_are(renders):
    done = subprocess.run([sys.executable, "-c", PICTURES], text=True, capture_output=True)
    if renders is None:
        assert done.returncode == 1 and "apt install libegl1" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    frames, height, width, _ = found["shape"]
    assert (frames, width) == (3, 200) and found["kept"]
    (y0, x0), (y1, x1), (y2, x2) = found["ant"]
    metre = (x1 - x0) / 3
    assert metre > 8 and abs(y1 - y0) < 3  # three metres to the right
    assert x2 - x0 == pytest.approx(9 * metre, rel=0.15) and y0 - y2 > 2 * metre  # nine, and three up
    assert all(0 < y < height / 2 and 0 < x < width / 3 for y, x in found["goal"])  # of this maze, at the top left
    assert found["followed"] == [2, 48, 64, 3] and found["seen"] > 50


def moving_square(count=12):
    frames = np.full((count, 33, 41, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        frame[10:20, 2 * i : 2 * i + 10] = (200, 100, 30)
    return frames


def test_a_gif_keeps_every_frame_its_time_and_its_colours(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    frames = moving_square()
    (path,) = video.write(frames, tmp_path / "film", seconds=0.05)
    with Image.open(path) as film:
        assert path.name == "film.gif" and film.n_frames == 12 and film.info["loop"] == 0
        for i in range(12):
            film.seek(i)
            np.testing.assert_array_equal(np.asarray(film.convert("RGB")), frames[i])
            assert film.info["duration"] == (1000 if i == 11 else 50)


def test_an_mp4_where_ffmpeg_is_there(tmp_path):
    import imageio_ffmpeg

    gif, mp4 = video.write(moving_square(), tmp_path / "film", seconds=0.05)
    assert (gif.suffix, mp4.suffix) == (".gif", ".mp4")
    words = f"-loglevel error -i {mp4} -f rawvideo -pix_fmt rgb24 -"
    decoded = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *words.split()], capture_output=True, check=True)
    read = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 32, 40, 3)
    assert len(read) == 12
    np.testing.assert_allclose(read[6][15, 17], (200, 100, 30), atol=25)
    assert (read[6][5, 5] > 230).all()


def test_the_first_backend_that_works_is_chosen(monkeypatch):
    tried, working = [], set()

    def probe(words, env, capture_output):
        tried.append(env["MUJOCO_GL"])
        return subprocess.CompletedProcess(words, int(env["MUJOCO_GL"] not in working))

    monkeypatch.setattr(video.subprocess, "run", probe)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, expected in (("osmesa", ["egl", "osmesa"]), ("egl", ["egl"])):
        working.add(name)
        monkeypatch.setenv("MUJOCO_GL", "")
        tried.clear()
        video.choose_backend()
        assert tried == expected and os.environ["MUJOCO_GL"] == expected[-1]
    working.remove("egl")
    monkeypatch.setenv("MUJOCO_GL", "egl")  # the user's own choice is kept, and not replaced where it fails
    with pytest.raises(ValueError, match="MUJOCO_GL=egl failed; install EGL"):
        video.choose_backend()
    working.clear()
    monkeypatch.setenv("MUJOCO_GL", "")
    with pytest.raises(ValueError, match="MUJOCO_GL=egl and MUJOCO_GL=osmesa failed"):
        video.choose_backend()
