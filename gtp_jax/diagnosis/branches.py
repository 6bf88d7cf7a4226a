"""Branches of episodes: AntMaze is put back into a state, takes a given first action, and continues with the policy."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Observation = dict[str, np.ndarray]  # raw, as AntMaze gives it
Act = Callable[[int, Observation], np.ndarray]  # (step, raw observations stacked [E, ...]) -> actions [E, A]


class Branches(NamedTuple):
    """What followed J first actions; rewards after an episode's end are 0."""

    reward: np.ndarray  # [J, T]
    length: np.ndarray  # [J] int
    terminated: np.ndarray  # [J] bool
    next_obs: list[Observation]  # J raw observations, after the first action


def restore(env: Any, observation: Observation) -> None:
    """Puts an AntMaze into the state of one of its own observations, its clock at 0.

    Positions and velocities come back exactly. The observation lacks the warm start of MuJoCo's solver, so what follows
    agrees to the solver's tolerance.
    """
    env.reset(seed=0)
    inner = env.unwrapped
    inner.goal = np.array(observation["desired_goal"], np.float64)
    inner.update_target_site_pos()
    ant, own = inner.ant_env, observation["observation"]
    size = ant.model.nq - 2
    ant.set_state(np.concatenate([observation["achieved_goal"], own[:size]]), own[size : size + ant.model.nv])


def visited(envs: Sequence[Any], act: Act, times: Sequence[int], seed: int = 0) -> list[Observation]:
    """The raw observation of each environment i at step times[i], or its last one if its episode ended before."""
    seeds = np.random.SeedSequence(seed).generate_state(len(envs))
    last = [env.reset(seed=int(s))[0] for env, s in zip(envs, seeds, strict=True)]
    playing = np.array(times) > 0
    for step in range(max(times)):
        actions = act(step, stack(last)) if playing.any() else []
        for i in map(int, np.flatnonzero(playing)):
            observation, _, terminated, truncated, _ = envs[i].step(actions[i])
            if not terminated:  # at the goal there is nothing to decide
                last[i] = observation
            playing[i] = step + 1 < times[i] and not (terminated or truncated)
    return last


def play(
    envs: Sequence[Any], act: Act, states: Sequence[Observation], first: np.ndarray, *, steps: int, restore=restore
) -> Branches:
    """Plays from each of J states the first action [J, A] and then the policy's, up to `steps` steps or the end.

    The branches run in groups of `len(envs)`, and `act` always gets that many observations.
    """
    total, jobs = len(envs), len(states)
    found = Branches(np.zeros((jobs, steps)), np.zeros(jobs, int), np.zeros(jobs, bool), list(states))
    for start in range(0, jobs, total):
        last = [states[min(start + i, jobs - 1)] for i in range(total)]
        playing = list(range(start, min(start + total, jobs)))
        for j in playing:
            restore(envs[j - start], states[j])
        for step in range(steps):
            if not playing:
                break
            actions = act(start * steps + step, stack(last)) if step else first[start : start + total]
            for j in tuple(playing):
                i = j - start
                last[i], found.reward[j, step], found.terminated[j], truncated, _ = envs[i].step(actions[i])
                found.length[j] = step + 1
                if step == 0:
                    found.next_obs[j] = last[i]
                if found.terminated[j] or truncated:
                    playing.remove(j)
    return found


def stack(observations: Sequence[Observation]) -> Observation:
    """Raw observations, stacked part by part."""
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
