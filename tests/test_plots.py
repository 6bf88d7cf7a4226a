"""Pictures are checked by their pixels: what must be drawn leaves its colour in the right place."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from gtp_jax.envs.maze import CornerMaze, MazeInfo
from gtp_jax.runs import plots

UMAZE = MazeInfo([[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]])
LONG_WAY = np.array([[-4, -4], [4, -4], [4, 4], [-4, 4]], float)


def pixels(path):
    image = imread(path)
    assert image.ndim == 3 and min(image.shape[:2]) > 300
    return image[..., :3]


def close_to(image, colour):
    return np.abs(image - np.array(to_rgb(colour))).max(axis=-1) < 0.02


def draw_maze(path, *seeds, maze=UMAZE):
    plots.maze(maze, seeds, path, titles=["a"] * len(seeds), title="a run")
    return pixels(path)


def draw_curves(path, metrics, groups=None):
    plots.curves(metrics, path, groups=groups or {"": [0, 1, 2]}, title="a run")
    return pixels(path)


def test_maze_walls_and_goal_lie_where_the_simulator_has_them(tmp_path):
    image = draw_maze(tmp_path / "maze.png", [(LONG_WAY, True)])
    rows, columns = np.nonzero(close_to(image, plots.WALL))
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()

    def at(x, y):
        reach = 10.0 - 0.6 * 4.0  # metres from the centre to the picture's edge
        row = top + (reach - y) / (2 * reach) * (bottom - top)
        return image[round(row), round(left + (x + reach) / (2 * reach) * (right - left))]

    assert close_to(at(0, 0), plots.WALL) and close_to(at(-4, 0), plots.WALL)
    assert not close_to(at(4, 0), plots.WALL)
    np.testing.assert_array_equal(at(0, 5.5), 1.0)
    red, green, blue = at(-4, 4)
    assert green > red + 0.2 and green > blue
    np.testing.assert_array_equal(at(-4, -4), 1.0)  # a white disc in a dark ring
    image = draw_maze(
        tmp_path / "maze.png", [(LONG_WAY, True)], maze=MazeInfo([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]])
    )
    assert not close_to(image, plots.GOAL).any()


def test_maze_whose_y_runs_along_the_rows_is_the_same_one_upside_down(tmp_path):
    shown, rows = [], [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, 1, "r", 0, 1], [1, 1, 1, 1, 1]]
    for kind, way in ((MazeInfo, LONG_WAY), (CornerMaze, LONG_WAY * [1, -1] + 4)):
        image = draw_maze(tmp_path / "maze.png", [(way, True)], maze=kind(rows))
        i, j = np.nonzero(close_to(image, plots.WALL))
        shown.append(image[i.min() : i.max() + 1, j.min() : j.max() + 1])
    assert shown[0].shape == shown[1].shape and np.mean(np.abs(shown[0] - shown[1][::-1]) > 0.1) < 0.01
    assert np.mean(np.abs(shown[0] - shown[1]) > 0.1) > 0.05


def test_maze_shows_failures(tmp_path):
    def reddish(image):
        return int(((image[..., 0] - image[..., 2]) > 0.4).sum())

    stuck = LONG_WAY[:2]
    legend_only = reddish(draw_maze(tmp_path / "a.png", [(LONG_WAY, True)]))
    assert reddish(draw_maze(tmp_path / "b.png", [(LONG_WAY, True), (stuck, False)])) > legend_only + 200


def test_maze_has_a_panel_for_each_of_at_most_four_seeds(tmp_path):
    widths = [draw_maze(tmp_path / f"{n}.png", *[[(LONG_WAY, True)]] * n).shape[1] for n in (2, 4, 9)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2) and widths[2] == widths[1]


def test_curves_draw_score_and_losses(tmp_path):
    steps, spread = np.arange(0, 5000, 1000), np.array([-5.0, 0.0, 5.0])
    metrics = {
        "score": (steps, steps[:, None] / 100 + 20 + spread),
        "critic_loss": (steps, np.exp(-steps / 500)[:, None] * np.ones(3)),
        "flow_loss": (steps, np.full((5, 3), np.nan)),
        "weight": (steps, np.ones((5, 3))),
    }
    whole = draw_curves(tmp_path / "curves.png", metrics)
    assert close_to(whole, plots.SUCCESS).sum() > 300
    metrics["score"] = (steps, metrics["score"][1] - spread)
    unshaded = draw_curves(tmp_path / "curves.png", metrics)
    # The band over the seeds is the only large tinted area.
    tinted = [((image[..., 2] - image[..., 0]) > 0.1).sum() for image in (whole, unshaded)]
    assert tinted[0] > 2 * tinted[1]


@pytest.mark.parametrize("num_losses", [0, 5])
def test_curves_of_any_number_of_losses_before_the_first_evaluation(tmp_path, num_losses):
    metrics = {f"{i}_loss": (np.array([1000]), np.array([[1.0, np.nan]])) for i in range(num_losses)}
    assert draw_curves(tmp_path / "curves.png", metrics, groups={"a": [0], "b": [1]}).std() > 0.01


def test_a_backend_that_there_is_not_is_not_missed():
    """Matplotlib would raise at its first import, which is after the training."""
    code = "from gtp_jax.runs import plots; import os; plots.figure(1, 1); assert os.environ['MPLBACKEND'] == 'none'"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": "none"}, check=True)
