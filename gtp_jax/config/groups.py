"""The declarations of all settings but those that belong to one policy or critic, which are declared in its file."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gtp_jax import critics, policies
from gtp_jax.declare import (
    COEFFICIENT,
    COUNT,
    ENVS,
    MANY,
    MAX_INT,
    NOT_NEGATIVE,
    RATE,
    UPDATES,
    WIDTHS,
    Range,
    Text,
    setting,
)

MAX_TRIALS = Range(1, 65_536)
WITH_POSITIONS = ("goal-scales", "maze-scales", "maze-egocentric")  # observations in which positions stand apart
ACTIVATION_NAMES = ("mish", "relu", "silu")


class GuidanceFacts(NamedTuple):
    """What a guidance of `agent.guidance.GUIDANCE` uses."""

    eta: bool = True  # guidance.eta, its strength
    label: bool = False  # the binary optimality label
    q_values: bool = False  # the values of sampled actions


GUIDANCE_FACTS = {
    "none": GuidanceFacts(eta=False),
    "advantage": GuidanceFacts(),
    "exponential": GuidanceFacts(),
    "unnormalised": GuidanceFacts(),
    "filter": GuidanceFacts(eta=False),
    "conditioning": GuidanceFacts(eta=False, label=True),
    "q": GuidanceFacts(q_values=True),
}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """How the dataset is read."""

    reward: str = setting(
        "none",
        "Transform of the rewards.",
        choices=("none", "minus-one", "minus-half-times-four", "return-range", "standardise"),
    )
    observation: str = setting(
        "maze-scales",
        'Transform of observations; "auto" is maze-scales for AntMaze, flatten for other dicts, identity for arrays.',
        choices=("auto", "maze-scales", "maze-egocentric", "goal-scales", "identity", "observation", "flatten"),
    )
    standardise: bool = setting(True, "Whether observations are standardised by the data's mean and deviation.")
    episodes: str = setting("all", "Which episodes are used.", choices=("all", "successful"))


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """The policy. `own` holds the settings that only policies of this name have, declared in the policy's file."""

    name: str = setting("gtp", "The policy class.", choices=policies.FAMILY.names, structural=True)
    num_steps: int = setting(5, "Sampling steps K at evaluation.", range=COUNT)
    temperature: float = setting(1.0, "Scale of the sampler's first draw at evaluation.", range=NOT_NEGATIVE)
    hidden: tuple[int, ...] = setting((256, 256, 256), "Widths of the hidden layers.", range=WIDTHS, structural=True)
    activation: str = setting("mish", "Activation of the network.", choices=ACTIVATION_NAMES, structural=True)
    subgoal_steps: int = setting(
        0,
        "How many steps ahead the high-level policy sets a subgoal; 0 for a policy without hierarchy.",
        range=Range(0, 10_000),
        structural=True,
    )
    high_level_hidden: tuple[int, ...] = setting(
        (64, 64), "Widths of the high-level policy's hidden layers.", range=WIDTHS, structural=True
    )
    subgoal_encoding: str = setting(
        "displacement",
        "How the low-level policy observes the subgoal: its displacement, or its direction in the body's own frame.",
        choices=("displacement", "egocentric"),
        structural=True,
    )
    learning_rate: float = setting(3e-4, "Adam's learning rate.", range=RATE, hparam="policy_lr")
    decay: bool = setting(True, "Whether the learning rate falls to 0 along a half cosine over num_updates.")
    ema: float = setting(0.005, "Rate of the parameters' exponential moving average.", range=RATE, hparam="policy_ema")
    own: Any = None


@dataclasses.dataclass(frozen=True)
class CriticSettings:
    """The critic. `own` holds the settings that only critics of this name have, declared in the critic's file."""

    name: str = setting("twin_q", "The critic.", choices=critics.FAMILY.names, structural=True)
    num_steps: int = setting(
        2, "Sampling steps K of the actions that the critic bootstraps from and compares with.", range=COUNT
    )
    n_step: int = setting(
        1, "Rewards summed before the bootstrap; 0 sums to the episode's end.", range=Range(0, 1_000_000)
    )
    ensemble: int = setting(2, "Networks in the ensemble.", range=COUNT, structural=True)
    hidden: tuple[int, ...] = setting((256, 256, 256), "Widths of the hidden layers.", range=WIDTHS, structural=True)
    activation: str = setting("mish", "Activation of the networks.", choices=ACTIVATION_NAMES, structural=True)
    layer_norm: bool = setting(False, "Whether hidden layers are normalised.", structural=True)
    learning_rate: float = setting(3e-4, "Adam's learning rate.", range=RATE, hparam="critic_lr")
    ema: float = setting(0.005, "Rate of the parameters' exponential moving average.", range=RATE, hparam="critic_ema")
    discount: float = setting(0.99, "Discount gamma.", range=Range(0, 1), hparam="discount")
    divergence: float = setting(
        10.0,
        "A critic has diverged where its mean |Q| exceeds this many times max |reward| / (1 - discount), or this many "
        "times 1.",
        range=Range(1, 1e30),
        free=True,
    )
    own: Any = None


