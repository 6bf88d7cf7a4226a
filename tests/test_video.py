"""Films: what is recorded, what a picture shows, what a file keeps, and which backend renders it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gtp_jax.envs import registry, video


def test_what_is_recorded_is_what_was_played():
    recorded, played = video.Recorded(registry.make_gym("HalfCheetah-v5")), []
    for step in range(8):
        recorded.step(np.ones(6, np.float32)) if step % 4 else recorded.reset(seed=step)
        played.append(recorded.env.unwrapped.data.qpos.copy())
    recorded.close()
    np.testing.assert_array_equal([moment.qpos for episode in recorded.episodes for moment in episode], played)
    np.testing.assert_allclose(np.diff([moment.time for moment in recorded.episodes[1]]), 0.05, rtol=1e-6)


PICTURES = """
import json, os
import numpy as np
from gtp_jax.datasets.builtin.ids import COLLECTIONS
from gtp_jax.envs import registry, video
video.choose_backend()
umaze = COLLECTIONS["antmaze"]["umaze"].eval_env()
env = video.Recorded(umaze.make_env())
env.reset(seed=0)
start = env.episodes[0][0]
moved = [start._replace(qpos=start.qpos + [*by, *[0] * 13]) for by in ((0, 0), (3, 0), (9, 3))]
before = env.env.unwrapped.data.qpos.copy()
frames = video.render(env.env, moved, umaze.maze, width=200, every=1)
red, green, blue = (frames[..., i].astype(int) for i in range(3))
ant, goal = (red > blue + 60) & (green > blue + 30), (red > 120) & (green < 60) & (blue < 60)
centre = lambda mask: [[float(axis.mean()) for axis in np.nonzero(m)] for m in mask]
cheetah = video.Recorded(registry.make_gym("HalfCheetah-v5"))
cheetah.reset(seed=0)
cheetah.step(np.ones(6, np.float32))
followed = video.render(cheetah.env, cheetah.episodes[0], None, width=64)
print(json.dumps({
    "shape": frames.shape, "ant": centre(ant), "goal": centre(goal),
    "kept": bool((before == env.env.unwrapped.data.qpos).all()), "followed": followed.shape,
    "seen": int(np.ptp(followed)),
}))
"""


def test_pictures_show_the_ant_and_the_goal_where_they_are(renders):
    done = subprocess.run([sys.executable, "-c", PICTURES], text=True, capture_output=True)
    if renders is None:
        assert done.returncode == 1 and "apt install libegl1" in done.stderr
        return
    found = json.loads(done.stdout.splitlines()[-1])
    frames, height, width, _ = found["shape"]
    assert (frames, width) == (3, 200) and found["kept"]
    (y0, x0), (y1, x1), (y2, x2) = found["ant"]
    metre = (x1 - x0) / 3
    assert metre > 8 and abs(y1 - y0) < 3  # three metres to the right
    assert x2 - x0 == pytest.approx(9 * metre, rel=0.15) and y0 - y2 > 2 * metre  # nine, and three up
    assert all(0 < y < height / 2 and 0 < x < width / 3 for y, x in found["goal"])  # of this maze, at the top left
    assert found["followed"] == [2, 48, 64, 3] and found["seen"] > 50


def moving_square():
    frames = np.full((12, 33, 41, 3), 255, np.uint8)
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
        assert tried == expected and os.environ["MUJOCO_GL"] == name
    # The user's own choice is kept, and not replaced where it fails.
    for fails, given, says in (("egl", "egl", "=egl failed; install EGL"), ("osmesa", "", "=egl and MUJOCO_GL=osmesa")):
        working.remove(fails)
        monkeypatch.setenv("MUJOCO_GL", given)
        with pytest.raises(ValueError, match=f"MUJOCO_GL{says}"):
            video.choose_backend()
