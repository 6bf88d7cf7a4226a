"""Every setting of a run: its default, and what it may be. Plain data, so that it is known before JAX starts."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gtp_jax.config.ranges import MAX_DEPTH, MAX_SWEPT, MOST, RANGES, TEXTS, WIDTH, choices
from gtp_jax.names import nearest

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

# Observations in which the ant's and the goal's places stand apart.
WITH_PLACE = ("goal-scales", "maze-scales", "maze-egocentric")

DEFAULTS: dict[str, Any] = {
    "seed_offset": 0,  # the first seed's number; the others follow
    "num_seeds": 4,
    "seeds_at_once": 0,  # how many a device updates side by side, the others after them, for less memory; 0: all
    "sweep": dict.fromkeys(HPARAMS, ()),  # values to train with in place of the one setting, all combinations
    "num_updates": 40_000,
    "continue_from": "",  # directory of another run, whose last checkpoint this one goes on from
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
    "data": {"reward": "none", "observation": "maze-scales", "standardise": True, "episodes": "all"},
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
        "subgoal_steps": 0,  # how far ahead an upper policy says where to be, and this one goes there; 0: one level
        "subgoal_hidden": (64, 64),  # the upper policy's `hidden`
        "subgoal_way": "vector",  # what this one sees of the way: "vector", "direction", or "bearing" from its heading
        "learning_rate": 3e-4,
        "decay": True,  # whether the learning rate falls to 0 along a half cosine, over num_updates
        "ema": 0.005,
    },
    "critic": {
        "name": "twin_q",
        "observes": "all",  # what the values of states are of: "all", or the "place" of ant and goal without the body
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


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings one by one, `("policy.rho", 7.0)`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


_DEFAULT = dict(flatten(DEFAULTS))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)


def allowed(name: str) -> str:
    """What a setting may be, in words; `name` is dotted, like "policy.rho"."""
    default = _DEFAULT[name]
    if choices(name):
        return f"one of {', '.join(choices(name))}"
    if name.startswith("sweep."):
        return f"up to {MAX_SWEPT} values, each a number {RANGES[HPARAMS[name.removeprefix('sweep.')]]}"
    if isinstance(default, tuple):
        return f"the widths of at most {MAX_DEPTH} layers, each a whole number {WIDTH}"
    if isinstance(default, bool):
        return "True or False"
    if isinstance(default, str):
        return TEXTS[name][0]
    return f"a {'whole ' if _is_whole(default) else ''}number {RANGES[name]}"


def _fits(name: str, value: Any) -> bool:
    default = _DEFAULT[name]
    if choices(name):
        return isinstance(value, str) and value in choices(name)
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and 1 <= len(value) <= MAX_DEPTH and all(map(_is_width, value))
    if isinstance(default, str):
        return isinstance(value, str) and TEXTS[name][1].fullmatch(value) is not None
    if isinstance(default, bool):
        return isinstance(value, bool)
    return (_is_whole if _is_whole(default) else _is_number)(value) and value in RANGES[name]


def _is_width(value: Any) -> bool:
    return _is_whole(value) and value in WIDTH


def shown(value: Any) -> str:
    """The repr of a value that somebody set, not longer than a line takes."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out integers of more than some thousand digits
        text = f"a {type(value).__name__} too long to write out"
    return " ".join((text if len(text) <= 100 else f"{text[:80]}...").split())


def unknown(name: str) -> str:
    """The error for a setting that there is not, with the nearest that there is."""
    members = [key for key in _DEFAULT if key.startswith(f"{name}.")]
    if members:
        return f"{name} is a group of settings: {', '.join(members)}"
    full = {key.rpartition(".")[2]: key for key in reversed(_DEFAULT)} | {key: key for key in _DEFAULT}
    near = nearest(name, full)
    return f"there is no setting {shown(name)}" + (f"; did you mean {full[near]}?" if near else "")


def completed(settings: Any, like: Mapping[str, Any] = DEFAULTS) -> Any:
    """Settings read from JSON, with those that a later version added at their defaults, as JSON holds them."""
    if not isinstance(settings, Mapping):
        return settings
    added = {
        key: completed(settings.get(key, {}), default)
        if isinstance(default, Mapping)
        else settings.get(key, list(default) if isinstance(default, tuple) else default)
        for key, default in like.items()
    }
    return {**settings, **added}


