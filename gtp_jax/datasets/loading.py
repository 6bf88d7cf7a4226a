"""From a dataset's id to one episode-safe batch, and to the environment that its policies are evaluated in."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gtp_jax.datasets import d4rl, hosted, ogbench, reader, transforms
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.collect import CollectionProgress, collect
from gtp_jax.datasets.folder import datasets_root
from gtp_jax.datasets.returns import Positions
from gtp_jax.datasets.transforms import OBSERVATIONS, OF_DICTS, REWARDS, Observer, check_choice
from gtp_jax.envs import registry
from gtp_jax.envs.maze import MazeInfo
from gtp_jax.envs.registry import EvalEnv
from gtp_jax.types import Batch, Layout

EPISODES = ("all", "successful")
_ID = re.compile(r"gtp/.*|[\w-]+(/[\w-]+)*-v\d+")  # the first are parsed by `ids`; none leads out of Minari's folder


class Dataset(NamedTuple):
    """An offline dataset of N transitions, in the host's memory: all that training needs to know of data."""

    id: str
    batch: Batch  # float32 NumPy arrays [N, ...]; observations are flattened and standardised
    episode: np.ndarray  # [N] int32: the episode that a transition belongs to; those of one stand together, in order
    observe: Observer  # raw environment observation -> what the policy sees
    action_low: np.ndarray  # [A]
    action_high: np.ndarray  # [A]
    fingerprint: str  # SHA-256 of the raw content, whatever the transforms
    summary: dict[str, Any]  # JSON-able: sizes, success, returns, the names of the transforms
    env: EvalEnv | None = None  # where policies are evaluated; None: nowhere
    layout: Layout | None = None  # where position, goal and body stand in an observation, if it tells them apart
    positions: Positions | None = None  # in metres, not standardised; where there is a layout

    @property
    def make_env(self) -> Callable[[], Any]:
        """Makes the gymnasium.Env to evaluate in; picklable. Raises ValueError where there is none."""
        if self.env is None:
            raise ValueError(f"{self.id} has no environment; name one: gtp_jax.datasets.load(..., env=ID)")
        return self.env.make_env

    @property
    def maze(self) -> MazeInfo | None:
        """The maze, for pictures; None where the environment is none."""
        return self.env and self.env.maze


class Source(NamedTuple):
    """Checked raw data, and how policies that are trained on them are evaluated."""

    raw: reader.Raw
    env: EvalEnv | None
    observation: str = ""  # what "auto" means, where it is neither "flatten" for dicts nor "identity" for arrays
    success: np.ndarray | None = None  # bool [N]: whether a transition reached the goal; None where there is no goal
    ends_at_success: bool = False  # whether an episode terminates at its first success, what follows being left out


def check_dataset(
    dataset_id: str, *, reward: str = "none", observation: str = "auto", episodes: str = "all", batch_size: int = 1
) -> None:
    """Raises ValueError where the names alone tell that `load` would, without looking at a file or the network.

    Likewise for a `batch_size` above the number of transitions, where the id states that number.
    """
    if str(dataset_id).startswith("arrays/"):
        again = "hand them over again: gtp_jax.train(..., dataset=...); gtp_jax.load_policy(DIR) acts without them"
        raise ValueError(f"{dataset_id} was made from arrays, which no run keeps; {again}")
    has_form = str(dataset_id).startswith(("d4rl/", "ogbench/"))  # which is looked up below
    if not isinstance(dataset_id, str) or len(dataset_id) > 200 or not (has_form or _ID.fullmatch(dataset_id)):
        raise ValueError(f"not a dataset id: {dataset_id!r:.100}; Minari's look like D4RL/antmaze/umaze-v1")
    check_choice("reward transform", reward, REWARDS)
    check_choice("choice of episodes", episodes, EPISODES)
    if observation != "auto":
        check_choice("observation transform", observation, OBSERVATIONS)
    if d4rl.is_d4rl(dataset_id):
        d4rl.check(dataset_id)
    if ogbench.is_ogbench(dataset_id):
        ogbench.check(dataset_id)
    if ids.is_builtin(dataset_id):
        wanted = ids.parse_id(dataset_id)
        check_batch_size(batch_size, wanted.transitions, dataset_id)
        _check_episodes(dataset_id, episodes, wanted.collection.has_goal)
        is_dict = wanted.collection.observes_goal
        if observation != "auto" and (observation in OF_DICTS) != is_dict:
            fitting = ", ".join(name for name in OBSERVATIONS if (name in OF_DICTS) == is_dict)
            raise ValueError(f"{dataset_id}: data.observation = {observation!r} must be one of {fitting}")
    elif dataset_id.startswith("D4RL/kitchen/"):
        registry.check_kitchen(dataset_id)


