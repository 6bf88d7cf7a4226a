"""Rollouts in Gymnasium environments, all seeds' policies in one call per environment step.

Environment i of a seed plays the episodes i, i + num_envs, ... of that seed. So the set of episodes is fixed
beforehand: short ones, mostly successes, cannot crowd out long ones.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from gtp_jax.envs import specs

_ROOT = 1_000_003  # with a seed's and an episode's number it gives the environment's reset seed


class Episodes(NamedTuple):
    """Outcomes of E episodes of S seeds."""

    returns: np.ndarray  # float64 [S, E]; NaN of an episode that an action which is not finite ended
    success: np.ndarray  # bool [S, E], whether the environment reported success at any step within its time limit
    length: np.ndarray  # int [S, E], environment steps
    positions: list[list[np.ndarray]]  # [S][E] of [T, 2], metres; empty where none are observed


class _Slot:
    """One environment and the episodes of one seed that it plays."""

    def __init__(self, env: Any, seed_index: int, seed: int, episodes: range, position: slice | None, by_success: bool):
        self.env, self.seed_index, self.seed, self.waiting = env, seed_index, seed, iter(episodes)
        self.position, self.by_success, self.reported = position, by_success, False
        self.begin()

    def begin(self) -> None:
        self.episode = next(self.waiting, None)
        if self.episode is None:
            return
        entropy = np.random.SeedSequence((_ROOT, self.seed, self.episode)).generate_state(1)[0]
        self.obs, info = self.env.reset(seed=int(entropy))
        self.total, self.steps, self.reached, self.positions = 0.0, 0, False, []
        self.remember(info)

    def remember(self, info: dict[str, Any]) -> None:
        success = info.get("success", False)
        if self.by_success:
            self.reported |= "success" in info
            if success not in (0, 1, None):  # such as "False" and NaN, which are true
                raise ValueError(f'info["success"] = {success!r:.80} must be True or False')
        self.reached |= bool(success)
        if isinstance(self.obs, dict) and "achieved_goal" in self.obs:
            self.positions.append(np.array(self.obs["achieved_goal"]))
        elif self.position is not None:
            self.positions.append(np.array(self.obs[self.position]))

    def step(self, action: np.ndarray) -> tuple | None:
        """Advances the episode. At its end: (episode, return, success, steps, positions), and the next one begins."""
        if np.isfinite(action).all():
            self.obs, reward, terminated, truncated, info = self.env.step(action)
            self.total += float(reward)
            self.steps += 1
            self.remember(info)
            if not (terminated or truncated):
                if self.steps >= specs.MOST_STEPS:
                    cure = "wrap the environment in gymnasium.wrappers.TimeLimit"
                    raise RuntimeError(f"an episode of {self.steps:,} steps has not ended; {cure}")
                return None
        else:  # of a policy that diverged: no simulator could go on, and the episode's return is unknown
            self.total = np.nan
        positions = np.stack(self.positions) if self.positions else np.empty((0, 2))
        outcome = (self.episode, self.total, self.reached, self.steps, positions)
        self.begin()
        return outcome


class Evaluator:
    """A set of environments, `num_envs` of each seed, that is made once and used for every evaluation of a run.

    `make_env` makes one Gymnasium environment, when episodes are first played; `observe` maps raw observations with any
    leading axes to what the policy sees [..., O]; the S `seeds` stand in the order of the policies' leading axis. Where
    the ant stands is a dict observation's "achieved_goal" [2], or the slice `position` of a flat one. Where scores
    are `by_success`, an info["success"] that no step has, or that is neither true nor false, raises ValueError.
    """

    def __init__(
        self,
        make_env: Callable[[], Any],
        observe: Callable[[Any], np.ndarray],
        seeds: Sequence[int],
        num_envs: int,
        position: slice | None = None,
        by_success: bool = False,
    ):
        self._make_env, self._observe, self._seeds, self._num_envs = make_env, observe, tuple(seeds), num_envs
        self._position, self._by_success = position, by_success
        self._envs: list[Any] = []
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers)

    def __call__(self, act: Callable[[int, np.ndarray], Any], num_episodes: int) -> Episodes:
        """Plays E = `num_episodes` episodes with every seed's policy.

        `act` maps (step, obs [S, num_envs, O]) to actions [S, num_envs, A]; the step number makes its noise.
        """
        self.prepare(num_episodes)
        shape = (len(self._seeds), min(self._num_envs, num_episodes))
        envs, by_success = iter(self._envs), self._by_success
        slots = [
            _Slot(next(envs), index, seed, range(i, num_episodes, shape[1]), self._position, by_success)
            for index, seed in enumerate(self._seeds)
            for i in range(shape[1])
        ]
        returns, success, length = (np.zeros((shape[0], num_episodes), dtype) for dtype in (float, bool, int))
        positions = [[np.empty((0, 2))] * num_episodes for _ in self._seeds]
        step = 0
        while any(slot.episode is not None for slot in slots):
            obs = self._observe(jax.tree.map(lambda *each: np.stack(each), *(slot.obs for slot in slots)))
            actions = np.asarray(act(step, obs.reshape(*shape, -1))).reshape(len(slots), -1)
            for slot, (episode, *outcome, walked) in self._step_all(slots, actions):
                at = (slot.seed_index, episode)
                returns[at], success[at], length[at] = outcome
                positions[slot.seed_index][episode] = walked
            step += 1
        if by_success and np.isfinite(returns).all() and not any(slot.reported for slot in slots):
            raise ValueError('no step has an info["success"], by which the policies are scored; by_success=False')
        return Episodes(returns, success, length, positions)

    def prepare(self, num_episodes: int) -> None:
        """Makes the environments that so many episodes need, unless they are there: this may fail and writes files."""
        while len(self._envs) < len(self._seeds) * min(self._num_envs, num_episodes):
            self._envs.append(self._make_env())

    def _step_all(self, slots: list[_Slot], actions: np.ndarray) -> list[tuple[_Slot, tuple]]:
        """Steps the slots that still play, in threads: the physics runs without the interpreter's lock."""
        playing = [(slot, action) for slot, action in zip(slots, actions, strict=True) if slot.episode is not None]

        def run(part: list[tuple[_Slot, np.ndarray]]) -> list[tuple[_Slot, tuple]]:
            return [(slot, outcome) for slot, action in part if (outcome := slot.step(action))]

        parts = self._pool.map(run, [playing[i :: self._workers] for i in range(self._workers)])
        return [outcome for part in parts for outcome in part]

    def close(self) -> None:
        """Closes the environments."""
        self._pool.shutdown()
        for env in self._envs:
            env.close()
        self._envs = []