@dataclasses.dataclass(frozen=True)
class GuidanceSettings:
    """How value shapes the policy."""

    name: str = setting("advantage", "The policy extraction.", choices=tuple(GUIDANCE_FACTS))
    eta: float = setting(1.0, "Strength of the guidance; 0 clones.", range=NOT_NEGATIVE, hparam="eta")
    relative: bool = setting(
        False,
        "Whether the Q term is measured in units of the policy's own loss, so that one eta serves data whose actions "
        "vary little and data whose actions vary much.",
    )
    anchor: float = setting(
        0.0,
        "Coefficient of the anchor of the Q term: the squared distance of the sampled action from the one to which the "
        "averaged policy takes the same noise in anchor_steps steps.",
        range=COEFFICIENT,
    )
    anchor_steps: int = setting(4, "Sampling steps of the action that the anchor holds to.", range=COUNT)
    filter_temperature: float = setting(
        0.0,
        "Temperature, as a share of the mean |Q|, of the weights by which examples whose actions are worse than the "
        "policy's own count less in its loss; 0 leaves them out.",
        range=NOT_NEGATIVE,
    )


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """Evaluation in the environment."""

    num_episodes: int = setting(
        100, "Episodes of each seed after the last update; 0 trains without evaluating.", range=Range(0, MANY.high)
    )
    every: int = setting(10_000, "Updates between evaluations.", range=UPDATES)
    progress_episodes: int = setting(20, "Episodes of each seed in the evaluations before the last.", range=MANY)
    num_envs: int = setting(25, "Environments of each seed.", range=ENVS)
    seed: int = setting(0, "Seed of the policies' noise.", range=Range(0, MAX_INT))
    overlap: str = setting(
        "auto",
        'Whether evaluations run beside the updates; "auto" where the updates leave the CPU idle.',
        choices=("auto", "always", "never"),
        free=True,
    )


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """Where metrics go beside metrics.jsonl and metrics.csv."""

    tensorboard: bool = setting(False, "Whether to write TensorBoard's event files.", free=True)
    wandb: str = setting(
        "",
        "Project of Weights & Biases to send metrics to; empty for none.",
        text=Text("the name of a project of up to 100 characters, or empty", re.compile(r"[\w. -]{0,100}")),
        free=True,
    )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The fields of `config.settings.Settings`."""

    seed_offset: int = setting(0, "The first seed; the others follow.", range=Range(0, MAX_INT))
    num_seeds: int = setting(4, "How many seeds are trained.", range=MAX_TRIALS)
    seeds_at_once: int = setting(
        0,
        "Trials that a device updates side by side, the others after them, to save memory; 0 for all.",
        range=Range(0, 65_536),
        free=True,
    )
    num_updates: int = setting(40_000, "Updates of each trial.", range=UPDATES, free=True)
    continue_from: str = setting(
        "",
        "Directory of another run, whose last checkpoint this one starts from; empty for none.",
        text=Text("the directory of another run, or empty", re.compile(r"[^\0]{0,4096}")),
    )
    curriculum_updates: int = setting(
        0,
        "Updates over which the time grid grows; 0 for num_updates of the run's first start.",
        range=Range(0, MAX_INT),
    )
    batch_size: int = setting(256, "Transitions in a minibatch.", range=MANY)
    max_grad_norm: float = setting(
        10.0,
        "Global norm at which the gradients of policy and critic are clipped.",
        range=Range(0, 1e30, excluded=(0,)),
    )
    log_every: int = setting(250, "Updates in one dispatch, and between rows of metrics.jsonl.", range=UPDATES)
    checkpoint_every: int = setting(2_500, "Updates between checkpoints.", range=UPDATES)
    devices: int = setting(0, "Devices to train on; 0 for as many as help.", range=Range(0, 65_536), free=True)
    cpu_devices: int = setting(
        0,
        "Devices that the CPU is split into; 0 for what XLA_FLAGS say, or one for each trial, up to the cores.",
        range=Range(0, 256),
        free=True,
    )
    matmul_precision: str = setting(
        "float32", "Precision of matrix products.", choices=("float32", "tensorfloat32", "bfloat16")
    )
    gpu_memory_fraction: float = setting(
        0.75, "Share of a GPU's memory that JAX takes when it starts.", range=RATE, free=True
    )
    dataset: str = setting(
        "gtp/antmaze/umaze-v0",
        "Id of the dataset.",
        text=Text("the id of a dataset, like 'gtp/antmaze/umaze-v0'", re.compile(r"[\w./-]{1,200}")),
    )
    data: DataSettings = DataSettings()
    policy: PolicySettings = PolicySettings()
    critic: CriticSettings = CriticSettings()
    guidance: GuidanceSettings = GuidanceSettings()
    eval: EvalSettings = EvalSettings()
    log: LogSettings = LogSettings()
    sweep: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)  # by hyperparameter
