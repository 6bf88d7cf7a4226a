"""Named transforms of rewards and observations, for a dataset and for the environment a policy is evaluated in."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gtp_jax.names import by_path, there_are
from gtp_jax.types import Layout

REWARDS = ("none", "minus-one", "minus-half-times-four", "return-range", "standardise")
STD_FLOOR = 1e-3  # a feature that hardly varies in the data is not blown up
# The transforms of AntMaze's observations, and how many numbers each gives.
_SIZES = {"maze-egocentric": 62, "maze-scales": 60, "goal-scales": 36}
_PARTS = {"achieved_goal": 2, "observation": 27, "desired_goal": 2}
_WAVELENGTHS = (8.0, 16.0, 32.0)  # metres; a maze's cell is half of the first
OF_DICTS = (*_SIZES, "observation", "flatten")  # of observations that are dicts of arrays
OBSERVATIONS = (*OF_DICTS, "identity")


def check_choice(what: str, name: object, valid: Iterable[str]) -> None:
    """Raises ValueError, with the valid names, unless `name` is one of them."""
    if not isinstance(name, str) or name not in valid:
        raise ValueError(f"no {what} {name!r:.100}; {there_are(name, sorted(valid))}")


def transform_reward(name: str, reward: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Applies a named transform to rewards [N] of the episodes [N], counted from 0; returns float32.

    "none"; "minus-one" (IQL's AntMaze, arXiv 2110.06169: 0 at the goal, -1 elsewhere); "minus-half-times-four" (CQL's
    AntMaze, arXiv 2006.04779: 2 and -2); "return-range" (IQL's Gym: the episodes' returns span 1000); or "standardise"
    (Diffusion-QL's Adroit, arXiv 2208.06193: mean 0, deviation 1).

    Raises ValueError for another name, and where the spread that a transform divides by is 0.
    """
    check_choice("reward transform", name, REWARDS)
    reward = np.asarray(reward, np.float64)
    if name == "minus-one":
        reward = reward - 1
    elif name == "minus-half-times-four":
        reward = (reward - 0.5) * 4
    elif name != "none":
        of_returns = name == "return-range"
        values = np.bincount(episode, weights=reward) if of_returns else reward
        spread = np.ptp(values) if of_returns else values.std()
        if not spread > 0:
            why = f"but all {len(values)} of them are {values[0]:g}; choose another reward transform"
            raise ValueError(f'reward="{name}" divides by the spread of the returns or rewards, {why}')
        reward = reward * (1000.0 / spread) if of_returns else (reward - reward.mean()) / spread
    return reward.astype(np.float32)


def _columns(name: str, parts: Mapping[str, Any], xp: Any) -> list[Any]:
    """The columns of "goal-scales", "maze-scales" or "maze-egocentric", written with the functions of `xp`."""
    here, goal, body, heading = parts["achieved_goal"], parts["desired_goal"], parts["observation"][..., :27], []
    if name == "maze-egocentric":
        body, heading = _egocentric(body, xp)
    # The goal's direction at three scales: the environment moves the goal by up to 1 m, and 0.45 m counts as reached.
    offset = goal - here
    distance = xp.linalg.norm(offset, axis=-1, keepdims=True)
    unit = offset / xp.maximum(distance, np.float32(1e-8))
    columns = [here, body, offset, unit, xp.exp(-distance), xp.clip(offset, -1.5, 1.5)]
    if name != "goal-scales":  # Fourier features of both positions (arXiv 2006.10739): which cell they are in decides
        angles = [position * np.float32(2 * np.pi / metres) for position in (here, goal) for metres in _WAVELENGTHS]
        columns += [*map(xp.sin, angles), *map(xp.cos, angles)]
    return columns + heading


