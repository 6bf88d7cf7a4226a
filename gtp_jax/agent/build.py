"""From settings to a learner: which networks, policy, critic and guidance they mean."""

import inspect
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from gtp_jax import critics, policies
from gtp_jax.agent import hierarchy, networks
from gtp_jax.agent.guidance import GUIDANCE, label_conditioned
from gtp_jax.agent.update import make_agent
from gtp_jax.config.settings import Settings, hparam_names, is_cloning, uses_labels
from gtp_jax.types import Agent, Array, Critic, Layout, Policy


def time_scale(name: str) -> str:
    """How the network of a policy of this name sees time, a name of `networks.TIME_SCALES`."""
    return getattr(policies.FAMILY[name], "TIME_SCALE", "log")


def _member(settings: Settings, low: Array, high: Array, hidden: Sequence[int]) -> Policy:
    """A policy of actions between `low` [A] and `high` [A]."""
    policy = settings.policy
    make = policies.FAMILY[policy.name].make
    facts: dict[str, Any] = {
        "network": networks.flow_network(len(low), hidden, policy.activation, time_scale(policy.name)),
        "action_low": jnp.asarray(low),
        "action_high": jnp.asarray(high),
        "curriculum_updates": settings.curriculum_updates or settings.num_updates,
        "num_steps": policy.num_steps,
    }
    asked = inspect.signature(make).parameters
    return make(policy.own, **{name: fact for name, fact in facts.items() if name in asked})


def _unlabelled_policy(settings: Settings, low: Array, high: Array, layout: Layout | None) -> Policy:
    policy = _member(settings, low, high, settings.policy.hidden)
    if not settings.policy.subgoal_steps:
        return policy
    farthest = np.full(2, hierarchy.FARTHEST, np.float32)
    high_level = _member(settings, -farthest, farthest, settings.policy.high_level_hidden)
    layout = _needed(layout, f"policy.subgoal_steps = {settings.policy.subgoal_steps}")
    return hierarchy.make(high=high_level, low=policy, layout=layout, encoding=settings.policy.subgoal_encoding)


def _needed(layout: Layout | None, setting: str) -> Layout:
    if layout is None:
        raise ValueError(f"{setting} needs observations that tell positions apart, and those of this dataset do not")
    return layout


def build_policy(settings: Settings, action_low: Array, action_high: Array, layout: Layout | None) -> Policy:
    """Builds the policy as it acts; an advantage-conditioned one acts with label 1.

    Args:
      settings: of a run.
      action_low: [A] lower bounds.
      action_high: [A] upper bounds.
      layout: of the observations; only a hierarchical policy needs one.

    Raises:
      ValueError: for a hierarchical policy without a layout.
    """
    policy = _unlabelled_policy(settings, action_low, action_high, layout)
    return label_conditioned(policy) if uses_labels(settings) else policy


def build_critic(settings: Settings, layout: Layout | None) -> Critic:
    """Builds the critic; arguments and errors as in `build_policy`."""
    critic = settings.critic
    shape = (critic.hidden, critic.activation, critic.layer_norm)
    v_network = networks.v_network(*shape)
    if getattr(critic.own, "observation", "all") == "position":
        v_network = networks.of_columns(v_network, _needed(layout, "critic.observation = 'position'").location)
    given = {"q_network": networks.q_network(critic.ensemble, *shape), "v_network": v_network}
    make = critics.FAMILY[critic.name].make
    asked = inspect.signature(make).parameters
    return make(critic.own, **{name: network for name, network in given.items() if name in asked})


def build_agent(
    settings: Settings, action_low: Array, action_high: Array, layout: Layout | None
) -> tuple[Agent, dict[str, Array]]:
    """Builds the agent and the hyperparameters of its state, float32 scalars that may differ between trials.

    Arguments and errors as in `build_policy`.
    """
    cloning, flat = is_cloning(settings), settings.flat()
    agent = make_agent(
        _unlabelled_policy(settings, action_low, action_high, layout),
        None if cloning else build_critic(settings, layout),
        GUIDANCE["none" if cloning else settings.guidance.name](),
        num_steps=settings.critic.num_steps,
        max_grad_norm=settings.max_grad_norm,
        decay_updates=settings.num_updates if settings.policy.decay else 0,
    )
    return agent, {name: jnp.float32(flat[key]) for name, key in hparam_names(settings).items()}
