"""From a plain dict of settings (settings.DEFAULTS) to an agent."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gtp_jax import critics, networks, policies
from gtp_jax.agent import make_agent
from gtp_jax.flow_map import Schedule
from gtp_jax.guidance import GUIDANCE
from gtp_jax.settings import DEFAULTS
from gtp_jax.types import Agent, Array, Critic, Policy


def names(package) -> tuple[str, ...]:
    """The members of a family: the module names of its package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def _member(package, name: str):
    if name not in names(package):
        family = package.__name__.rpartition(".")[2]
        raise ValueError(f"unknown name {name!r} among {family}; there are {', '.join(names(package))}")
    return importlib.import_module(f"{package.__name__}.{name}")


# Settings of a policy that only some members understand; the others refuse them unless they stand at their default.
_PARTICULAR = (
    *("target", "gap", "tau", "intervals", "teacher", "flow_times"),
    *("solver", "times", "weighting", "adaptive_power", "sigma_data"),
)


def make_policy(settings: Mapping[str, Any], action_low: Array, action_high: Array, curriculum_updates: int) -> Policy:
    """Builds the policy that settings (the part "policy") name, with those of them that its `make` asks for.

    Raises:
      ValueError: for an unknown name, or a setting that the policy has no use for.
    """
    name, module = settings["name"], _member(policies, settings["name"])
    schedule = Schedule(settings["sigma_min"], settings["sigma_max"], settings["rho"])
    time_scale = getattr(module, "TIME_SCALE", "log")
    given = {
        **settings,
        "network": networks.flow_network(len(action_low), settings["hidden"], settings["activation"], time_scale),
        "action_low": jnp.asarray(action_low),
        "action_high": jnp.asarray(action_high),
        "curriculum_updates": curriculum_updates,
        "schedule": schedule,
    }
    asked = inspect.signature(module.make).parameters
    for key in _PARTICULAR:
        if key not in asked and settings[key] != DEFAULTS["policy"][key]:
            raise ValueError(f"policy.{key} = {settings[key]!r} means nothing to policy.name = {name!r}; leave it out")
    return module.make(**{key: value for key, value in given.items() if key in asked})


def make_critic(settings: Mapping[str, Any]) -> Critic:
    """Builds the critic that settings (the part "critic") name."""
    module = _member(critics, settings["name"])
    shape = (settings["hidden"], settings["activation"], settings["layer_norm"])
    q_network = networks.q_network(settings["ensemble"], *shape)
    if settings["name"] == "expectile":
        return module.make(q_network=q_network, v_network=networks.v_network(*shape), expectile=settings["expectile"])
    return module.make(network=q_network, samples=settings["samples"], candidates=settings["candidates"])


def is_cloning(settings: Mapping[str, Any]) -> bool:
    """Whether value shapes nothing, so that no critic is trained: guidance "none", or eta = 0."""
    name, eta = settings["guidance"]["name"], settings["guidance"]["eta"]
    return name == "none" or (eta == 0 and name != "filter")


def describe(settings: Mapping[str, Any]) -> str:
    """The method in one line, with what a reader of its score must know: `gtp, eta = 1, K = 2, temperature 0.5`."""
    policy, guidance = settings["policy"], settings["guidance"]
    if is_cloning(settings):
        parts = [f"{policy['name']}-bc"]
    else:
        parts = [
            policy["name"],
            f"{settings['critic']['name']} critic",
            f"{guidance['name']} eta = {guidance['eta']:g}",
        ]
    parts.append(f"K = {policy['num_steps']}")
    if policy["temperature"] != 1:
        parts.append(f"temperature {policy['temperature']:g}")
    return ", ".join(parts)


def check(settings: Mapping[str, Any]) -> None:
    """Raises what `make` would raise: names and choices are found wrong before any data are touched."""
    make(settings, -np.ones(1, np.float32), np.ones(1, np.float32))


def make(
    settings: Mapping[str, Any], action_low: np.ndarray, action_high: np.ndarray
) -> tuple[Agent, dict[str, Array]]:
    """Builds the agent and the hyperparameters of its state.

    Args:
      settings: complete, like settings.DEFAULTS.
      action_low, action_high: [A] bounds.

    Returns:
      The agent and its hyperparameters, float32 scalars that may differ between seeds.

    Raises:
      ValueError: for a name that no policy, critic or guidance has, or settings that do not go together.
    """
    policy_settings, critic_settings, guidance_settings = (settings[k] for k in ("policy", "critic", "guidance"))
    if guidance_settings["name"] not in GUIDANCE:
        raise ValueError(f"unknown guidance {guidance_settings['name']!r}; there are {', '.join(GUIDANCE)}")
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
    hparams = {
        "eta": guidance_settings["eta"],
        "lambda_flow": policy_settings["lambda_flow"],
        "lambda_consistency": policy_settings["lambda_consistency"],
        "policy_lr": policy_settings["learning_rate"],
        "policy_ema": policy_settings["ema"],
        "critic_lr": critic_settings["learning_rate"],
        "critic_ema": critic_settings["ema"],
        "discount": critic_settings["discount"],
    }
    return agent, {name: jnp.float32(value) for name, value in hparams.items()}
