"""Environments of the user's own packages and functions, real recordings, and hosted data with rules of their own."""

import functools
import json
import re
import sys
import warnings

import gymnasium
import minari
import numpy as np
import pytest
import stored
from gymnasium import wrappers
from stored import look_up, refusal, wrapped

from gtp_jax import datasets
from gtp_jax.envs import registry
from gtp_jax.runs import scores

pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered")  # Gymnasium's own, of wrappers that rescale


hopper, maze = (functools.partial(registry.make_gym, name) for name in ("Hopper-v5", "PointMaze_UMaze-v3"))
MINE = """
import gymnasium, numpy
print("a notice")
class Line(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Box(-1, 1, (1,))
    def __init__(self, task="walk", length=1):
        self.task, self.length = task, length
    def reset(self, seed=None, options=None):
        return numpy.zeros(2, numpy.float32), {}
    def step(self, action):
        return numpy.zeros(2, numpy.float32), 1.0, False, False, {}
class Twice(gymnasium.RewardWrapper, gymnasium.utils.RecordConstructorArgs):
    def __init__(self, env, times):
        gymnasium.utils.RecordConstructorArgs.__init__(self, times=times)
        gymnasium.RewardWrapper.__init__(self, env)
        self.times = times
    def reward(self, reward):
        return self.times * reward
gymnasium.register("mine/Line-v0", "mine_of_a_user:Line")
"""


def test_a_users_package_is_allowed_by_one_setting(tmp_path, monkeypatch, capfd):
    (tmp_path / "mine_of_a_user.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"id": "mine/Line-v0", "kwargs": {"task": "reach", "length": 3}} | wrapped(
        "mine_of_a_user:Twice", {"times": 3}
    )
    known = {"observations": (2,), "low": [-1], "high": [1]}
    find = lambda **change: look_up({"env_spec": json.dumps(spec | change)}, **known)
    assert "(GTP_JAX_ENV_PACKAGES=PACKAGE allows one of yours)" in refusal(find)
    assert "mine_of_a_user" not in sys.modules  # a file never chooses what is imported
    monkeypatch.setenv("GTP_JAX_ENV_PACKAGES", "mine_of_a_user, ")
    found = find()
    with found.make_env() as env:
        assert (env.unwrapped.task, env.unwrapped.length, found.time_limit) == ("reach", 3, 7)
        assert env.reset()[0].shape == (2,) and env.step(np.zeros(1))[1] == 3
    assert "'/etc/passwd' is not taken from a file" in refusal(lambda: find(kwargs={"task": "/etc/passwd"}))
    for entry_point in ("mine_of_a_user:Line", "mine_of_a_user:gymnasium", "mine_of_a_user.sub:Odd"):
        text = refusal(functools.partial(find, **wrapped(entry_point, {})))
        assert "there is no gymnasium.Wrapper of that name" in text
    monkeypatch.delenv("GTP_JAX_ENV_PACKAGES")
    assert "it is of the package mine_of_a_user: allow it by GTP_JAX_ENV_PACKAGES" in refusal(find)
    (tmp_path / "exits_at_once.py").write_text("raise SystemExit(3)")
    refused = {"nowhere": "nowhere cannot be imported (ModuleNotFoundError", "a b": "must name packages"}
    for bad, says in (
        refused | {"exits_at_once": "cannot be imported (SystemExit: 3)", "x" * 5000: "x cannot"}
    ).items():
        monkeypatch.setenv("GTP_JAX_ENV_PACKAGES", bad)
        assert says in refusal(find)
    del gymnasium.registry["mine/Line-v0"]
    assert capfd.readouterr() == ("", "")


