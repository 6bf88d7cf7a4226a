"""From a plain dict of settings (settings.DEFAULTS) to an agent."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import critics, policies
from gtp_jax.agent import hierarchy, networks
from gtp_jax.agent.guidance import GUIDANCE, conditioned
from gtp_jax.agent.update import make_agent
from gtp_jax.config.settings import DEFAULTS, HPARAMS, WITHOUT_ETA, describe, flatten, is_cloning, is_told
from gtp_jax.config.settings import check as check_settings
from gtp_jax.datasets.transforms import BODY, HEADING, PLACE
from gtp_jax.flow.times import Schedule
from gtp_jax.names import members as names
from gtp_jax.names import there_are
from gtp_jax.types import Agent, Array, Batch, Critic, Policy


def _member(package, name: str):
    if name not in names(package):
        family = package.__name__.rpartition(".")[2]
        raise ValueError(f"unknown name {name!r} among {family}; {there_are(name, names(package))}")
    return importlib.import_module(f"{package.__name__}.{name}")


# Settings that only some members understand; the others refuse them unless they stand at their default.
_PARTICULAR = {
    "policy": (
        *("target", "gap", "tau", "intervals", "teacher", "flow_times"),
        *("solver", "times", "weighting", "adaptive_power", "sigma_data"),
    ),
    "critic": ("expectile", "samples", "candidates", "observes"),
}
_SERVES = {"observes": "v_network"}  # the argument of `make` that a setting is for, where it is not its own


def _make_member(package, part: str, settings: Mapping[str, Any], given: Mapping[str, Any]):
    """Calls the member's `make` with those of the given arguments and settings that it asks for."""
    module = _member(package, settings["name"])
    asked = inspect.signature(module.make).parameters
    for key in _PARTICULAR[part]:
        if _SERVES.get(key, key) not in asked and settings[key] != DEFAULTS[part][key]:
            raise ValueError(
                f"{part}.{key} = {settings[key]!r} means nothing to {part}.name = {settings['name']!r}; leave it out"
            )
    return module.make(**{key: value for key, value in {**settings, **given}.items() if key in asked})


def time_scale(name: str) -> str:
    """How a policy's network sees time, a name of `networks.TIME_SCALES`."""
    return getattr(_member(policies, name), "TIME_SCALE", "log")


def make_policy(settings: Mapping[str, Any], action_low: Array, action_high: Array, curriculum_updates: int) -> Policy:
    """Builds the policy that settings (the part "policy") name, with those of them that its `make` asks for.

    With `subgoal_steps` it has two levels, both of that name (hierarchy.py).

    Raises:
      ValueError: for an unknown name, or a setting that the policy has no use for.
    """
    scale = time_scale(settings["name"])

    def member(low: Array, high: Array, hidden: Sequence[int]) -> Policy:
        given = {
            "network": networks.flow_network(len(low), hidden, settings["activation"], scale),
            "action_low": jnp.asarray(low),
            "action_high": jnp.asarray(high),
            "curriculum_updates": curriculum_updates,
            "schedule": Schedule(settings["sigma_min"], settings["sigma_max"], settings["rho"]),
        }
        return _make_member(policies, "policy", settings, given)

    policy = member(action_low, action_high, settings["hidden"])
    if not settings["subgoal_steps"]:
        return policy
    farthest = np.full(2, hierarchy.FARTHEST, np.float32)
    upper = member(-farthest, farthest, settings["subgoal_hidden"])
    return hierarchy.make(upper=upper, lower=policy, body=BODY, heading=HEADING, lower_sees=settings["subgoal_way"])


def acting_policy(settings: Mapping[str, Any], action_low: Array, action_high: Array) -> Policy:
    """The policy that complete settings name, as it acts: one that its guidance tells of examples is told the best."""
    policy = make_policy(settings["policy"], action_low, action_high, settings["curriculum_updates"])
    return conditioned(policy) if is_told(settings) else policy


def make_critic(settings: Mapping[str, Any]) -> Critic:
    """Builds the critic that settings (the part "critic") name, likewise."""
    shape = (settings["hidden"], settings["activation"], settings["layer_norm"])
    v_network = networks.v_network(*shape)
    if settings["observes"] == "place":
        v_network = networks.of_columns(v_network, PLACE)
    given = {"q_network": networks.q_network(settings["ensemble"], *shape), "v_network": v_network}
    return _make_member(critics, "critic", settings, given)


class _Read(dict):
    """Hyperparameters that remember which of them were read."""

    def __init__(self, values: Mapping[str, Any]):
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


def check(settings: Mapping[str, Any]) -> None:
    """Raises what making, updating and sampling would raise, before any data are touched: traces them, runs nothing.

    A term's coefficient that the policy's loss never reads is refused, too, unless it stands at its default, and so are
    the sweep of a hyperparameter that no update reads, and eta = 0, which would be cloning, where guidance has no eta.
    """
    guidance = settings["guidance"]
    if guidance["name"] in WITHOUT_ETA and guidance["eta"] == 0:
        raise ValueError(
            f"guidance.eta = {guidance['eta']!r} means nothing to guidance.name = {guidance['name']!r}; to clone, set "
            "guidance.name = 'none'"
        )
    bound = np.ones(1, np.float32)
    agent, hparams = make(settings, -bound, bound)
    read = _Read(hparams)
    # Observations as wide as the widest whose columns are addressed by number.
    seen, rows, scalars = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, HEADING.stop), (2, 1), (2,)))
    batch = Batch(seen, rows, scalars, scalars, seen, jax.ShapeDtypeStruct((2, 2), jnp.float32))

    def trace(key, batch):
        state, _ = agent.update(agent.init(key, batch, hparams)._replace(hparams=read), batch)
        return agent.act(state.policy, key, batch.obs, settings["policy"]["num_steps"], 1.0)

    jax.eval_shape(trace, jax.random.key(0), batch)
    for name in ("lambda_flow", "lambda_consistency"):
        if name not in read.names and settings["policy"][name] != DEFAULTS["policy"][name]:
            raise ValueError(
                f"policy.{name} = {settings['policy'][name]!r} means nothing to policy.name = "
                f"{settings['policy']['name']!r}; leave it out"
            )
    for name, values in settings["sweep"].items():
        if values and name not in read.names:
            raise ValueError(f"sweep.{name} = {values!r} means nothing to {describe(settings)}; leave it out")


def make(
    settings: Mapping[str, Any], action_low: np.ndarray, action_high: np.ndarray
) -> tuple[Agent, dict[str, Array]]:
    """Builds the agent and the hyperparameters of its state.

    Args:
      settings: complete, like settings.DEFAULTS.
      action_low: [A] lower bounds.
      action_high: [A] upper bounds.

    Returns:
      The agent and its hyperparameters, float32 scalars that may differ between seeds.

    Raises:
      ValueError: for what settings.check refuses, or settings that do not go together.
    """
    check_settings(settings)
    policy_settings, critic_settings, guidance_settings = (settings[k] for k in ("policy", "critic", "guidance"))
    cloning = is_cloning(settings)
    agent = make_agent(
        make_policy(
            policy_settings, action_low, action_high, settings["curriculum_updates"] or settings["num_updates"]
        ),
        None if cloning else make_critic(critic_settings),
        GUIDANCE["none" if cloning else guidance_settings["name"]](),
        num_steps=critic_settings["num_steps"],
        max_grad_norm=settings["max_grad_norm"],
        decay_updates=settings["num_updates"] if policy_settings["decay"] else 0,
    )
    flat = dict(flatten(settings))
    return agent, {name: jnp.float32(flat[key]) for name, key in HPARAMS.items()}
