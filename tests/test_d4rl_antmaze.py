"""D4RL's AntMaze in Gymnasium, and the built-in data under its protocol."""

import itertools

import gymnasium
import mujoco
import numpy as np
import pytest

from gtp_jax.datasets.builtin import ids, rollouts
from gtp_jax.datasets.builtin.d4rl_antmaze import D4RL_ANTMAZE
from gtp_jax.envs import D4RL_ANTMAZE_STEPS, d4rl_antmaze, d4rl_mazes

REST = np.array([0, 0, 0.75, 1, *np.zeros(11)])  # qpos0: the pose of a reset without its noise


def make(maze="umaze", **kwargs):
    return d4rl_mazes.eval_env(maze, **kwargs).make_env()


def test_the_ant_is_d4rls():
    """Constants of assets/ant.xml, written out."""
    model = d4rl_antmaze.make_model()
    assert model.opt.timestep == 0.02 and model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 1)
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-30, 30]] * 8)
    np.testing.assert_array_equal(model.geom_solref, [[0.02, 1]] * model.ngeom)
    np.testing.assert_array_equal(model.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * model.ngeom)
    np.testing.assert_array_equal(model.geom_friction, [[1, 0.5, 0.5]] * model.ngeom)
    np.testing.assert_array_equal(model.dof_armature, [0] * 6 + [1] * 8)
    np.testing.assert_array_equal(model.dof_damping, [0] * 6 + [1] * 8)
    np.testing.assert_array_equal(model.qpos0, REST)
    assert model.body_mass.sum() == pytest.approx(0.91088, abs=1e-5)


@pytest.mark.parametrize(
    ("maze", "walls", "goal"), [("umaze", 18, (3, 1)), ("medium", 38, (6, 6)), ("large", 62, (7, 9))]
)
def test_the_mazes_are_d4rls(maze, walls, goal):
    env = gymnasium.make(f"gtp_jax.envs.d4rl_antmaze:gtp/D4RLAntMaze-{maze}-v0")
    model, info = env.unwrapped.model, env.unwrapped.maze
    blocks = [i for i in range(model.ngeom) if model.geom(i).name.startswith("block")]
    assert len(blocks) == walls and env.spec.max_episode_steps == D4RL_ANTMAZE_STEPS[maze]
    np.testing.assert_array_equal(model.geom_size[blocks], [[2, 2, 1]] * walls)
    np.testing.assert_array_equal(model.geom_pos[blocks, 2], 1)
    np.testing.assert_array_equal(model.geom("block_0_2").pos, [4, -4, 1])  # x along columns, (1, 1) is the origin
    assert info.cells_of("r") == ((1, 1),) and info.cells_of("g") == (goal,)
    for cell in info.free_cells:
        assert info.xy_to_cell(info.cell_to_xy(cell) + 1.9) == info.xy_to_cell(info.cell_to_xy(cell) - 1.9) == cell
    resets = [env.reset(seed=seed) for seed in range(50)]
    np.testing.assert_array_equal(env.unwrapped.data.site("goal").xpos[:2], resets[-1][1]["goal"])  # as it is drawn
    goals = np.array([info["goal"] for _, info in resets]) - [4 * goal[1] - 4, 4 * goal[0] - 4]
    starts = np.array([observation for observation, _ in resets])
    assert goals.min() >= 0 and goals.max() <= 1.5 and goals.max() > 1.1 and goals.std(axis=0).min() > 0.2
    assert np.abs(starts[:, [0, 1, 2, *range(7, 15)]] - REST[[0, 1, 2, *range(7, 15)]]).max() <= 0.1
    np.testing.assert_allclose(np.linalg.norm(starts[:, 3:7], axis=1), 1)
    assert starts[:, 15:].std() == pytest.approx(0.1, abs=0.01)


