"""Episodes of embedded data: blocks of episodes stepped in lockstep, each a function of the seed and its own index."""

from typing import Any, NamedTuple

import numpy as np

from gtp_jax.datasets.builtin.ids import Task, for_task

# The unit of work. The controller always sees this many rows: a matrix product of another shape may round otherwise,
# and the data must not depend on how many cores there are.
BLOCK = 8


class Episode(NamedTuple):
    """T steps of one episode, float32; what is observed has T + 1 rows, the first from the reset."""

    seed: int  # of the environment's reset
    options: dict[str, Any]  # likewise
    observations: Any  # [T + 1, O], or a dict of such
    infos: dict[str, np.ndarray]  # "success" [T + 1] bool, where the environment says so
    action: np.ndarray  # [T, A]
    reward: np.ndarray  # [T]
    terminated: bool

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)

    def first(self, steps: int) -> "Episode":
        """The episode cut after `steps` steps; not terminated, unless nothing was cut."""
        if steps >= self.steps:
            return self
        observed = self.observations
        return self._replace(
            observations=_first(observed, steps + 1) if isinstance(observed, dict) else observed[: steps + 1],
            infos=_first(self.infos, steps + 1),
            action=self.action[:steps],
            reward=self.reward[:steps],
            terminated=False,
        )


def _first(columns: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    return {name: column[:rows] for name, column in columns.items()}


class Simulator:
    """Makes blocks of episodes of one task; the environments are built once and reused."""

    def __init__(self, task: Task, seed: int):
        self._task, self._seed = task, seed
        self.controllers = [task.controller(name) for name in task.controllers]
        self._envs = [for_task(task).make_env() for _ in range(BLOCK)]

    def block(self, index: int) -> list[Episode]:
        """The episodes index * BLOCK ... (index + 1) * BLOCK - 1, whole, in order."""
        runs = [Run(self._task, env, self._seed, index * BLOCK + i) for i, env in enumerate(self._envs)]
        while any(run.active for run in runs):
            inputs = [np.stack(part) for part in zip(*(run.inputs() for run in runs), strict=True)]
            actions = [controller(*inputs) for controller in self.controllers]
            for i, run in enumerate(runs):
                if run.active:
                    run.step(actions[run.controller][i])
        return [run.episode() for run in runs]


class Run:
    """One episode under way. All its randomness comes from a generator seeded by (seed, episode index)."""

    def __init__(self, task: Task, env, seed: int, index: int):
        self._env, self._noise = env, task.noise
        self._rng = np.random.default_rng([seed, index])
        self._options = task.reset_options(self._rng)
        self._reset_seed = int(self._rng.integers(2**31))
        choices = len(task.controllers)
        self.controller = int(self._rng.integers(choices)) if choices > 1 else 0  # a place in task.controllers
        options = {name: np.array(each) for name, each in self._options.items()}
        self._last, info = env.reset(seed=self._reset_seed, options=options or None)
        self._look = task.inputs(self._last, self._rng)
        self._observations, self._success = [self._last], [info.get("success")]
        self._actions, self._rewards = [], []
        self.active, self._terminated = True, False

    def inputs(self) -> tuple[np.ndarray, ...]:
        """What the controller is given now; once the episode is over, what it was given last."""
        if self.active:
            self._seen = self._look(self._last)
        return self._seen

    def step(self, action: np.ndarray) -> None:
        """Takes the controller's action [A], with noise."""
        noisy = action + self._noise * self._rng.standard_normal(action.shape)
        action = np.clip(noisy, -1, 1).astype(np.float32)
        self._last, reward, self._terminated, truncated, info = self._env.step(action)
        self.active = not (self._terminated or truncated)
        self._observations.append(self._last)
        self._success.append(info.get("success"))
        self._actions.append(action)
        self._rewards.append(reward)

    def episode(self) -> Episode:
        """What happened."""
        observed = self._observations
        return Episode(
            seed=self._reset_seed,
            options=self._options,
            observations={key: _rows([each[key] for each in observed]) for key in observed[0]}
            if isinstance(observed[0], dict)
            else _rows(observed),
            infos={} if None in self._success else {"success": np.array(self._success)},
            action=np.stack(self._actions),
            reward=np.array(self._rewards, np.float32),
            terminated=bool(self._terminated),
        )


def _rows(each: list[np.ndarray]) -> np.ndarray:
    return np.stack(each).astype(np.float32)
