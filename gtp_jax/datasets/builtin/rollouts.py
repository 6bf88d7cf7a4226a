"""Episodes of built-in data: blocks of episodes stepped in lockstep, each a function of the seed and its own index."""

from typing import Any, NamedTuple

import numpy as np

from gtp_jax.datasets.builtin.ids import Collection


class Episode(NamedTuple):
    """T steps of one episode, float32, under Minari's names."""

    seed: int  # of the environment's reset
    options: dict[str, list[int]]  # likewise
    observations: Any  # [T + 1, O], or a dict of such; the first is the reset's
    infos: dict[str, np.ndarray]  # "success" [T + 1] bool, where the environment reports it
    actions: np.ndarray  # [T, A]
    rewards: np.ndarray  # [T]
    terminations: np.ndarray  # [T] bool; also before the last step where the collection's episodes go on
    truncations: np.ndarray  # [T] bool: true at the last step, or nowhere

    def first(self, steps: int) -> "Episode":
        """The episode cut after `steps` steps; truncated there, unless nothing was cut."""
        surplus = len(self.rewards) - steps
        if surplus <= 0:
            return self

        def cut(part: Any) -> Any:
            return {name: cut(each) for name, each in part.items()} if isinstance(part, dict) else part[:-surplus]

        columns = {name: cut(part) for name, part in self._asdict().items() if name not in ("seed", "options")}
        return self._replace(**columns | {"truncations": np.arange(steps) == steps - 1})


class Simulator:
    """Makes blocks of episodes of one collection; the environments are built once and reused."""

    def __init__(self, collection: Collection, seed: int):
        self._collection, self._seed = collection, seed
        self.controllers = [collection.controller(name) for name in collection.controllers]
        self._envs = [collection.make_env() for _ in range(collection.block)]

    def block(self, index: int) -> list[Episode]:
        """The episodes of a unit of work, whole, in order: number index * collection.block and those after it."""
        first = index * self._collection.block
        rollouts = [Rollout(self._collection, env, self._seed, first + i) for i, env in enumerate(self._envs)]
        # To the last bit, the rows of a controller's inputs do not change each other's actions.
        while active := [rollout for rollout in rollouts if rollout.active]:
            inputs = [np.stack(part) for part in zip(*(rollout.inputs() for rollout in active), strict=True)]
            actions = [controller(*inputs) for controller in self.controllers]
            for i, rollout in enumerate(active):
                rollout.step(actions[rollout.controller][i])
        return [rollout.episode() for rollout in rollouts]


class Rollout:
    """One episode under way. All its randomness comes from a generator seeded by (seed, episode index)."""

    def __init__(self, collection: Collection, env: Any, seed: int, index: int):
        self._env, self._noise, self._goes_on = env, collection.noise, collection.goes_on
        self._rng = np.random.default_rng([seed, index])
        self._options = collection.reset_options(self._rng)
        self._reset_seed = int(self._rng.integers(2**31))
        choices = len(collection.controllers)
        self.controller = int(self._rng.integers(choices)) if choices > 1 else 0  # index in collection.controllers
        options = {name: np.array(each) for name, each in self._options.items()}
        self._last, info = env.reset(seed=self._reset_seed, options=options or None)
        self._to_inputs = collection.inputs(self._last, info, self._rng)
        self._observations, self._success = [self._last], [info.get("success")]
        self._actions, self._rewards, self._terminated = [], [], []
        self.active = True

    def inputs(self) -> tuple[np.ndarray, ...]:
        """The controller's inputs now."""
        return self._to_inputs(self._last)

    def step(self, action: np.ndarray) -> None:
        """Takes the controller's action [A], with noise."""
        noisy = action + self._noise * self._rng.standard_normal(action.shape)
        action = np.minimum(np.maximum(noisy, -1), 1).astype(np.float32)  # faster on so few numbers than np.clip
        self._last, reward, terminated, truncated, info = self._env.step(action)
        self.active = not truncated and (self._goes_on or not terminated)
        self._observations.append(self._last)
        self._success.append(info.get("success"))
        self._actions.append(action)
        self._rewards.append(reward)
        self._terminated.append(terminated)

    def episode(self) -> Episode:
        """The steps so far."""

        def rows(each: list[np.ndarray]) -> np.ndarray:
            return np.stack(each).astype(np.float32)

        seen, is_dict, steps = self._observations, isinstance(self._last, dict), len(self._actions)
        is_last = np.arange(steps) == steps - 1
        return Episode(
            seed=self._reset_seed,
            options={name: list(cell) for name, cell in self._options.items()},
            observations={key: rows([each[key] for each in seen]) for key in self._last} if is_dict else rows(seen),
            infos={} if None in self._success else {"success": np.array(self._success)},
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, np.float32),
            terminations=np.array(self._terminated),
            truncations=is_last & ~np.array(self._terminated),
        )
