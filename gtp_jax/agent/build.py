"""From settings to a learner: which networks, policy, critic and guidance they mean."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from gtp_jax import critics, policies
from gtp_jax.agent import hierarchy, networks
from gtp_jax.agent.guidance import GUIDANCE, label_conditioned
from gtp_jax.agent.scaling import Scaling
from gtp_jax.agent.update import make_agent
from gtp_jax.config.settings import Settings, hparam_names, is_cloning, uses_labels
from gtp_jax.types import Agent, Array, Critic, Data, Layout, Policy


def time_scale(name: str) -> str:
    """How the network of a policy of this name sees time, a name of `networks.TIME_SCALES`."""
    return getattr(policies.FAMILY[name], "TIME_SCALE", "log")


def _call(make: Callable[..., Any], own: Any, **facts: Any) -> Any:
    """Calls a member's `make` with its own settings and those of the facts that it asks for."""
    asked = inspect.signature(make).parameters
    return make(own, **{name: fact for name, fact in facts.items() if name in asked})


def _member(settings: Settings, low: Data, high: Data, hidden: Sequence[int]) -> Policy:
    """A policy of actions between `low` [A] and `high` [A]."""
    policy = settings.policy
    return _call(
        policies.FAMILY[policy.name].make,
        policy.own,
        network=networks.flow_network(len(low), hidden, policy.activation, time_scale(policy.name)),
        action_low=jnp.asarray(low),
        action_high=jnp.asarray(high),
        curriculum_updates=settings.curriculum_updates or settings.num_updates,
        num_steps=policy.num_steps,
    )


def _unlabelled_policy(settings: Settings, low: Data, high: Data, layout: Layout | None) -> Policy:
    own = settings.policy
    policy = _member(settings, low, high, own.hidden)
    if not own.subgoal_steps:
        return policy
    farthest = np.full(2, hierarchy.FARTHEST, np.float32)
    high_level = _member(settings, -farthest, farthest, own.high_level_hidden)
    layout = _needed(layout, f"policy.subgoal_steps = {own.subgoal_steps}")
    return hierarchy.make(high=high_level, low=policy, layout=layout, encoding=own.subgoal_encoding)


def _needed(layout: Layout | None, setting: str) -> Layout:
    if layout is None:
        raise ValueError(f"{setting} needs observations that tell positions apart, and those of this dataset do not")
    return layout


def build_policy(settings: Settings, action_low: Data, action_high: Data, layout: Layout | None) -> Policy:
    """Builds the policy as it acts, between bounds [A]; an advantage-conditioned one acts with label 1.

    Its network sees actions scaled to [-1, 1]. Raises ValueError for a hierarchical policy without the layout of its
    observations.
    """
    scaling = Scaling.between(action_low, action_high)
    policy = _unlabelled_policy(settings, *scaling.bounds, layout)
    return scaling.policy(label_conditioned(policy) if uses_labels(settings) else policy)


def build_critic(settings: Settings, action_low: Data, action_high: Data, layout: Layout | None) -> Critic:
    """Builds the critic of actions between bounds [A], which its network sees scaled to [-1, 1].

    Raises ValueError for a critic of positions without the layout of its observations.
    """
    return Scaling.between(action_low, action_high).critic(_critic(settings, layout))


def _critic(settings: Settings, layout: Layout | None) -> Critic:
    critic = settings.critic
    shape = (critic.hidden, critic.activation, critic.layer_norm)
    v_network = networks.v_network(*shape)
    if getattr(critic.own, "observation", "all") == "position":
        v_network = networks.of_columns(v_network, _needed(layout, "critic.observation = 'position'").location)
    q_network = networks.q_network(critic.ensemble, *shape)
    return _call(critics.FAMILY[critic.name].make, critic.own, q_network=q_network, v_network=v_network)


def build_agent(
    settings: Settings, action_low: Data, action_high: Data, layout: Layout | None
) -> tuple[Agent, dict[str, Array]]:
    """Builds the agent and the hyperparameters of its state, float32 scalars that may differ between trials.

    Arguments and errors as in `build_policy` and `build_critic`.
    """
    scaling = Scaling.between(action_low, action_high)
    agent, hparams = build_unscaled_agent(settings, *scaling.bounds, layout)
    return scaling.agent(agent), hparams


def build_unscaled_agent(
    settings: Settings, action_low: Data, action_high: Data, layout: Layout | None
) -> tuple[Agent, dict[str, Array]]:
    """Builds the same agent for actions that its networks see as they are; the bounds [A] only limit its samples."""
    cloning, flat = is_cloning(settings), settings.flat()
    agent = make_agent(
        _unlabelled_policy(settings, action_low, action_high, layout),
        None if cloning else _critic(settings, layout),
        GUIDANCE["none" if cloning else settings.guidance.name](),
        num_steps=settings.critic.num_steps,
        relative=settings.guidance.relative,
        anchor=settings.guidance.anchor,
        anchor_steps=settings.guidance.anchor_steps,
        filter_temperature=settings.guidance.filter_temperature,
        max_grad_norm=settings.max_grad_norm,
        decay_updates=settings.num_updates if settings.policy.decay else 0,
    )
    return agent, {name: jnp.float32(flat[key]) for name, key in hparam_names(settings).items()}