def record(root, monkeypatch, env, dataset_id="test/recorded/x-v0"):
    """A dataset of two short episodes, as Minari's DataCollector writes it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = minari.DataCollector(env)
        for seed in range(2):
            collector.reset(seed=seed)
            for _ in range(3):
                collector.step(collector.action_space.sample())
        collector.create_dataset(dataset_id)
        collector.close()
        del collector  # which warns of a folder that it made
    return functools.partial(datasets.load, dataset_id, root=root, standardise=False)


def test_simulators_that_cannot_be_imported_are_one_line(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    assert "MUJOCO_GL='osmesa': set it to egl, or leave it out" in refusal(lambda: registry.of_user("NoSuch-v0"))


def test_an_environment_of_the_users():
    assert registry.of_user("AntMaze_UMaze-v5")[2:5] == (None, True, 700)
    own = registry.EvalEnv("mine", Kitchen, by_success=True)
    assert registry.of_user(own) is own and registry.of_user(Kitchen)[:2] == ("Kitchen", Kitchen)
    bounds = np.full(9, -1, np.float32), np.full(9, 1, np.float32)
    parts = {"observation": np.empty((0, 59)), "desired_goal/kettle": np.empty((0, 7))}
    registry.check_spaces("test/x-v0: env", own, parts, *bounds)
    for wrong, says in (
        ("Hoper-v5", "is not registered; .*; did you mean 'Hopper-v5'"),
        (3, "must be a registered id"),
    ):
        assert re.search(says, refusal(functools.partial(registry.of_user, wrong)))
    parts["observation"] = np.empty((0, 60))
    text = refusal(lambda: registry.check_spaces("test/x-v0: env", own, parts, *bounds))
    assert text.startswith("test/x-v0: env: mine as it would be evaluated and the data differ in their observations")
    Liar = type("Liar", (Kitchen,), {"reset": lambda self, seed=None: ({"observation": np.zeros(59)}, {})})
    text = refusal(
        lambda: registry.check_spaces("x", registry.of_user(Liar), parts | {"observation": np.empty((0, 59))}, *bounds)
    )
    assert "Liar gives observation [59] and the reward 0.0 where its space is" in text
    Unpaid = type("Unpaid", (Kitchen,), {"step": lambda self, action: (*self.reset()[:1], None, False, False, {})})
    parts["observation"] = np.empty((0, 59))
    text = refusal(lambda: registry.check_spaces("x", registry.of_user(Unpaid), parts, *bounds))
    assert "Unpaid does not run: TypeError: float() argument" in text


def test_recordings_are_evaluated_where_they_were_recorded(tmp_path, monkeypatch):
    load = record(tmp_path, monkeypatch, wrappers.RescaleAction(hopper(max_episode_steps=9), 0.0, 10.0))
    data = load()
    with data.make_env() as env:
        assert env.action_space.high[0] == data.action_high[0] == 10
    assert data.summary["time_limit"] == 9 and data.summary["environment"] == "Hopper-v5"
    assert "differ in their actions" in refusal(lambda: load(env="Hopper-v5"))
    load = record(tmp_path, monkeypatch, maze(), "test/dicts/x-v0")
    data = load()
    with data.make_env() as env:
        assert data.observe(env.reset(seed=0)[0]).shape == data.batch.obs.shape[1:] == (8,)
    assert data.summary["observation"] == "flatten" and data.maze is None
    load = record(tmp_path, monkeypatch, wrappers.TransformReward(hopper(), lambda reward: 2 * reward), "test/odd/x-v0")
    assert load().summary["environment"] is None  # Minari cannot write what it was


def test_hosted_adroit_data_name_an_environment_that_is_built(tmp_path):
    name, arrays = "D4RL/pen/human-v2", stored.counting(0, 3, [1, 2, 3], size=45, actions=24)
    stored.write(tmp_path, name, [arrays], env_spec=stored.spec("AdroitHandPen-v1", max_episode_steps=2))
    data = datasets.load(name, root=tmp_path, reward="standardise")
    with data.make_env() as env:
        assert data.observe(env.reset(seed=0)[0]).shape == (45,) and env.action_space.shape == (24,)
        assert [env.step(np.zeros(24))[3] for _ in range(2)] == [False, True]  # the data's time limit
    np.testing.assert_allclose([data.batch.reward.mean(), data.batch.reward.std()], [0, 1], atol=1e-6)
    assert scores.scale(data.env).low == 137.93  # Minari's own reference, not D4RL's
    stored.write(tmp_path, name, [arrays], env_spec=stored.spec("AdroitHandPen-v1", max_episode_steps=0))


class Kitchen(gymnasium.Env):
    """The spaces of one; the real one starts on old versions of MuJoCo only."""

    action_space = gymnasium.spaces.Box(-1, 1, (9,))
    observation_space = gymnasium.spaces.Dict(
        observation=gymnasium.spaces.Box(-9, 9, (59,)),
        desired_goal=gymnasium.spaces.Dict(kettle=gymnasium.spaces.Box(-9, 9, (7,))),
    )

    def reset(self, seed=None):
        return {"observation": np.zeros(59), "desired_goal": {"kettle": np.zeros(7)}}, {}

    def step(self, action):
        return *self.reset()[:1], 0.0, False, False, {}


def test_the_kitchen_is_refused_where_mujoco_breaks_it(tmp_path, monkeypatch):
    name = "D4RL/kitchen/partial-v2"
    monkeypatch.setattr("importlib.metadata.version", lambda package: "4.0.0")
    with pytest.raises(ValueError, match=f"{name}: FrankaKitchen-v1 does not start on mujoco 4.0.0, .*<3.10"):
        datasets.check_dataset(name)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "3.9.1")
    datasets.check_dataset(name)
    monkeypatch.setattr(registry, "make_gym", lambda env_id, **kwargs: Kitchen())
    arrays = stored.counting(0, 3, size=59, actions=9)
    arrays["observations/observation"] = arrays.pop("observations")
    arrays["observations/desired_goal/kettle"] = np.zeros((4, 7))
    space = stored.dicts(observation=stored.box(59), desired_goal=stored.dicts(kettle=stored.box(7)))
    for tasks in (["os.system"], [], None, ["kettle", "microwave"]):
        spec = stored.spec("FrankaKitchen-v1", kwargs={"tasks_to_complete": tasks, "remove_task_when_completed": False})
        stored.write(tmp_path, name, [arrays], observation_space=space, env_spec=spec)
        if tasks and "kettle" in tasks:
            data = datasets.load(name, root=tmp_path, observation="observation")
        else:
            assert "tasks_to_complete" in refusal(lambda: datasets.load(name, root=tmp_path))
    # It rewards a task once, as D4RL's, whatever the data say.
    made = data.make_env.keywords
    assert data.batch.obs.shape == (3, 59) and made == {"tasks_to_complete": tasks, "max_episode_steps": 280}


def test_version_3_of_antmaze_reports_success_as_later_ones_do():
    env = registry.of_user("AntMaze_UMaze-v3").make_env()
    obs, _ = env.reset(seed=0)
    reached = []
    here = obs["achieved_goal"].copy()
    for goal in (obs["desired_goal"], here + [0.0, 0.6], here + [0.3, 0.0]):
        env.unwrapped.goal = goal
        reached.append(env.step(np.zeros(8))[4]["success"])
    env.close()
    assert reached == [False, False, True]