def check_names(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where a setting is missing, or where one is there that nothing reads."""
    missing = _missing(settings, DEFAULTS, "")
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(sorted(missing))}")


def _missing(settings: Any, like: Mapping[str, Any], prefix: str) -> list[str]:
    """The names in `like` that `settings` lack. Raises ValueError for names that `like` lacks."""
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"{prefix[:-1] or 'the configuration'} = {shown(settings)} must be a group of settings: {', '.join(like)}"
        )
    for key in settings:
        if key not in like:
            raise ValueError(unknown(f"{prefix}{key}"))
    missing = []
    for key, default in like.items():
        name = prefix + key
        if isinstance(default, Mapping):
            missing += _missing(settings.get(key, {}), default, f"{name}.")
        elif key not in settings:
            missing.append(name)
        elif isinstance(settings[key], Mapping):
            raise ValueError(refusal(name, settings[key]))
    return missing


def check(settings: Mapping[str, Any]) -> None:
    """Raises ValueError, naming key, value and what is allowed, for a setting that is missing, unknown or out of range.

    Looks at nothing but the settings: no data, no devices, no JAX.
    """
    check_names(settings)
    flat = dict(flatten(settings))
    for name in _DEFAULT:
        if name.startswith("sweep."):
            _check_sweep(name, flat[name])
        elif not _fits(name, flat[name]):
            raise ValueError(refusal(name, flat[name]))
    if flat["critic.n_step"] != 1 and flat["sweep.discount"]:
        raise ValueError(
            f"sweep.discount = {flat['sweep.discount']!r} cannot go with critic.n_step = {flat['critic.n_step']!r}, "
            "whose returns are summed once with critic.discount; set that, in a run for each value"
        )
    for name, without in (("critic.observes", "all"), ("policy.subgoal_steps", 0)):
        if flat[name] != without and flat["data.observation"] not in WITH_PLACE:
            raise ValueError(
                f"{name} = {flat[name]!r} needs data.observation = {' or '.join(map(repr, WITH_PLACE))}, and it is "
                f"{flat['data.observation']!r}; else set {name} = {without!r}"
            )
    for name in ("policy.subgoal_hidden", "policy.subgoal_way"):
        value = tuple(flat[name]) if isinstance(flat[name], list) else flat[name]
        if not flat["policy.subgoal_steps"] and value != _DEFAULT[name]:
            raise ValueError(
                f"{name} = {value!r} means nothing to policy.subgoal_steps = 0; set {name} = {_DEFAULT[name]!r}"
            )
    way, observation = flat["policy.subgoal_way"], flat["data.observation"]
    if flat["policy.subgoal_steps"] and (way == "bearing") != (observation == "maze-egocentric"):
        raise ValueError(
            f"policy.subgoal_way = {way!r} cannot go with data.observation = {observation!r}; set policy.subgoal_way = "
            "'bearing' with data.observation = 'maze-egocentric', or 'vector' or 'direction' with another observation"
        )
    if flat["policy.sigma_min"] >= flat["policy.sigma_max"]:
        raise ValueError(
            f"policy.sigma_min = {flat['policy.sigma_min']!r} must be below policy.sigma_max = "
            f"{flat['policy.sigma_max']!r}"
        )
    for name in ("checkpoint_every", "eval.every"):
        if flat[name] % flat["log_every"]:
            raise ValueError(f"{name} = {flat[name]!r} must be a multiple of log_every = {flat['log_every']!r}")
    if flat["seed_offset"] + flat["num_seeds"] - 1 > MOST:
        raise ValueError(
            f"seed_offset = {flat['seed_offset']}: with num_seeds = {flat['num_seeds']} it must be at most "
            f"{MOST + 1 - flat['num_seeds']}"
        )
    trainings = flat["num_seeds"] * math.prod(len(flat[f"sweep.{name}"]) or 1 for name in HPARAMS)
    if trainings not in RANGES["num_seeds"]:
        raise ValueError(
            f"num_seeds = {flat['num_seeds']}, times what is swept, are {trainings} trainings; must be "
            f"{RANGES['num_seeds']}"
        )
    if flat["devices"] and trainings % flat["devices"]:
        raise ValueError(
            f"devices = {flat['devices']} must divide the {trainings} trainings (num_seeds = {flat['num_seeds']}, "
            "times what is swept)"
        )


def refusal(name: str, value: Any) -> str:
    """The error for a setting's bad value: key, value, what is allowed, and the nearest of it where that is a word."""
    near = nearest(value, choices(name))
    return f"{name} = {shown(value)} must be {allowed(name)}" + (f"; did you mean {near!r}?" if near else "")


def _check_sweep(name: str, values: Any) -> None:
    key = HPARAMS[name.removeprefix("sweep.")]
    if not isinstance(values, tuple | list) or len(values) > MAX_SWEPT:
        raise ValueError(f"{name} = {shown(values)} must be {allowed(name)}, as {key} must")
    for value in values:
        if not _is_number(value) or value not in RANGES[key]:
            raise ValueError(f"{name} = {shown(values)}: {shown(value)} must be a number {RANGES[key]}, as {key} must")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} = {shown(values)} names a value twice")


def is_told(settings: Mapping[str, Any]) -> bool:
    """Whether the policy sees one number more than the observation: what its guidance tells it."""
    return not is_cloning(settings) and settings["guidance"]["name"] in LABELLING


LABELLING = ("condition",)  # guidance that labels examples as better or not
WITHOUT_ETA = ("filter", "condition")  # guidance that has no strength to set


def is_cloning(settings: Mapping[str, Any]) -> bool:
    """Whether value shapes nothing, so that no critic is trained: guidance "none", or eta = 0 wherever it is swept."""
    name, eta = settings["guidance"]["name"], settings["guidance"]["eta"]
    return name == "none" or (not any(settings["sweep"]["eta"] or (eta,)) and name not in WITHOUT_ETA)


def describe(settings: Mapping[str, Any]) -> str:
    """The method in one line, with what a reader of its score must know: `gtp, eta = 1, K = 2, temperature 0.5`."""
    policy, guidance = settings["policy"], settings["guidance"]
    steps, way = policy["subgoal_steps"], policy["subgoal_way"]
    ahead = [f"subgoals {steps} steps ahead by {way}"] if steps else []
    if is_cloning(settings):
        parts = [f"{policy['name']}-bc", *ahead]
    else:
        parts = [
            policy["name"],
            *ahead,
            f"{settings['critic']['name']} critic",
            guidance["name"]
            + ("" if settings["sweep"]["eta"] or guidance["name"] in WITHOUT_ETA else f" eta = {guidance['eta']:g}"),
        ]
    parts.append(f"K = {policy['num_steps']}")
    if policy["temperature"] != 1:
        parts.append(f"temperature {policy['temperature']:g}")
    return ", ".join(parts)
