"""Mazes, the planner, the table of the built-in AntMaze datasets, and their ids."""

import numpy as np
import pytest

from gtp_jax.datasets.builtin.antmaze import ANTMAZE, LARGE, MEDIUM, UMAZE
from gtp_jax.datasets.builtin.ids import BuiltIn, parse_id, stand_in
from gtp_jax.datasets.builtin.planner import Planner, distances, shortest_path


@pytest.mark.parametrize(("maze", "length"), [(UMAZE, 6), (MEDIUM, 10), (LARGE, 14)])
def test_shortest_paths_and_distances_are_those_of_matrix_powers(maze, length):
    start, goal, cells = maze.cells_of("r")[0], maze.cells_of("g")[0], maze.free_cells
    path = [start, *shortest_path(maze, start, goal, np.random.default_rng(0))]
    assert len(path) == length + 1 and path[-1] == goal and set(path) <= set(cells)
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in zip(path, path[1:], strict=False))
    near = np.array([[abs(a[0] - b[0]) + abs(a[1] - b[1]) <= 1 for b in cells] for a in cells])
    reached, expected = np.eye(len(cells), dtype=bool), np.zeros((len(cells), len(cells)), int)
    for _ in cells:
        expected += ~reached
        reached = (reached.astype(int) @ near) > 0
    assert reached.all()
    for i, goal in enumerate(cells):
        assert distances(maze, goal) == {cell: expected[i, j] for j, cell in enumerate(cells)}


@pytest.mark.parametrize("collection", ANTMAZE.values(), ids=list(ANTMAZE))
def test_cells_of_every_collection_are_free_and_goals_reachable(collection):
    starts, goals = set(collection.starts), set(collection.goals)
    assert starts | goals <= set(collection.maze.free_cells)
    assert len(collection.starts) == len(starts) and len(collection.goals) == len(goals)
    assert all(starts <= set(distances(collection.maze, goal)) for goal in goals)
    assert all(goals - {start} for start in starts)
    assert collection.maze.start_xy is not None and collection.maze.goal_xy is not None


@pytest.mark.parametrize("name", ["umaze", "medium-play", "large-play"])
def test_cells_lie_where_the_environment_puts_them(name):
    maze, env = ANTMAZE[name].maze, ANTMAZE[name].eval_env().make_env()
    for cell in maze.free_cells:
        np.testing.assert_array_equal(maze.cell_to_xy(cell), env.unwrapped.maze.cell_rowcol_to_xy(np.array(cell)))
        assert maze.xy_to_cell(maze.cell_to_xy(cell)) == cell
    assert env.spec.max_episode_steps == ANTMAZE[name].max_episode_steps
    observation, _ = env.reset(seed=0)
    assert observation["observation"].shape == (27,)
    # Positions are drawn within a metre of the cell's centre, along each axis.
    assert np.abs(observation["achieved_goal"] - maze.start_xy).max() <= 1
    assert np.abs(observation["desired_goal"] - maze.goal_xy).max() <= 1
    env.close()


def test_planner_leads_a_point_to_its_goal_through_no_wall():
    xy, goal = np.array(LARGE.start_xy), np.array(LARGE.goal_xy) + [0.7, -0.9]
    planner = Planner(LARGE, xy, goal, np.random.default_rng(0))
    for _ in range(2000):
        direction = planner.direction(xy)
        assert np.linalg.norm(direction) == pytest.approx(1)
        xy = xy + 0.1 * direction
        assert LARGE.xy_to_cell(xy) in LARGE.free_cells
    assert np.linalg.norm(xy - goal) < 0.2


def test_a_stuck_ant_gets_a_new_plan():
    start = np.array(UMAZE.start_xy)
    planner = Planner(UMAZE, start, np.array(UMAZE.goal_xy), np.random.default_rng(0))
    directions = [tuple(planner.direction(start)) for _ in range(80)]
    # After 2 s, at step 40, and again at step 80.
    assert [len(set(part)) for part in (directions[:39], directions[39:79], directions)] == [1, 1, 3]


def test_ids_name_size_and_seed():
    standard = parse_id("gtp/antmaze/umaze-v0")
    assert standard == BuiltIn(ANTMAZE["umaze"], 100_000, 0) and standard.id == "gtp/antmaze/umaze-v0"
    small = parse_id("gtp/antmaze/medium-play-v0", transitions=5000, seed=3)
    assert small.id == "gtp/antmaze/medium-play-5k-seed3-v0" and parse_id(small.id) == small
    assert parse_id("gtp/antmaze/umaze-100000-v0").id == "gtp/antmaze/umaze-v0"
    assert parse_id("gtp/antmaze/umaze-1234-v0").id == "gtp/antmaze/umaze-1234-v0"
    for name, given, says in (
        ("medum-play", {}, "did you mean 'gtp/antmaze/medium-play-v0'"),
        ("umaze-5k", {"transitions": 600}, "names transitions 5000, but transitions=600"),
        ("umaze", {"transitions": -5}, "transitions must be at least 1 and at most 100000000, got -5"),
        ("umaze", {"seed": -1}, "the seed must be below 2147483648 and not negative, got -1"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_id(f"gtp/antmaze/{name}-v0", **given)
    assert stand_in("D4RL/antmaze/large-diverse-v1") == "gtp/antmaze/large-diverse-v0"
    assert stand_in("mujoco/hopper/medium-v0") == "gtp/hopper/medium-v0"
    assert stand_in("mujoco/hopper/simple-v0") is None
