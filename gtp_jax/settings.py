"""Every setting of a run: its default, and what it may be. Plain data, so that it is known before JAX starts."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# The numbers of an update that live in its state, so that they may differ between the trainings of one program.
HPARAMS = {
    "eta": "guidance.eta",
    "lambda_flow": "policy.lambda_flow",
    "lambda_consistency": "policy.lambda_consistency",
    "policy_lr": "policy.learning_rate",
    "policy_ema": "policy.ema",
    "critic_lr": "critic.learning_rate",
    "critic_ema": "critic.ema",
    "discount": "critic.discount",
}

DEFAULTS: dict[str, Any] = {
    "seed_offset": 0,  # the first seed's number; the others follow
    "num_seeds": 4,
    "seeds_at_once": 0,  # how many a device updates side by side, the others after them, for less memory; 0: all
    "sweep": dict.fromkeys(HPARAMS, ()),  # values to train with in place of the one setting, all combinations
    "num_updates": 40_000,
    "curriculum_updates": 0,  # over which the time grid grows; 0: num_updates of the run's first start
    "batch_size": 256,
    "max_grad_norm": 10.0,  # at which the gradients of policy and critic are clipped, each by its global norm
    "log_every": 250,  # updates in one dispatch, and between rows of metrics.jsonl
    "checkpoint_every": 2_500,
    "devices": 0,  # 0: as many as divide the seeds
    "cpu_devices": 0,  # into how many the processor is split; 0: as XLA_FLAGS say, or as many cores as divide the seeds
    "matmul_precision": "float32",  # of matrix products: "float32", "tensorfloat32" or "bfloat16"; a CPU has the first
    "gpu_memory_fraction": 0.75,  # of a GPU's memory that JAX takes when it starts
    "dataset": "gtp/antmaze/umaze-v0",
    "data": {"reward": "none", "observation": "goal-scales", "standardise": True, "episodes": "all"},
    "policy": {
        "name": "gtp",
        "num_steps": 5,  # K at evaluation
        "temperature": 1.0,  # scale of the sampler's first draw at evaluation
        "lambda_flow": 1.0,
        "lambda_consistency": 1.0,
        "target": "online",  # whose map consistency follows: the "online" parameters' or their "ema"
        "gap": "adjacent",  # between the times of GTP's consistency: "adjacent" or "any"
        "tau": "any",  # where its jumps end: "any" time or "zero"
        "intervals": 0,  # of its time grid; 0: growing from 10 to 1280
        "teacher": "score",  # of its neighbouring points: the "score" approximation, "euler" or "heun"
        "flow_times": "grid",  # of its flow loss: "grid" or "log-normal", as EDM
        "solver": "euler",  # of the members that sample or teach by an ODE solver
        "times": "grid",  # where diffusion trains its denoiser: "grid" or "log-normal"
        "weighting": "none",  # of its loss over time: "none" or "edm"
        "adaptive_power": 1.0,  # of mean flow's weight
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "rho": 7.0,
        "sigma_data": 0.5,
        "hidden": (256, 256, 256),
        "activation": "mish",
        "learning_rate": 3e-4,
        "decay": True,  # whether the learning rate falls to 0 along a half cosine, over num_updates
        "ema": 0.005,
    },
    "critic": {
        "name": "twin_q",
        "num_steps": 2,  # K of the actions it bootstraps from and compares with
        "candidates": 1,  # next actions of which it takes the best
        "samples": 1,  # sampled actions in the baseline of the advantage
        "n_step": 1,  # rewards summed before the bootstrap; 0: to the episode's end
        "expectile": 0.9,
        "ensemble": 2,
        "hidden": (256, 256, 256),
        "activation": "mish",
        "layer_norm": False,
        "learning_rate": 3e-4,
        "ema": 0.005,
        "discount": 0.99,
        # Of |Q|, in units of what any policy's value is within, max |reward| / (1 - discount) but at least 1: a critic
        # whose mean is beyond it has diverged. 10 leaves room for overestimation that comes back.
        "divergence": 10.0,
    },
    "guidance": {"name": "advantage", "eta": 1.0},
    "eval": {
        "num_episodes": 100,  # of each seed, after the last update
        "every": 10_000,
        "progress_episodes": 20,  # of each seed, in the evaluations before
        "num_envs": 25,
        "seed": 0,
        "overlap": "auto",  # with updates: "always", "never", or "auto" where they leave the processor idle
    },
    # Beside metrics.jsonl and metrics.csv, which every run has.
    "log": {
        "tensorboard": False,  # whether to write event files, below tensorboard/
        "wandb": "",  # the project of Weights & Biases to send to; empty: none
    },
}


PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
OVERLAPS = ("auto", "always", "never")


class Range(NamedTuple):
    """The numbers from `low` to `high`, without those in `excluded`."""

    low: float
    high: float = math.inf
    excluded: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and math.isfinite(value) and value not in self.excluded

    def __str__(self) -> str:
        upper = f"at most {self.high:g}" if math.isfinite(self.high) else "finite"
        others = "".join(f", not {value:g}" for value in self.excluded)
        return f"at least {self.low:g}, {upper}{others}"


_COUNT, _NOT_NEGATIVE, _POSITIVE, _RATE = Range(1), Range(0), Range(0, excluded=(0,)), Range(0, 1, excluded=(0,))

RANGES: dict[str, Range] = {
    "seed_offset": Range(0, 2**31 - 1),
    "num_seeds": _COUNT,
    "seeds_at_once": _NOT_NEGATIVE,
    "num_updates": Range(1, 2**31 - 1),
    "curriculum_updates": Range(0, 2**31 - 1),
    "batch_size": _COUNT,
    "max_grad_norm": _POSITIVE,
    "log_every": _COUNT,
    "checkpoint_every": _COUNT,
    "devices": _NOT_NEGATIVE,
    "cpu_devices": _NOT_NEGATIVE,
    "gpu_memory_fraction": _RATE,
    "policy.num_steps": _COUNT,
    "policy.temperature": _NOT_NEGATIVE,
    "policy.lambda_flow": _NOT_NEGATIVE,
    "policy.lambda_consistency": _NOT_NEGATIVE,
    "policy.intervals": _NOT_NEGATIVE,
    "policy.sigma_min": _POSITIVE,
    "policy.sigma_max": _POSITIVE,
    "policy.rho": Range(1),
    "policy.sigma_data": _POSITIVE,
    "policy.adaptive_power": _NOT_NEGATIVE,
    "policy.learning_rate": _RATE,
    "policy.ema": _RATE,
    "critic.num_steps": _COUNT,
    "critic.n_step": _NOT_NEGATIVE,
    "critic.samples": _COUNT,
    "critic.candidates": _COUNT,
    "critic.expectile": Range(0, 1, excluded=(0, 1)),
    "critic.ensemble": _COUNT,
    "critic.learning_rate": _RATE,
    "critic.ema": _RATE,
    "critic.discount": Range(0, 1),
    "critic.divergence": Range(1),
    "guidance.eta": _NOT_NEGATIVE,
    "eval.num_episodes": _COUNT,
    "eval.every": _COUNT,
    "eval.progress_episodes": _COUNT,
    "eval.num_envs": _COUNT,
    "eval.seed": Range(0, 2**31 - 1),
}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings one by one, `("policy.rho", 7.0)`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check(settings: Mapping[str, Any]) -> None:
    """Raises ValueError, naming key, value and what is allowed, for a setting that is missing or out of its range."""
    flat = dict(flatten(settings))
    missing = sorted(name for name, _ in flatten(DEFAULTS) if name not in flat)
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(missing)}")
    for name, allowed in RANGES.items():
        if flat[name] not in allowed:
            raise ValueError(f"{name} = {flat[name]!r} must be {allowed}")
    for name, key in HPARAMS.items():
        values = flat[f"sweep.{name}"]
        wrong = [value for value in values if not _is_number(value) or value not in RANGES[key]]
        if wrong:
            raise ValueError(f"sweep.{name} = {values!r}: {wrong[0]!r} must be a number {RANGES[key]}, as {key} must")
        if len(set(values)) < len(values):
            raise ValueError(f"sweep.{name} = {values!r} names a value twice")
    for name, choices in (("matmul_precision", PRECISIONS), ("eval.overlap", OVERLAPS)):
        if flat[name] not in choices:
            raise ValueError(f"{name} = {flat[name]!r} is not one of {', '.join(choices)}")
    for name in ("policy.hidden", "critic.hidden"):
        if not flat[name] or any(not isinstance(width, int) or width < 1 for width in flat[name]):
            raise ValueError(f"{name} = {flat[name]!r} must be widths of layers, each a whole number from 1")
    if flat["critic.n_step"] != 1 and flat["sweep.discount"]:
        raise ValueError(
            f"sweep.discount = {flat['sweep.discount']!r} cannot go with critic.n_step = {flat['critic.n_step']!r}, "
            "whose returns are summed once with critic.discount; set that, in a run for each value"
        )
    if flat["policy.sigma_min"] >= flat["policy.sigma_max"]:
        raise ValueError(
            f"policy.sigma_min = {flat['policy.sigma_min']!r} must be below policy.sigma_max = "
            f"{flat['policy.sigma_max']!r}"
        )
    for name in ("checkpoint_every", "eval.every"):
        if flat[name] % flat["log_every"]:
            raise ValueError(f"{name} = {flat[name]!r} must be a multiple of log_every = {flat['log_every']!r}")
