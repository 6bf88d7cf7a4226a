"""Whole runs in this process: a toy environment, random data, tiny networks, one compiled program for all of them."""

import contextlib
import errno
import io
from unittest import mock

import gymnasium
import jax
import numpy as np
from oracles import quick_jit, random_batch, settings_with
from rich.console import Console
from runs import arrays as arrays
from runs import run_info

import gtp_jax
from gtp_jax import files
from gtp_jax.agent.build import build_agent
from gtp_jax.config.trials import Trial
from gtp_jax.datasets import Dataset
from gtp_jax.datasets.transforms import Observer
from gtp_jax.envs.maze import MazeInfo
from gtp_jax.envs.registry import EvalEnv
from gtp_jax.runs import plots
from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.terminal import Terminal
from gtp_jax.serving.policy import load_policy
from gtp_jax.training.loop import Training

UPDATES = 20
SETTINGS = {
    "dataset": "mujoco/hopper/medium-v0",
    "num_updates": UPDATES,
    "num_seeds": 2,
    "devices": 1,
    "batch_size": 8,
    "log_every": 5,
    "checkpoint_every": 5,
    "policy__name": "gaussian",
    "policy__num_steps": 1,
    "policy__decay": False,  # so that runs of any length share their programs
    "eval__every": 10,
    "eval__num_episodes": 3,
    "eval__progress_episodes": 2,
    "eval__num_envs": 2,
}


class ThreeSteps(gymnasium.Env):
    """Episodes of three steps that pay the action's first number; like a simulator, it does not bear NaN."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action):
        assert np.isfinite(action).all()
        self.steps += 1
        obs = self.np_random.normal(size=3).astype(np.float32)
        return obs, float(action[0]), False, self.steps == 3, {"success": False}


MAZE = MazeInfo([[1, 1, 1, 1], [1, "r", "g", 1], [1, 1, 1, 1]])


def dataset(dataset_id: str = SETTINGS["dataset"]) -> Dataset:
    batch = random_batch(64)
    return Dataset(
        id=dataset_id,
        batch=batch,
        episode=np.zeros(64, np.int32),
        observe=Observer.fit("identity", batch.obs, standardise=False),
        action_low=-np.ones(2, np.float32),
        action_high=np.ones(2, np.float32),
        fingerprint="0" * 64,
        summary={
            **{"transitions": 64, "behaviour_success": None, "environment": "toy"},
            **{"reward": "none", "observation": "identity", "standardise": False, "episodes_used": "all"},
        },
        env=EvalEnv("Hopper-v5", ThreeSteps) if "antmaze" not in dataset_id else EvalEnv("toy", ThreeSteps, MAZE, True),
    )


def train(directory=None, progress=None, data=None, **changes):
    """`gtp_jax.train` on the toy without pictures, which take longer than the rest; changes by dotted name."""
    given = {"dataset": data or dataset(), "directory": directory, "progress": progress, "quiet": True}
    with mock.patch.object(plots, "curves"):
        return gtp_jax.train(settings_with(**SETTINGS), changes, **given)


ENGINES = {}  # by number of seeds: of the first such run, for all of them


class Meddling:
    """An engine that does something before each chunk of updates."""

    def __init__(self, engine, before):
        self._engine, self._before = engine, before

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def advance(self, state, length):
        return self._engine.advance(self._before(int(self._engine.gather(state.step)[0]), state), length)


class Killed(Exception):
    """What a test raises where a process would be killed."""


class Run:
    """A run of `SETTINGS` with changes; `before` may change the state before an update, or end the run."""

    def __init__(self, workdir, *, before=None, **changes):
        workdir.mkdir(exist_ok=True)
        self.workdir, self.settings, self.output = workdir, settings_with(**(SETTINGS | changes)), io.StringIO()
        files.write_json(workdir / "config.json", self.settings.to_json())
        terminal = Terminal(Console(file=self.output, highlight=False, soft_wrap=True))
        self.training = Training(self.settings, workdir, dataset(self.settings.dataset), terminal)
        engine = ENGINES.setdefault(self.settings.num_seeds, self.training.engine)
        self.training.engine = Meddling(engine, before or (lambda step, state: state))

    def __call__(self, expect=0):
        """Runs to the end, whose code is the expected one; returns the summary."""
        try:
            summary, code = self.training.run()
        finally:
            self.training.close()
        assert code == expect
        return summary

    def poison(self, state, field: str, value: float, seed: int = 1):
        """The state with `value` in every parameter of one seed's `field`."""
        engine = self.training.engine
        host = engine.gather(state)

        def changed(leaf):
            leaf = leaf.copy()
            leaf[seed] = value
            return leaf

        host = host._replace(**{field: jax.tree.map(changed, getattr(host, field))})
        return engine.place(host._replace(key=jax.random.wrap_key_data(host.key, impl="threefry2x32")))


class Untrained:
    """A run's directory whose checkpoint holds a policy as it was initialised, and the policy loaded from it."""

    def __init__(self, directory, seeds=(0,), **changes):
        self.settings = settings_with(policy__name="gaussian", **changes)
        agent, hparams = build_agent(self.settings, -np.ones(2, np.float32), np.ones(2, np.float32), None)
        batch, keys = random_batch(1), jax.random.split(jax.random.key(0), len(seeds))
        self.state = quick_jit(jax.vmap(lambda key: agent.init(key, batch, hparams)))(keys)
        self.info = run_info(settings=self.settings, trials=tuple(Trial(seed, {}) for seed in seeds))
        self.directory, self.folder = directory, directory / "checkpoints"
        self.save(1, self.state.policy_ema)
        self.policy = load_policy(directory)

    def save(self, step, params, folder=None):
        with contextlib.closing(Checkpoints(folder or self.folder)) as checkpoints:
            saved = Saved(params, self.state.critic_ema, {"step": self.state.step})
            checkpoints.save(step, jax.tree.map(np.asarray, saved), self.info)


def full_disk(*_, **__):
    """In the place of a call to the file system."""
    raise OSError(errno.ENOSPC, "No space left on device")