def _egocentric(body: Any, xp: Any) -> tuple[Any, list[Any]]:
    """The body [*B, 27] of an ant as if it headed along x, and the cosine and sine [*B, 1] of its heading.

    The heading is the rotation's part about the vertical (swing and twist): 0 for an ant on its back (w = z = 0).
    """

    def back(x: Any, y: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
        return cos * x + sin * y, cos * y - sin * x

    height, w, x, y, z, angles, speed_x, speed_y, rest = xp.split(body, (1, 2, 3, 4, 5, 13, 14, 15), axis=-1)
    twist = xp.hypot(w, z)
    safe = xp.maximum(twist, np.float32(1e-8))
    cos, sin = xp.where(twist > safe / 2, w / safe, xp.ones_like(w)), z / safe  # of half the heading
    swing = [twist, *back(x, y, cos, sin), xp.zeros_like(z)]
    cos, sin = cos**2 - sin**2, 2 * cos * sin
    # `rest` begins with the vertical velocity; the angular velocity is in the torso's own frame already.
    return xp.concatenate([height, *swing, angles, *back(speed_x, speed_y, cos, sin), rest], axis=-1), [cos, sin]


def _float32(values: Any, xp: Any) -> Any:
    """A copy, so that an environment that reuses its array cannot change what was seen."""
    try:  # what is an array already keeps its type, since JAX would cut 64-bit integers
        array = values if hasattr(values, "dtype") else xp.asarray(values)
    except (OverflowError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"an observation must be an array of numbers: {why:.300}") from None
    dtype = array.dtype
    is_real = isinstance(dtype, np.dtype) and (dtype.kind in "fiu" or np.can_cast(dtype, np.float32, "same_kind"))
    if not is_real:
        raise ValueError(f"an observation must be an array of numbers, got {type(values).__name__} of {dtype}")
    if np.ma.is_masked(values):
        raise ValueError("an observation has masked numbers; fill them first: obs.filled(...)")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
        return xp.array(array, dtype=np.float32)


def _shape(values: Any) -> tuple[int, ...]:
    try:
        return np.shape(values)
    except ValueError:  # of a ragged list, which has none
        return ()


def transform_observation(name: str, observation: Any, xp: Any = np) -> Any:
    """Flattens raw observations [*B, ...] by a named transform to [*B, O], float32, not standardised.

    `xp` is NumPy, or `jax.numpy` to be traced. Raises ValueError naming the expected and the given keys, shapes or
    types.
    """
    check_choice("observation transform", name, OBSERVATIONS)
    is_dict = isinstance(observation, Mapping)
    given = sorted(map(str, observation)) if is_dict else type(observation).__name__
    if name == "identity" and is_dict:
        raise ValueError(f'"identity" expects an array [*B, O], got a dict with keys {given}')
    if name == "observation" and (not is_dict or "observation" not in observation):
        raise ValueError(f'"observation" expects a dict with the key "observation", got {given}')
    if name in ("identity", "observation"):
        return _float32(observation["observation"] if is_dict else observation, xp)
    if name == "flatten":
        parts = {path: _float32(part, xp) for path, part in sorted(by_path(observation).items())}
        shapes = {path: part.shape for path, part in parts.items()}
        if (
            not is_dict
            or not parts
            or len({shape[:-1] for shape in shapes.values() if shape}) != 1
            or () in shapes.values()
        ):
            raise ValueError(
                f'"flatten" expects a dict of arrays [*B, n] with the same *B, got {shapes if is_dict else given}'
            )
        return xp.concatenate(list(parts.values()), axis=-1)
    if not is_dict or not set(_PARTS) <= set(observation):
        raise ValueError(f"{name!r} expects a dict with keys {sorted(_PARTS)}, got {given}")
    # float32 first: the data are stored so, and an observation then reads the same from the file and the environment.
    parts = {key: _float32(observation[key], xp) for key in _PARTS}
    shapes = {key: part.shape for key, part in parts.items()}
    sizes = [shape[-1:] for shape in shapes.values()]
    if len({shape[:-1] for shape in shapes.values()}) != 1 or sizes not in ([(2,), (27,), (2,)], [(2,), (105,), (2,)]):
        wanted = "achieved_goal [*B, 2], observation [*B, 27] (or [*B, 105] with contact forces), desired_goal [*B, 2]"
        raise ValueError(f"{name!r} expects {wanted}, got {shapes}")
    return xp.concatenate(_columns(name, parts, xp), axis=-1, dtype=np.float32)


@dataclass(frozen=True)
class Observer:
    """Maps raw environment observations, dict or array with any leading axes, to what the policy sees.

    (transform(observation) - mean) / std, float32 [*B, O]. It holds all that evaluation has to know of the data.
    """

    transform: str
    mean: np.ndarray  # [O]
    std: np.ndarray  # [O]
    parts: dict[str, int] = field(default_factory=dict)  # "flatten" only: the size of each part by path

    @classmethod
    def fit(cls, transform: str, flat: np.ndarray, standardise: bool = True, raw: Any = None) -> "Observer":
        """Makes an observer from observations [N, O] that `transform` has flattened; leaves a heading as it is.

        "flatten" needs the `raw` observations, too, a dict of arrays [N, n].
        """
        parts = {path: part.shape[-1] for path, part in sorted(by_path(raw).items())} if transform == "flatten" else {}
        plain = cls(transform, np.zeros(flat.shape[-1], np.float32), np.ones(flat.shape[-1], np.float32), parts)
        if not standardise:
            return plain
        mean, std = flat.mean(0, dtype=np.float64), flat.std(0, dtype=np.float64)
        if plain.layout is not None and plain.layout.heading is not None:
            mean[plain.layout.heading], std[plain.layout.heading] = 0, 1
        return cls(transform, mean.astype(np.float32), np.maximum(std, STD_FLOOR).astype(np.float32), parts)

    @property
    def layout(self) -> Layout | None:
        """Where position, goal and body stand in an observation; None where the transform does not tell them apart."""
        if self.transform not in _SIZES:
            return None
        heading = slice(60, 62) if self.transform == "maze-egocentric" else None
        return Layout(slice(0, 2), slice(29, 31), slice(2, 29), heading, location=(0, 1, *range(29, 36)))

    def __call__(self, observation: Any, xp: Any = np) -> Any:
        """Raw observation [*B, ...] -> [*B, O], written with the functions of `xp`, such as jax.numpy, to be traced.

        Raises ValueError naming the expected and the given shape, keys or type.
        """
        if self.transform == "flatten":
            given = {path: _shape(part)[-1:] for path, part in by_path(observation).items()}
            if given != {path: (size,) for path, size in self.parts.items()}:
                raise ValueError(f'"flatten" expects a dict of arrays [*B, n] with n = {self.parts}, got {given}')
        return self.scale(transform_observation(self.transform, observation, xp), xp)

    def scale(self, flat: Any, xp: Any = np) -> Any:
        """Standardises observations [*B, O] that are already flattened."""
        if not flat.ndim or flat.shape[-1] != len(self.mean):
            raise ValueError(f"{self.transform!r} expects an array [*B, {len(self.mean)}], got shape {flat.shape}")
        mean, std = self.mean, self.std
        if xp is not np:  # JAX may be set to broadcast nothing by itself
            mean, std = (xp.broadcast_to(each, flat.shape) for each in (mean, std))
        return (flat - mean) / std

    def sizes(self) -> dict[str, Any] | int:
        """The size of a raw observation, or of each of its parts, in dicts, that the transform reads."""
        nested: dict[str, Any] = {}
        for path, size in self.parts.items():
            *outer, last = path.split("/")
            functools.reduce(lambda at, key: at.setdefault(key, {}), outer, nested)[last] = size
        if nested:
            return nested
        if self.transform == "observation":
            return {"observation": len(self.mean)}
        return dict(_PARTS) if self.transform in _SIZES else len(self.mean)

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs, ready for JSON; float32 survives it exactly."""
        spec = {"transform": self.transform, "mean": self.mean.tolist(), "std": self.std.tolist()}
        return spec | ({"parts": self.parts} if self.parts else {})

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Observer":
        """The observer that `spec` was taken from. Raises ValueError for what `spec()` cannot have written."""
        if not isinstance(spec, Mapping) or not {"transform", "mean", "std"} <= set(spec):
            raise ValueError(f"an observer's spec has the keys transform, mean and std, got {spec!r:.200}")
        check_choice("observation transform", spec["transform"], OBSERVATIONS)
        name, mean, std = spec["transform"], *(np.asarray(spec[each], np.float32) for each in ("mean", "std"))
        size = (_SIZES.get(name, mean.size),)
        if mean.shape != size or std.shape != size:
            raise ValueError(f"observer {name!r}: mean and std must have shape {size}, got {mean.shape}, {std.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"observer {name!r}: mean must be finite and std finite and positive")
        parts = spec.get("parts", {}) if name == "flatten" else {}
        if name == "flatten" and not (_are_sizes(parts) and sum(parts.values()) == mean.size):
            raise ValueError(f"observer 'flatten': parts must be sizes with the sum {mean.size}, got {parts!r:.200}")
        return cls(name, mean, std, parts)


def _are_sizes(parts: Any) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(path, str) and type(n) is int and n >= 0 for path, n in parts.items()
    )