def _check_episodes(dataset_id: str, episodes: str, has_goal: bool) -> None:
    if episodes == "successful" and not has_goal:
        raise ValueError(
            f'{dataset_id}: episodes = "successful" needs a goal that is reached, and these data have none'
        )


def check_batch_size(batch_size: int, transitions: int, dataset_id: str) -> None:
    """Raises ValueError where a minibatch is larger than the data that it is drawn from."""
    if batch_size > transitions:
        raise ValueError(f"batch_size = {batch_size} must be at most {transitions}, the transitions of {dataset_id}")


def load(
    dataset_id: str,
    *,
    reward: str = "none",
    observation: str = "auto",
    standardise: bool = True,
    episodes: str = "all",
    env: str | Callable[[], Any] | EvalEnv | bool = True,
    root: str | os.PathLike | None = None,
    progress: CollectionProgress | None = None,
) -> Dataset:
    """Loads a dataset; a built-in one is collected first, and a hosted one downloaded, unless it is on this machine.

    Time-outs bootstrap: `discount` is 0 only where an episode terminated. AntMaze's episodes terminate at their first
    reward above 0 (hosted data go on at the goal, Minari issue 296). The last transition of an episode leads to the
    episode's own final observation.

    Args:
      dataset_id: `gtp/FAMILY/NAME-v0` of `builtin.ids.COLLECTIONS` (`gtp/antmaze/umaze-5k-seed1-v0` is another size and
        seed), or any Minari id.
      reward: a name of `transforms.REWARDS`.
      observation: a name of `transforms.OBSERVATIONS`, or "auto": "maze-scales" for AntMaze, "flatten" for other dicts
        and "identity" for arrays.
      standardise: whether observations are shifted and scaled by the mean and deviation of the data's.
      episodes: "all", or "successful": only those with a reward above 0; observations are standardised as for all.
      env: where policies are evaluated: True is the data's own environment, False none, or a registered id or a
        function () -> gymnasium.Env of your own.
      root: folder of Minari datasets; None is Minari's own.
      progress: called with (transitions done, of how many) while collecting.

    Raises:
      ValueError: an unknown name, a setting that does not fit the dataset, bad data (dataset, episode, field and index
        are named), an environment outside the allow-list or other than that of the data.
      hosted.DatasetUnavailable: a hosted dataset that is not here and cannot be downloaded.
    """
    check_dataset(dataset_id, reward=reward, observation=observation, episodes=episodes)
    if ids.is_builtin(dataset_id):
        dataset_id = ids.parse_id(dataset_id).id
    source = _source(dataset_id, datasets_root(root), progress, with_env=env is True)
    if not isinstance(env, bool):
        raw, own = source.raw, registry.of_user(env)
        registry.check_spaces(f"{dataset_id}: env", own, raw.observations, raw.action_low, raw.action_high)
        source = source._replace(env=own)
    return assemble(
        dataset_id, source, reward=reward, observation=observation, standardise=standardise, episodes=episodes
    )


def _source(dataset_id: str, root: Path, progress: CollectionProgress | None, *, with_env: bool) -> Source:
    """Reads the data that an id names, wherever they come from."""
    if d4rl.is_d4rl(dataset_id):
        raw, env = d4rl.load(dataset_id, with_env=with_env)
        return Source(raw, env, success=raw.reward > 0 if d4rl.has_goal(dataset_id) else None)
    if ogbench.is_ogbench(dataset_id):
        raw, env = ogbench.load(dataset_id, root, progress)
        return Source(raw, env if with_env else None, success=raw.terminated)
    if ids.is_builtin(dataset_id):
        wanted, env = ids.parse_id(dataset_id), None
        raw = reader.read(collect(wanted, root, progress=progress), wanted.id, sealed=True)
        if with_env:
            env = wanted.collection.eval_env()
        has_goal, ends_at_success = wanted.collection.has_goal, wanted.collection.observes_goal
    else:
        raw, env = reader.read(hosted.download(dataset_id, root), dataset_id), None
        has_goal = ends_at_success = registry.maze_of(dataset_id, raw.metadata) is not None
        if with_env:
            longest = int(np.bincount(raw.episode).max())
            known = (raw.observations, raw.action_low, raw.action_high, longest)
            env = registry.for_metadata(dataset_id, raw.metadata, *known)
    observation = "maze-scales" if ends_at_success and isinstance(raw.observations, dict) else ""
    return Source(raw, env, observation, raw.reward > 0 if has_goal else None, ends_at_success)


