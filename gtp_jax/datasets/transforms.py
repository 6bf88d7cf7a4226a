"""Named transforms of rewards and observations, for a dataset and for the environment a policy is evaluated in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gtp_jax.names import there_are

STD_FLOOR = 1e-3  # a feature that hardly varies in the data is not blown up


class RewardInfo(NamedTuple):
    """What a reward transform may look at: all rewards [N] and the episode [N] each belongs to."""

    reward: np.ndarray
    episode: np.ndarray


def _return_range(info: RewardInfo) -> np.ndarray:
    returns = np.bincount(info.episode, weights=info.reward)
    spread = returns.max() - returns.min()
    if not spread > 0:
        raise ValueError(
            f'reward="return-range" divides by the range of the episodes\' returns, but all {len(returns)} of them are '
            f"{returns.max():g}; choose another reward transform"
        )
    return info.reward * (1000.0 / spread)


def _standardise(info: RewardInfo) -> np.ndarray:
    spread = info.reward.std()
    if not spread > 0:
        raise ValueError(
            f'reward="standardise" divides by the deviation of the rewards, but all {len(info.reward)} of them are '
            f"{info.reward[0]:g}; choose another reward transform"
        )
    return (info.reward - info.reward.mean()) / spread


REWARDS: dict[str, Callable[[RewardInfo], np.ndarray]] = {
    "none": lambda info: info.reward,
    "minus-one": lambda info: info.reward - 1,  # IQL's AntMaze: 0 at the goal, -1 elsewhere
    "minus-half-times-four": lambda info: (info.reward - 0.5) * 4,  # CQL's AntMaze: 2 and -2
    "minus-quarter-times-two": lambda info: (info.reward - 0.25) * 2,  # 1.5 and -0.5
    "return-range": _return_range,  # IQL's Gym: episode returns span 1000
    "standardise": _standardise,  # Diffusion-QL's Adroit: mean 0, deviation 1
}


def check_choice(what: str, name: object, valid: Iterable[str]) -> None:
    """Raises ValueError, naming what there is, for a transform that there is not."""
    if not isinstance(name, str) or name not in valid:
        raise ValueError(f"no {what} {name!r:.100}; {there_are(name, sorted(valid))}")


def transform_reward(name: str, reward: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Rewards [N] under a named transform, float32; `episode` [N] tells episodes apart, from 0 up."""
    check_choice("reward transform", name, REWARDS)
    return REWARDS[name](RewardInfo(np.asarray(reward, np.float64), episode)).astype(np.float32)


def _ant(parts: Mapping[str, Any], xp: Any) -> list[Any]:
    del xp
    return [parts["achieved_goal"], parts["observation"][..., :27]]


def _goal_relative(parts: Mapping[str, Any], xp: Any) -> list[Any]:
    return [*_ant(parts, xp), parts["desired_goal"] - parts["achieved_goal"]]


def _goal_scales(parts: Mapping[str, Any], xp: Any) -> list[Any]:
    """The goal's direction at three scales: the environment moves it by up to a metre, and counts 0.45 m as reached."""
    *ant, offset = _goal_relative(parts, xp)
    distance = xp.linalg.norm(offset, axis=-1, keepdims=True)
    unit = offset / xp.maximum(distance, np.float32(1e-8))
    return [*ant, offset, unit, xp.exp(-distance), xp.clip(offset, -1.5, 1.5)]


_WAVELENGTHS = (8.0, 16.0, 32.0)  # metres; a maze's cell is half of the first


def _maze_scales(parts: Mapping[str, Any], xp: Any) -> list[Any]:
    """Also the places of ant and goal on waves (Fourier features, arXiv 2006.10739): which cell they are in decides."""
    places = [parts["achieved_goal"], parts["desired_goal"]]
    angles = [place * np.float32(2 * np.pi / metres) for place in places for metres in _WAVELENGTHS]
    return [*_goal_scales(parts, xp), *map(xp.sin, angles), *map(xp.cos, angles)]


