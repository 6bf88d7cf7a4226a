"""Branches of episodes: AntMaze is put back into a state, takes a first action of ours, and goes on with the policy."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Branches(NamedTuple):
    """What followed J first actions; rewards after an episode's end are 0."""

    reward: np.ndarray  # [J, T]
    length: np.ndarray  # [J] int
    terminated: np.ndarray  # [J] bool
    next_obs: list[dict[str, np.ndarray]]  # J raw observations, after the first action


def restore(env: Any, observation: dict[str, np.ndarray]) -> None:
    """Puts an AntMaze into the state of one of its own observations, its clock at 0.

    The observation is all of MuJoCo's state but the solver's warm start: positions and velocities come back exactly,
    and what follows agrees to the solver's tolerance.
    """
    env.reset(seed=0)
    inner = env.unwrapped
    inner.goal = np.array(observation["desired_goal"], np.float64)
    inner.update_target_site_pos()
    ant, own = inner.ant_env, observation["observation"]
    size = ant.model.nq - 2
    ant.set_state(np.concatenate([observation["achieved_goal"], own[:size]]), own[size : size + ant.model.nv])


def visited(
    envs: Sequence[Any], act: Callable[[int, dict], np.ndarray], times: Sequence[int], seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Raw observations that a policy meets: of environment i at step times[i], or its last one if it ended before.

    `act` maps (step, raw observations stacked [E, ...]) to actions [E, A].
    """
    seeds = np.random.SeedSequence(seed).generate_state(len(envs))
    last = [env.reset(seed=int(s))[0] for env, s in zip(envs, seeds, strict=True)]
    playing = np.array(times) > 0
    for step in range(max(times)):
        if not playing.any():
            break
        for i, action in enumerate(act(step, stack(last))):
            if playing[i]:
                observation, _, terminated, truncated, _ = envs[i].step(action)
                if not terminated:  # a state at the goal has nothing to decide
                    last[i] = observation
                playing[i] = step + 1 < times[i] and not (terminated or truncated)
    return last


def play(
    envs: Sequence[Any],
    act: Callable[[int, dict], np.ndarray],
    states: Sequence[dict[str, np.ndarray]],
    first: np.ndarray,
    *,
    steps: int,
    restore: Callable[[Any, dict], None] = restore,
) -> Branches:
    """From states[j], the first action [J, A] and then what `act` says, up to `steps` steps or the episode's end.

    The J branches run in groups as large as there are `envs`; `act` always sees that many observations.
    """
    total, jobs = len(envs), len(states)
    reward, length = np.zeros((jobs, steps)), np.zeros(jobs, int)
    over, next_obs = np.zeros(jobs, bool), [None] * jobs
    for start in range(0, jobs, total):
        group = range(start, min(start + total, jobs))
        last = [states[min(start + i, jobs - 1)] for i in range(total)]
        for env, j in zip(envs, group, strict=False):
            restore(env, states[j])
        playing = set(group)
        for step in range(steps):
            if not playing:
                break
            actions = first[start : start + total] if step == 0 else act(start * steps + step, stack(last))
            for j in sorted(playing):
                i = j - start
                last[i], reward[j, step], over[j], truncated, _ = envs[i].step(actions[i])
                length[j] = step + 1
                if step == 0:
                    next_obs[j] = last[i]
                if over[j] or truncated:
                    playing.discard(j)
    return Branches(reward, length, over, next_obs)


def stack(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Raw observations, stacked part by part."""
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
