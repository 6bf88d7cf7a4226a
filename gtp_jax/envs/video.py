"""Films of episodes: the physics is recorded while an episode is played and rendered off screen afterwards.

So playing renders nothing, in whatever thread, and a film shows an episode that was scored.
"""

import copy
import importlib
import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtp_jax.envs.maze import MazeInfo

BACKENDS = ("egl", "osmesa")  # MuJoCo's without a screen, on Linux
_PROBE = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"
_FLOOR, _WALL, _BODY = (0.95, 0.95, 0.95, 1.0), (0.42, 0.50, 0.60, 1.0), (0.85, 0.42, 0.10, 1.0)
_ELEVATION = 70.0  # degrees above the floor: nearly from above, so that no wall hides the ant
_COLOURS = 128  # of a GIF; more of them make it larger, not better


def choose_backend() -> None:
    """Sets MUJOCO_GL to a backend that renders without a screen, where the user has set none.

    Call it before MuJoCo is imported, which reads it once. Raises ValueError where none works, or the user's does not.
    """
    given = os.environ.get("MUJOCO_GL")
    candidates = (given,) if given else BACKENDS if sys.platform == "linux" else ("",)
    for name in candidates:
        # In a process of its own: a backend that fails while it is imported leaves nothing to try the next one with.
        environment, command = {**os.environ, "MUJOCO_GL": name}, [sys.executable, "-c", _PROBE]
        if not subprocess.run(command, env=environment, capture_output=True).returncode:
            if name:
                os.environ["MUJOCO_GL"] = name
            return
    tried = " and ".join(f"MUJOCO_GL={name}" for name in candidates)
    cure = "install EGL (Debian, Ubuntu: apt install libegl1), or OSMesa (libosmesa6) with MUJOCO_GL=osmesa"
    raise ValueError(f"MuJoCo cannot render here: {tried} failed; {cure}, or leave out --video")


class Moment(NamedTuple):
    """The physics at one time, in seconds; `sites` are positions [., 3], a maze's goal among them."""

    time: float
    qpos: np.ndarray
    sites: np.ndarray


class Recorded:
    """A MuJoCo environment with a record of what it went through: `episodes`, a list of moments for each reset."""

    def __init__(self, env: Any):
        self.env, self.close = env, env.close
        self.episodes: list[list[Moment]] = []

    def reset(self, **options: Any) -> Any:
        self.episodes.append([])
        return self._recorded(self.env.reset(**options))

    def step(self, action: np.ndarray) -> Any:
        return self._recorded(self.env.step(action))

    def _recorded(self, result: Any) -> Any:
        data, model = self.env.unwrapped.data, self.env.unwrapped.model
        self.episodes[-1].append(Moment(data.time, data.qpos.copy(), model.site_pos.copy()))
        return result


def render(
    env: Any, episode: Sequence[Moment], maze: MazeInfo | None, *, width: int = 400, every: int = 2
) -> np.ndarray:
    """Draws a recorded episode of an environment, whose state is not touched: frames, uint8 [T, H, width, 3].

    A maze is seen as a whole from above; without one the camera follows the robot. `width` is at most 640; one of
    `every` moments is drawn, and the last one always.
    """
    mujoco: Any = importlib.import_module("mujoco")  # has no type stubs
    # Plain colours: the model's chequered floor hides the ant and does not compress.
    model = copy.copy(env.unwrapped.model)
    is_fixed = model.body_weldid[model.geom_bodyid] == 0
    is_floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    model.vis.quality.shadowsize = 1024  # a quarter of the usual one: without a GPU, shadows are most of the work
    model.geom_matid[:] = -1
    model.geom_rgba[:] = np.where(is_floor[:, None], _FLOOR, np.where(is_fixed[:, None], _WALL, _BODY))
    data, frames = mujoco.MjData(model), []
    camera, height = 0, 3 * width // 4  # the camera that every Gymnasium robot carries
    if maze is not None:
        camera, height = _above(maze, width, model.vis.global_.fovy)
    with mujoco.Renderer(model, height, width) as renderer:
        for moment in [*episode[:-1:every], episode[-1]]:
            data.qpos, model.site_pos = moment.qpos, moment.sites
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            frames.append(renderer.render().copy())
    return np.stack(frames)


def _above(maze: MazeInfo, width: int, fovy: float) -> tuple[Any, int]:
    """A camera that sees a maze as a whole, and the height of its pictures in pixels."""
    corners = np.array([maze.cell_to_xy(cell) for cell in maze.free_cells])
    margin = maze.cell_size / 2 + 0.5
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    seen = (high[1] - low[1]) * math.sin(math.radians(_ELEVATION))  # of the floor's depth, in the picture's plane
    height = min(480, round(width * seen / (high[0] - low[0])))
    camera = importlib.import_module("mujoco").MjvCamera()
    camera.lookat[:] = [*(low + high) / 2, 0.0]
    camera.azimuth, camera.elevation = 90.0, -_ELEVATION
    shown = max(seen, (high[0] - low[0]) * height / width)
    camera.distance = 1.2 * shown / (2 * math.tan(math.radians(fovy / 2)))
    return camera, height


def write(frames: np.ndarray, path: Path, *, seconds: float) -> list[Path]:
    """Writes frames, uint8 [T, H, W, 3], to a GIF that plays in a loop and, where imageio-ffmpeg is installed, an MP4.

    Returns their paths: `path` with another suffix. `seconds` lie between frames; browsers count hundredths from two.
    """
    from PIL import Image

    # One palette for all frames, and no dithering: whatever stands still is then the same in each, and stored once.
    some = np.concatenate(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(some).quantize(_COLOURS)
    first, *rest = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    milliseconds = max(20, 10 * round(100 * seconds))
    durations = [milliseconds] * len(rest) + [1000]  # the end is looked at for a second
    written = [path.with_suffix(".gif")]
    first.save(written[0], save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        height, width = (size - size % 2 for size in frames.shape[1:3])  # H.264 halves both for its colours
        written.append(path.with_suffix(".mp4"))
        given = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1 / seconds:g} -i -"
        words = f"-loglevel error -y {given} -c:v libx264 -pix_fmt yuv420p -movflags +faststart"
        # By hand: the package's own writer forks, which JAX warns of, and leaves pipes open.
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *words.split(), str(written[1])]
        subprocess.run(command, input=frames[:, :height, :width].tobytes(), check=True)
    return written


def film(env: Any, episode: Sequence[Moment], maze: MazeInfo | None, path: Path) -> list[Path]:
    """Renders a recorded episode and writes it, at twice its speed or, where it has over 400 moments, faster."""
    every = max(2, len(episode) // 200)
    return write(render(env, episode, maze, every=every), path, seconds=episode[1].time - episode[0].time)