@np.errstate(over="ignore", invalid="ignore")  # overflows are refused by name
def assemble(
    dataset_id: str, source: Source, *, reward: str, observation: str, standardise: bool, episodes: str
) -> Dataset:
    """Makes the dataset of raw data by transforms, all of which are checked; see `load`."""
    raw, env = source.raw, source.env
    if observation == "auto":
        observation = source.observation or ("flatten" if isinstance(raw.observations, dict) else "identity")
    _check_episodes(dataset_id, episodes, source.success is not None)
    num_episodes, success = int(raw.episode[-1]) + 1, source.success
    terminal, keep = raw.terminated, np.ones(len(raw.reward), bool)
    if success is not None and source.ends_at_success:
        first = np.full(num_episodes, len(raw.reward))  # the step of each episode's first success
        np.minimum.at(first, raw.episode[success], raw.step[success])
        keep = raw.step <= first[raw.episode]
        terminal = raw.terminated | (raw.step == first[raw.episode])

    flat = transforms.transform_observation(observation, raw.observations)
    if flat.ndim != 2:
        raise ValueError(f"{dataset_id}: observations must have one axis, got shape {flat.shape[1:]} each")
    rows = (np.arange(len(raw.episode)) + raw.episode)[keep]  # each episode has its final observation, too
    observe = Observer.fit(observation, flat[rows], standardise, raw.observations)
    seen = observe.scale(flat)
    episode, rewards = raw.episode[keep], transforms.transform_reward(reward, raw.reward[keep], raw.episode[keep])
    reader.check_numbers(dataset_id, f"observations as {observation!r}", seen, np.bincount(raw.episode) + 1)
    reader.check_numbers(dataset_id, f"rewards as {reward!r}", rewards, np.bincount(episode))
    batch = Batch(
        obs=seen[rows],
        # Within the tolerance of the check: float32 rounding, no more.
        action=np.clip(raw.action[keep].astype(np.float32), raw.action_low, raw.action_high),
        reward=rewards,
        discount=1.0 - terminal[keep].astype(np.float32),
        next_obs=seen[rows + 1],
    )
    positions = None
    if (layout := observe.layout) is not None:
        here, to = flat[:, layout.position], flat[:, layout.goal_offset]
        positions = Positions(here[rows], here[rows + 1], to[rows])
    chosen = np.ones(len(episode), bool)
    if episodes == "successful" and success is not None:
        chosen = np.isin(episode, raw.episode[success])
        if not chosen.any():
            raise ValueError(f'{dataset_id}: episodes = "successful", but none reaches the goal; use "all"')
    summary = {
        "transitions": int(chosen.sum()),
        "transitions_stored": len(raw.episode),
        "episodes": num_episodes,
        "behaviour_success": None if success is None else _behaviour_success(raw, success),
        "mean_episode_length": len(episode) / num_episodes,
        "mean_return": float(np.bincount(episode, weights=raw.reward[keep].astype(float)).mean()),
        "environment": env and env.env_id,
        "time_limit": env and env.time_limit,
        **{"reward": reward, "observation": observation, "standardise": standardise, "episodes_used": episodes},
    }
    batch, positions = jax.tree.map(lambda column: column[chosen], (batch, positions))
    return Dataset(
        id=dataset_id,
        batch=batch,
        episode=np.unique(episode[chosen], return_inverse=True)[1].astype(np.int32),
        observe=observe,
        action_low=raw.action_low,
        action_high=raw.action_high,
        fingerprint=raw.fingerprint,
        summary=summary,
        env=env,
        layout=layout,
        positions=positions,
    )


def _behaviour_success(raw: reader.Raw, success: np.ndarray) -> float:
    """The share of whole episodes that reach the goal.

    A dataset of a given size ends in the middle of an episode: that one is left out if it is shorter than the longest
    and did not terminate, since nobody knows how it would have ended.
    """
    lengths = np.bincount(raw.episode)
    reached = np.isin(np.arange(len(lengths)), raw.episode[success])
    cut_short = len(reached) > 1 and not raw.terminated[-1] and lengths[-1] < lengths.max() and not reached[-1]
    return float(np.mean(reached[:-1] if cut_short else reached))
