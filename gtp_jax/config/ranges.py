"""What every setting may be: the ranges of numbers, the lists of words. Plain data."""

import math
import re
from typing import NamedTuple

from gtp_jax import critics, policies
from gtp_jax.names import members

PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
MOST = 2**31 - 1  # what JAX's 32-bit integers hold
_LARGEST = 1e6  # above it float32 has no room left for squares and products


class Range(NamedTuple):
    """The numbers from `low` to `high`, without those in `excluded`, negative zero, and what float32 rounds to 0."""

    low: float
    high: float
    excluded: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        # The comparisons come first: an integer of a thousand digits has no float.
        if not self.low <= value <= self.high or value in self.excluded:
            return False
        return value >= 1e-30 or (value == 0 and math.copysign(1, value) > 0)

    def __str__(self) -> str:
        others = "".join(f", not {value:g}" for value in self.excluded)
        return f"at least {self.low:.10g}, at most {self.high:.10g}{others}"


_NUMBER = Range(1, MOST)  # of updates
_SOME, _MANY = Range(1, 1024), Range(1, 1_000_000)
_NOT_NEGATIVE, _POSITIVE = Range(0, _LARGEST), Range(0, _LARGEST, excluded=(0,))
_RATE = Range(0, 1, excluded=(0,))

RANGES: dict[str, Range] = {
    "seed_offset": Range(0, MOST),
    "num_seeds": Range(1, 65_536),
    "seeds_at_once": Range(0, 65_536),
    "num_updates": _NUMBER,
    "curriculum_updates": Range(0, MOST),
    "batch_size": _MANY,
    "max_grad_norm": Range(0, 1e30, excluded=(0,)),
    "log_every": _NUMBER,
    "checkpoint_every": _NUMBER,
    "devices": Range(0, 65_536),
    "cpu_devices": Range(0, 256),
    "gpu_memory_fraction": _RATE,
    "policy.num_steps": _SOME,
    "policy.temperature": _NOT_NEGATIVE,
    "policy.lambda_flow": Range(0, 1e38),
    "policy.lambda_consistency": Range(0, 1e38),
    "policy.subgoal_steps": Range(0, 10_000),
    "policy.intervals": Range(0, 1_000_000),
    "policy.sigma_min": _POSITIVE,
    "policy.sigma_max": _POSITIVE,
    "policy.rho": Range(1, 100),
    "policy.sigma_data": _POSITIVE,
    "policy.adaptive_power": Range(0, 10),
    "policy.learning_rate": _RATE,
    "policy.ema": _RATE,
    "critic.num_steps": _SOME,
    "critic.n_step": Range(0, 1_000_000),
    "critic.samples": _SOME,
    "critic.candidates": _SOME,
    "critic.expectile": Range(0, 1, excluded=(0, 1)),
    "critic.ensemble": _SOME,
    "critic.learning_rate": _RATE,
    "critic.ema": _RATE,
    "critic.discount": Range(0, 1),
    "critic.divergence": Range(1, 1e30),
    "guidance.eta": _NOT_NEGATIVE,
    "eval.num_episodes": _MANY,
    "eval.every": _NUMBER,
    "eval.progress_episodes": _MANY,
    "eval.num_envs": Range(1, 4096),
    "eval.seed": Range(0, MOST),
}

WIDTH, MAX_DEPTH = Range(1, 16_384), 64  # of hidden layers
MAX_SWEPT = 1024  # values of one hyperparameter
_ACTIVATIONS = ("mish", "relu", "silu")

# What the settings that are words may be. The tables behind the words lie in other rooms; a test compares them.
CHOICES: dict[str, tuple[str, ...]] = {
    "matmul_precision": PRECISIONS,
    "eval.overlap": ("auto", "always", "never"),
    "data.reward": (
        *("none", "minus-one", "minus-half-times-four", "minus-quarter-times-two", "return-range", "standardise"),
    ),
    "data.observation": (
        *("maze-scales", "maze-egocentric", "goal-scales", "goal-relative", "ant", "identity", "observation"),
    ),
    "data.episodes": ("all", "successful"),
    "critic.observes": ("all", "place"),
    "policy.target": ("online", "ema"),
    "policy.gap": ("adjacent", "any"),
    "policy.subgoal_way": ("vector", "direction", "bearing"),
    "policy.tau": ("any", "zero"),
    "policy.teacher": ("score", "euler", "heun"),
    "policy.flow_times": ("grid", "log-normal"),
    "policy.solver": ("euler", "heun"),
    "policy.times": ("grid", "log-normal"),
    "policy.weighting": ("none", "edm"),
    "policy.activation": _ACTIVATIONS,
    "critic.activation": _ACTIVATIONS,
    "guidance.name": ("none", "advantage", "exponential", "unnormalised", "filter", "condition", "q"),
}

# The words that anybody may choose: what they are, and their form.
TEXTS: dict[str, tuple[str, re.Pattern]] = {
    "dataset": ("the id of a dataset, like 'gtp/antmaze/umaze-v0'", re.compile(r"[\w./-]{1,200}")),
    "continue_from": ("the directory of another run, or empty", re.compile(r"[\w./~ +@-]{0,200}")),
    "log.wandb": ("the name of a project of up to 100 characters, or empty", re.compile(r"[\w. -]{0,100}")),
}

FAMILIES = {"policy.name": policies, "critic.name": critics}


def choices(name: str) -> tuple[str, ...]:
    """The words that a setting may be, none for one that is no word; members of a family as they are on disk now."""
    return members(FAMILIES[name]) if name in FAMILIES else CHOICES.get(name, ())
