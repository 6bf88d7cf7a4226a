"""Evaluation environments are what the data were recorded in, or are refused by name before anything is trained."""

import contextlib
import functools
import json
import pickle
import re
import warnings

import numpy as np
import pytest
import stored
from gymnasium import wrappers
from stored import look_up, refusal, wrapped

from gtp_jax.envs import registry
from gtp_jax.names import by_path

pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered")  # Gymnasium's own, of wrappers that rescale
UMAZE = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
hopper, pendulum, car, maze = (
    functools.partial(registry.make_gym, name)
    for name in ("Hopper-v5", "Pendulum-v1", "MountainCarContinuous-v0", "PointMaze_UMaze-v3")
)


def of_recording(env, **spec):
    """What is found for data recorded in an environment; their entry point is hostile, and nothing ever follows it."""
    shapes = {path: space.shape for path, space in by_path(env.observation_space).items()}
    spec = json.loads(env.spec.to_json()) | {"entry_point": "os:system"} | spec
    return look_up({"env_spec": json.dumps(spec)}, shapes.get("", shapes), env.action_space.low, env.action_space.high)


def played(env):
    """What a few random actions give, the same for each environment that is the same."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(env.action_space.low, env.action_space.high, (4, *env.action_space.shape))
    return [env.reset(seed=3)[0], *(env.step(action.astype(np.float32))[:4] for action in actions)]


@pytest.mark.parametrize(
    ("record", "as_published"),
    [
        (lambda: wrappers.RescaleAction(hopper(), 0.0, 10.0), True),
        (lambda: hopper(max_episode_steps=3), False),
        (
            lambda: hopper(exclude_current_positions_from_observation=False, healthy_z_range=(0.7, np.inf), width=100),
            False,
        ),
        (lambda: wrappers.RecordEpisodeStatistics(registry.make_gym("Swimmer-v5", frame_skip=2)), False),
        (lambda: wrappers.FlattenObservation(maze()), True),
        (
            lambda: wrappers.FilterObservation(
                maze(maze_map=UMAZE, reward_type="dense"), ["observation", "desired_goal"]
            ),
            False,
        ),
        (lambda: wrappers.TimeAwareObservation(pendulum(g=5.0)), False),
        (lambda: wrappers.ReshapeObservation(wrappers.FrameStackObservation(car(), 2), (4,)), True),
        (lambda: wrappers.RescaleObservation(wrappers.RepeatAction(car(), 3), -1.0, 1.0), False),
        (
            lambda: wrappers.ClipReward(wrappers.DelayObservation(wrappers.StickyAction(pendulum(), 0.5), 1), -1, 1),
            False,
        ),
        (lambda: registry.make_gym("HumanoidStandup-v5"), True),
        (lambda: registry.make_gym("Reacher-v4"), True),
        (lambda: registry.make_gym("AdroitHandPen-v1", max_episode_steps=2), True),
    ],
)
def test_an_environment_is_rebuilt_with_its_arguments_wrappers_and_time_limit(record, as_published):
    with contextlib.closing(record()) as recorded, warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of_recording(recorded)
        with pickle.loads(pickle.dumps(found.make_env))() as rebuilt:
            np.testing.assert_equal(played(rebuilt), played(recorded))
    assert (found.env_id, found.time_limit) == (recorded.spec.id, recorded.spec.max_episode_steps)
    assert not found.by_success and found.maze is None and found.as_published == as_published


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "Hopper"}, "no allowed package registers it .*; did you mean 'Hopper-v5'"),
        ({"id": "os:system"}, "'os:system' cannot be built: an id is a name, without a colon"),
        ({"id": "CartPole-v1"}, r"CartPole-v1 has actions that are no Box of one axis: Discrete\(2\)"),
        ({"id": "Hopper-v3"}, "Hopper-v3 does not start on gymnasium .*mujoco_py"),
        ({"id": "Walker2d-v5"}, r"differ in their observations, \[17\] and \[11\]"),
        ({"kwargs": {"xml_file": "/etc/x.xml"}}, "argument 'xml_file' = '/etc/x.xml' is not taken from a file"),
        ({"kwargs": {"healthy_z_range": [[1], [2]]}}, "argument 'healthy_z_range' = .* is not taken from a file"),
        ({"kwargs": {"healthy_z_range": 1}}, "Hopper-v5 does not run: TypeError: cannot unpack"),
        ({"kwargs": {"frame_skip": 10**6}}, "argument 'frame_skip' = 1000000 is not taken from a file"),
        ({"kwargs": {"reward_type": "rich"}}, "'rich' is not taken from a file; it may be dense, sparse"),
        ({"kwargs": {"gravity": 3}}, "does not start .*unexpected keyword argument 'gravity'"),
        ({"kwargs": {"max_episode_steps": 3}}, "kwargs must be an object without id, max_episode_steps"),
        ({"max_episode_steps": 0}, "max_episode_steps = 0 must be a whole number from 1 to 1000000"),
        ({"autoreset": True}, "wrapper 'AutoResetWrapper' cannot be rebuilt: what follows an episode's end"),
        (wrapped("gymnasium.x:NormalizeObservation", {"epsilon": 1e-8}), "the running statistics are not in the data"),
        (wrapped("gymnasium.wrappers.vector:ClipAction", {}), "'ClipAction' cannot be rebuilt: it is not on the list"),
        (wrapped("os:system", {"command": "ls"}), "'system' .*: GTP_JAX_ENV_PACKAGES does not name its package os"),
        (wrapped("mine:Odd", None), "wrapper 'Odd' cannot be rebuilt: its arguments are not in the data"),
        (wrapped("gymnasium.wrappers:DelayObservation", {"delay": "x"}), "'DelayObservation': argument 'delay' = 'x'"),
        (wrapped("gymnasium.wrappers:RescaleAction", {"min_action": 0, "max_action": 9}), r"Box\(0.0, 9.0.* and Box"),
        ({"additional_wrappers": [3]}, "additional_wrappers must be up to 100 specifications, got"),
    ],
)  # fmt: skip
def test_what_cannot_be_rebuilt_is_refused_in_one_line(change, says):
    text = refusal(lambda: look_up({"env_spec": json.dumps({"id": "Hopper-v5"} | change)}))
    assert text.startswith("test/x-v0: metadata.json: env_spec: ") and re.search(says, text), text


def test_bounds_and_limits():
    spec = {"env_spec": stored.spec()}
    assert look_up(spec, high=[1 + 5e-7] * 3).time_limit == 1000
    assert look_up(spec, longest=1200).time_limit == 1200  # recorded without the registered limit
    assert look_up({"env_spec": stored.spec(max_episode_steps=50)}, longest=60).time_limit == 50
    assert "differ in their actions, Box(-1.0, 1.0" in refusal(lambda: look_up(spec, high=[1.001] * 3))
    any_action = {"env_spec": stored.spec(**wrapped("gymnasium.wrappers:ClipAction", {}))}
    assert look_up(any_action, low=[-3] * 3).make_env().action_space.high[0] == np.inf


def test_a_limit_counts_the_steps_of_the_data_above_and_below_wrappers_that_repeat():
    repeated = wrapped("gymnasium.wrappers:RepeatAction", {"num_repeats": 4})
    for longest, steps in ((3, 3), (10, 10)):  # 10 steps of the simulator last 3 of the data's
        found = look_up(
            {"env_spec": stored.spec("Pendulum-v1", max_episode_steps=10, **repeated)}, (3,), [-2], [2], longest
        )
        with found.make_env() as env:
            env.reset(seed=0)
            assert [env.step(np.zeros(1))[3] for _ in range(steps)] == [False] * (steps - 1) + [True]


def test_no_environment_and_that_of_the_authors():
    for nothing in ({}, {"env_spec": None}, {"env_spec": "null"}, {"env_spec": "{}", "eval_env_spec": "{}"}):
        assert look_up(nothing) is None
    evaluated = stored.spec("Hopper-v4", max_episode_steps=9)
    found = look_up({"env_spec": stored.spec(), "eval_env_spec": evaluated})
    assert (found.env_id, found.time_limit) == ("Hopper-v4", 9)
    text = refusal(lambda: look_up({"env_spec": stored.spec(), "eval_env_spec": stored.spec("Ant-v5")}))
    assert text.startswith("test/x-v0: metadata.json: eval_env_spec: Ant-v5 ")


@pytest.mark.parametrize("version", [3, 4, 5])
def test_antmaze_ends_at_the_goal_in_the_maze_of_the_data(version):
    with registry.make_gym(f"AntMaze_UMaze-v{version}", maze_map=UMAZE, max_episode_steps=30) as recorded:
        rescaled = wrappers.RescaleAction(recorded, -2.0, 2.0)
        found = of_recording(rescaled, kwargs={"maze_map": UMAZE, "continuing_task": True})
        assert "sparse" in refusal(lambda: of_recording(recorded, kwargs={"maze_map": UMAZE, "reward_type": "dense"}))
    assert found.by_success and found.time_limit == 30 and found.maze.start_xy == (-4, -4)
    with found.make_env() as env:
        assert not env.unwrapped.continuing_task and env.unwrapped.maze.maze_map == UMAZE
        assert env.action_space.high[0] == 2 and isinstance(env, wrappers.RescaleAction)


def test_a_mirrored_evaluation_maze_is_mirrored_back():
    """Minari issue 304: only the start and the goal of umaze-diverse's evaluation map are used."""
    own = [[0 if cell in ("r", "g") else cell for cell in row] for row in UMAZE]
    mirrored = [[1, 1, 1, 1, 1], [1, 0, 0, "r", 1], [1, 0, 1, 1, 1], [1, 0, 0, "g", 1], [1, 1, 1, 1, 1]]
    specs = (stored.spec("AntMaze_UMaze-v4", kwargs={"maze_map": rows}) for rows in (own, mirrored))
    maze = registry.maze_of("test", dict(zip(("env_spec", "eval_env_spec"), specs, strict=True)))
    assert maze.walls == [[cell == 1 for cell in row] for row in own]
    assert (maze.start_xy, maze.goal_xy) == ((-4, 4), (-4, -4))
    assert registry.maze_of("test", {"env_spec": stored.spec("AntMaze_UMazeDense-v4")}) is None
