"""From a dataset's id to one episode-safe batch, and to the environment that its policies are evaluated in."""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from gtp_jax.datasets import hosted, reader, transforms
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.builtin.collect import CollectionProgress, collect
from gtp_jax.datasets.folder import datasets_root
from gtp_jax.datasets.returns import Positions
from gtp_jax.datasets.transforms import OBSERVATIONS, OF_DICTS, REWARDS, Observer, check_choice
from gtp_jax.envs import registry
from gtp_jax.envs.maze import MazeInfo
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
    make_env: Callable[[], Any]  # () -> the gymnasium.Env to evaluate in; picklable
    maze: MazeInfo | None = None  # for pictures; AntMaze only
    layout: Layout | None = None  # where position, goal and body stand in an observation, if it tells them apart
    positions: Positions | None = None  # in metres, not standardised; where there is a layout


def check_dataset(
    dataset_id: str, *, reward: str = "none", observation: str | None = None, episodes: str = "all", batch_size: int = 1
) -> None:
    """Raises ValueError where the names alone tell that `load` would, without looking at a file or the network.

    Likewise for a `batch_size` above the number of transitions, where the id states that number.
    """
    if not isinstance(dataset_id, str) or len(dataset_id) > 200 or not _ID.fullmatch(dataset_id):
        raise ValueError(f"not a dataset id: {dataset_id!r:.100}; Minari's look like D4RL/antmaze/umaze-v1")
    check_choice("reward transform", reward, REWARDS)
    check_choice("choice of episodes", episodes, EPISODES)
    if observation is not None:
        check_choice("observation transform", observation, OBSERVATIONS)
    if ids.is_builtin(dataset_id):
        wanted = ids.parse_id(dataset_id)
        check_batch_size(batch_size, wanted.transitions, dataset_id)
        has_goal = wanted.collection.maze is not None
        _check_episodes(dataset_id, episodes, has_goal)
        if observation is not None and (observation in OF_DICTS) != has_goal:
            fitting = ", ".join(name for name in OBSERVATIONS if (name in OF_DICTS) == has_goal)
            raise ValueError(f"{dataset_id}: data.observation = {observation!r} must be one of {fitting}")
    elif dataset_id.startswith("D4RL/kitchen/"):
        registry.check_kitchen(dataset_id)


def _check_episodes(dataset_id: str, episodes: str, has_goal: bool) -> None:
    if episodes == "successful" and not has_goal:
        raise ValueError(f'{dataset_id}: episodes = "successful" needs a goal that is reached; only AntMaze has one')


def check_batch_size(batch_size: int, transitions: int, dataset_id: str) -> None:
    """Raises ValueError where a minibatch is larger than the data that it is drawn from."""
    if batch_size > transitions:
        raise ValueError(f"batch_size = {batch_size} must be at most {transitions}, the transitions of {dataset_id}")


@np.errstate(over="ignore", invalid="ignore")  # overflows are refused by name
def load(
    dataset_id: str,
    *,
    reward: str = "none",
    observation: str | None = None,
    standardise: bool = True,
    episodes: str = "all",
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
      observation: a name of `transforms.OBSERVATIONS`; None is "maze-scales" for AntMaze and "identity" otherwise.
      standardise: whether observations are shifted and scaled by the mean and deviation of the data's.
      episodes: "all", or "successful": only those with a reward above 0; observations are standardised as for all.
      root: folder of Minari datasets; None is Minari's own.
      progress: called with (transitions done, of how many) while collecting.

    Raises:
      ValueError: an unknown name, a setting that does not fit the dataset, bad data (dataset, episode, field and index
        are named), an environment outside the allow-list.
      hosted.DatasetUnavailable: a hosted dataset that is not here and cannot be downloaded.
    """
    check_dataset(dataset_id, reward=reward, observation=observation, episodes=episodes)
    folder = datasets_root(root)
    if ids.is_builtin(dataset_id):
        wanted = ids.parse_id(dataset_id)
        dataset_id, eval_env = wanted.id, wanted.collection.eval_env()
        raw = reader.read(collect(wanted, folder, progress=progress), dataset_id, sealed=True)
    else:
        raw = reader.read(hosted.download(dataset_id, folder), dataset_id)
        has_goal = isinstance(raw.observations, dict) and "observation" in raw.observations
        size = raw.observations["observation"].shape[-1] if has_goal else None
        eval_env = registry.for_metadata(dataset_id, raw.metadata, size)
    is_antmaze = eval_env.maze is not None
    observation = observation or ("maze-scales" if is_antmaze else "identity")
    _check_episodes(dataset_id, episodes, is_antmaze)
    num_episodes, success = int(raw.episode[-1]) + 1, (raw.reward > 0) & is_antmaze
    first = np.full(num_episodes, len(raw.reward))  # the step of each episode's first success
    np.minimum.at(first, raw.episode[success], raw.step[success])
    keep = raw.step <= first[raw.episode]
    terminal = raw.terminated | (raw.step == first[raw.episode])

    flat = transforms.transform_observation(observation, raw.observations)
    if flat.ndim != 2:
        raise ValueError(f"{dataset_id}: observations must have one axis, got shape {flat.shape[1:]} each")
    rows = (np.arange(len(raw.episode)) + raw.episode)[keep]  # each episode has its final observation, too
    observe = Observer.fit(observation, flat[rows], standardise)
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
    if episodes == "successful":
        chosen = np.isin(episode, episode[raw.reward[keep] > 0])
        if not chosen.any():
            raise ValueError(f'{dataset_id}: episodes = "successful", but none has a reward above 0; use "all"')
    summary = {
        "transitions": int(chosen.sum()),
        "transitions_stored": len(raw.episode),
        "episodes": num_episodes,
        "behaviour_success": _behaviour_success(raw) if is_antmaze else None,
        "mean_episode_length": len(episode) / num_episodes,
        "mean_return": float(np.bincount(episode, weights=raw.reward[keep]).mean()),
        "environment": eval_env.env_id,
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
        make_env=eval_env.make_env,
        maze=eval_env.maze,
        layout=layout,
        positions=positions,
    )


def _behaviour_success(raw: reader.Raw) -> float:
    """The share of whole episodes with a reward above 0.

    A dataset of a given size ends in the middle of an episode: that one is left out if it is shorter than the longest
    and did not terminate, since nobody knows how it would have ended.
    """
    lengths = np.bincount(raw.episode)
    reached = np.isin(np.arange(len(lengths)), raw.episode[raw.reward > 0])
    cut_short = len(reached) > 1 and not raw.terminated[-1] and lengths[-1] < lengths.max() and not reached[-1]
    return float(np.mean(reached[:-1] if cut_short else reached))