def test_a_fixed_action_sequence_moves_the_ant_as_it_did():
    env = make()
    env.reset(seed=0)
    data = env.unwrapped.data
    data.qpos[:], data.qvel[:] = REST, 0
    for step in range(30):
        observation, *_ = env.step(np.sin(step / 3 + np.arange(8)))
    np.testing.assert_allclose(observation[[0, 1, 2, 7, 8, 15, 16]], PINNED, atol=1e-3)
    assert observation.shape == (29,) and data.time == pytest.approx(3.0)


PINNED = [-0.65899, -0.69067, 0.44378, -0.52657, 0.52753, 0.29391, -0.04263]


@pytest.mark.parametrize("continuing", [False, True])
@pytest.mark.parametrize(("away", "reached"), [((0.0, 0.45), True), ((0.34, -0.34), True), ((0.0, 0.6), False)])
def test_half_a_metre_from_the_goal_is_the_end(continuing, away, reached):
    env = make(continuing_task=continuing)
    _, info = env.reset(seed=1)
    assert not info["success"]
    env.unwrapped.data.qpos[:], env.unwrapped.data.qvel[:] = REST, 0
    env.unwrapped.data.qpos[:2] = info["goal"] + away
    _, reward, terminated, truncated, info = env.step(np.zeros(8))
    assert (reward, terminated, truncated) == (float(reached), reached and not continuing, False)
    assert info["success"] == reached and info["x_position"] == env.unwrapped.data.qpos[0]


def test_reset_takes_cells_and_a_goal_and_nothing_else():
    env = make("large")
    observation, info = env.reset(seed=0, options={"reset_cell": (7, 4), "goal_cell": np.array([1, 10])})
    assert np.all((observation[:2] >= [12, 24]) & (observation[:2] <= [13, 25]))
    assert np.all((info["goal"] >= [36, 0]) & (info["goal"] <= [37.5, 1.5]))
    assert env.reset(options={"goal": (3.0, 4.0)})[1]["goal"].tolist() == [3, 4]
    for bad in ({"reset_cell": (0, 0)}, {"goals": (1, 1)}):
        with pytest.raises(ValueError, match="reset: "):
            env.reset(options=bad)


# ---- original files


def test_built_in_ids():
    assert ids.parse_id("gtp/d4rl-antmaze/umaze-v0").transitions == 400_000
    assert ids.parse_id("gtp/d4rl-antmaze/large-diverse-5k-seed1-v0")[1:3] == (5000, 1)
    assert list(D4RL_ANTMAZE) == [
        "umaze",
        "umaze-diverse",
        "medium-play",
        "medium-diverse",
        "large-play",
        "large-diverse",
    ]


@pytest.mark.parametrize("name", ["umaze", "medium-play"])
def test_episodes_end_at_their_own_goals_and_are_labelled_for_the_evaluated_one(name):
    collection, seen = D4RL_ANTMAZE[name], []
    controller, env = collection.controller("d4rl_ant.npz"), collection.make_env()
    for index in itertools.count():
        rollout = rollouts.Rollout(collection, env, 0, index)
        while rollout.active:
            rollout.step(controller(*(part[None] for part in rollout.inputs()))[0])
        episode = rollout.episode()
        reached = np.linalg.norm(episode.observations[1:, :2] - collection.maze.goal_xy, axis=1) <= 0.5
        np.testing.assert_array_equal(episode.rewards, reached)
        np.testing.assert_array_equal(episode.terminations, reached)
        assert episode.truncations.tolist() == [False] * (len(reached) - 1) + [not reached[-1]]
        assert (
            np.linalg.norm(episode.observations[-1, :2] - collection.maze.cell_to_xy(episode.options["own_goal_cell"]))
            < 2.6
        )
        assert episode.observations.shape == (len(reached) + 1, 29) and len(reached) < D4RL_ANTMAZE_STEPS["umaze"]
        assert set(episode.options) == {"own_goal_cell"} | ({"reset_cell"} if name != "umaze" else set())
        seen.append(reached)
        if reached.any() and index >= 2:
            return