def _maze_egocentric(parts: Mapping[str, Any], xp: Any) -> list[Any]:
    """The body as it would be seen if the ant headed along x, and, behind the rest, the cosine and sine of its heading.

    The heading is the rotation's part about the vertical (swing and twist), 0 for an ant that lies on its back, w = z =
    0; near there it jumps with the least tilt. Which way it is has no part in walking.
    """

    def back(x: Any, y: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
        return cos * x + sin * y, cos * y - sin * x

    body = parts["observation"][..., :27]
    height, w, x, y, z, angles, speed_x, speed_y, rest = xp.split(body, (1, 2, 3, 4, 5, 13, 14, 15), axis=-1)
    twist = xp.hypot(w, z)
    safe = xp.maximum(twist, np.float32(1e-8))
    cos, sin = xp.where(twist > safe / 2, w / safe, xp.ones_like(w)), z / safe  # of half the heading
    swing = [twist, *back(x, y, cos, sin), xp.zeros_like(z)]
    cos, sin = cos**2 - sin**2, 2 * cos * sin
    # The rest begins with the vertical velocity; the angular one is in the torso's own frame already.
    body = xp.concatenate([height, *swing, angles, *back(speed_x, speed_y, cos, sin), rest], axis=-1)
    return [*_maze_scales({**parts, "observation": body}, xp), cos, sin]


# In "goal-scales", "maze-scales" and "maze-egocentric": the ant without its place, the goal seen from it in metres, and
# where both are.
BODY, OFFSET = slice(2, 29), slice(29, 31)
PLACE = (0, 1, *range(29, 36))
HEADING = slice(60, 62)  # of "maze-egocentric", its cosine and sine; not standardised
_GOAL_PARTS = {"achieved_goal": 2, "observation": 27, "desired_goal": 2}
_GOAL_TRANSFORMS = {
    "maze-egocentric": (_maze_egocentric, 62),
    "maze-scales": (_maze_scales, 60),
    "goal-scales": (_goal_scales, 36),
    "goal-relative": (_goal_relative, 31),
    "ant": (_ant, 29),
}
OF_DICTS = (*_GOAL_TRANSFORMS, "observation")  # of environments with goals, whose observations are dicts of arrays
OBSERVATIONS = (*OF_DICTS, "identity")


def transform_observation(name: str, observation: Any) -> np.ndarray:
    """Flattens raw observations [*B, ...] by a named transform to [*B, O], float32, not standardised.

    Raises ValueError naming the expected and the given keys or shapes.
    """
    check_choice("observation transform", name, OBSERVATIONS)
    if name == "identity":
        if isinstance(observation, Mapping):
            raise ValueError(f'"identity" expects an array [*B, O], got a dict with keys {sorted(observation)}')
        # A copy, so that an environment that reuses its observation array cannot change what was seen.
        return np.array(observation, dtype=np.float32)
    if name == "observation":  # the one part of a dict that is an array in every task with goals
        if not isinstance(observation, Mapping) or "observation" not in observation:
            given = sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__
            raise ValueError(f'"observation" expects a dict with the key "observation", got {given}')
        return np.array(observation["observation"], dtype=np.float32)
    parts = _goal_parts(name, observation)
    return np.concatenate(_GOAL_TRANSFORMS[name][0](parts, np), axis=-1, dtype=np.float32)


def _goal_parts(name: str, observation: Any) -> dict[str, np.ndarray]:
    given = sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__
    if not isinstance(observation, Mapping) or not set(_GOAL_PARTS) <= set(observation):
        raise ValueError(f"{name!r} expects a dict with keys {sorted(_GOAL_PARTS)}, got {given}")
    # float32 first: the data are stored so, and an observation then reads the same from the file and the environment.
    parts = {key: np.asarray(observation[key], dtype=np.float32) for key in _GOAL_PARTS}
    shapes = {key: part.shape for key, part in parts.items()}
    sizes_right = (
        all(part.ndim for part in parts.values())
        and parts["observation"].shape[-1] in (27, 105)
        and parts["achieved_goal"].shape[-1] == parts["desired_goal"].shape[-1] == 2
    )
    if not sizes_right or len({shape[:-1] for shape in shapes.values()}) != 1:
        raise ValueError(
            f"{name!r} expects achieved_goal [*B, 2], observation [*B, 27] or, with contact forces, [*B, 105], and "
            f"desired_goal [*B, 2], got {shapes}"
        )
    return parts


@dataclass(frozen=True)
class Observer:
    """Maps raw environment observations, dict or array with any leading axes, to what the policy sees.

    (transform(observation) - mean) / std, float32 [*B, O]. It holds all that evaluation has to know of the data.
    """

    transform: str
    mean: np.ndarray  # [O]
    std: np.ndarray  # [O]

    @classmethod
    def fit(cls, transform: str, flat: np.ndarray, standardise: bool = True) -> "Observer":
        """The observer whose statistics are those of `flat` [N, O], observations already flattened by `transform`."""
        if not standardise:
            return cls(transform, np.zeros(flat.shape[-1], np.float32), np.ones(flat.shape[-1], np.float32))
        mean, std = flat.mean(0, dtype=np.float64), flat.std(0, dtype=np.float64)
        if transform == "maze-egocentric":
            mean[HEADING], std[HEADING] = 0, 1
        return cls(transform, mean.astype(np.float32), np.maximum(std, STD_FLOOR).astype(np.float32))

    def __call__(self, observation: Any) -> np.ndarray:
        """Raw observation [*B, ...] -> [*B, O]. Raises ValueError naming the expected and the given shape or keys."""
        return self.scale(transform_observation(self.transform, observation))

    def scale(self, flat: np.ndarray) -> np.ndarray:
        """Standardises observations [*B, O] that are already flattened."""
        if not flat.ndim or flat.shape[-1] != len(self.mean):
            raise ValueError(f"{self.transform!r} expects an array [*B, {len(self.mean)}], got shape {flat.shape}")
        return (flat - self.mean) / self.std

    def sizes(self) -> dict[str, int] | int:
        """Numbers of a raw observation: of each part of a dict, or of an array."""
        if self.transform == "observation":
            return {"observation": len(self.mean)}
        return dict(_GOAL_PARTS) if self.transform in _GOAL_TRANSFORMS else len(self.mean)

    def traced(self, observation: Any, xp: Any) -> Any:
        """The same as a call, written with the functions of `xp`, such as jax.numpy, and without checks: to compile."""
        if self.transform in _GOAL_TRANSFORMS:
            observation = xp.concatenate(_GOAL_TRANSFORMS[self.transform][0](observation, xp), axis=-1)
        elif self.transform == "observation":
            observation = observation["observation"]
        mean, std = (xp.broadcast_to(each, observation.shape) for each in (self.mean, self.std))
        return (observation - mean) / std

    def unscale(self, standardised: np.ndarray) -> np.ndarray:
        """The inverse of `scale`, up to rounding."""
        return standardised * self.std + self.mean

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs, ready for JSON; float32 survives it exactly."""
        return {"transform": self.transform, "mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Observer":
        """The observer that `spec` was taken from. Raises ValueError for what `spec()` cannot have written."""
        if not isinstance(spec, Mapping) or not {"transform", "mean", "std"} <= set(spec):
            raise ValueError(f"an observer's spec has the keys transform, mean and std, got {spec!r:.200}")
        check_choice("observation transform", spec["transform"], OBSERVATIONS)
        mean, std = np.asarray(spec["mean"], np.float32), np.asarray(spec["std"], np.float32)
        expected = _GOAL_TRANSFORMS[spec["transform"]][1] if spec["transform"] in _GOAL_TRANSFORMS else mean.size
        if mean.shape != (expected,) or std.shape != (expected,):
            raise ValueError(
                f"observer {spec['transform']!r}: mean and std must have shape ({expected},), got {mean.shape} and "
                f"{std.shape}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"observer {spec['transform']!r}: mean must be finite and std finite and positive")
        return cls(spec["transform"], mean, std)
