"""Named methods as rows of settings on one agent: what a comparison changes, and nothing else.

A row holds the method's published hyperparameters where they were published. What differs from the published code is
the same for all rows: this project's networks, time grids, observations, float32 action losses summed over the action's
numbers, running averages updated at every step, and one sampled action at evaluation instead of one of 50 drawn by Q.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gtp_jax.names import there_are


class Published(NamedTuple):
    """What the authors of a method tuned for each task."""

    learning_rate: float
    eta: float
    candidates: int  # next actions of which the critic takes the best
    max_grad_norm: float


# arXiv 2208.06193, table 6 and the authors' code.
DIFFUSION_QL = {
    "umaze": Published(3e-4, 0.5, 1, 2.0),
    "umaze-diverse": Published(3e-4, 2.0, 10, 3.0),
    "medium-play": Published(1e-3, 2.0, 10, 2.0),
    "medium-diverse": Published(3e-4, 3.0, 10, 1.0),
    "large-play": Published(3e-4, 4.5, 10, 10.0),
    "large-diverse": Published(3e-4, 3.5, 10, 7.0),
}
# arXiv 2309.16984, table 6 and the authors' code. Its eta weighs a consistency loss scaled in another way than ours.
CONSISTENCY_AC = {
    "umaze": Published(3e-4, 0.01, 1, 2.0),
    "umaze-diverse": Published(3e-4, 0.01, 10, 3.0),
    "medium-play": Published(1e-3, 0.01, 10, 2.0),
    "medium-diverse": Published(3e-4, 0.01, 10, 1.0),
    "large-play": Published(3e-4, 4.5, 10, 10.0),
    "large-diverse": Published(3e-4, 3.5, 10, 2.0),
}


def _cloning(policy: str, num_steps: int) -> dict[str, Any]:
    return {"policy.name": policy, "policy.num_steps": num_steps, "policy.temperature": 1.0, "guidance.name": "none"}


def _q_guided(policy: str, num_steps: int, published: Published) -> dict[str, Any]:
    return {
        "policy.name": policy,
        "policy.num_steps": num_steps,
        "policy.temperature": 1.0,
        "policy.learning_rate": published.learning_rate,
        "critic.name": "twin_q",
        "critic.num_steps": num_steps,
        "critic.candidates": published.candidates,
        "guidance.name": "q",
        "guidance.eta": published.eta,
        "max_grad_norm": published.max_grad_norm,
        "data.reward": "minus-half-times-four",
    }


def _expectile(policy: str, num_steps: int) -> dict[str, Any]:
    """IQL's critic and weights for AntMaze: expectile 0.9, exp(10 A) clipped at 100, rewards 0 and -1 (table 1)."""
    return {
        "policy.name": policy,
        "policy.num_steps": num_steps,
        "policy.temperature": 1.0,
        "policy.learning_rate": 3e-4,
        "critic.name": "expectile",
        "critic.expectile": 0.9,
        "guidance.name": "unnormalised",
        "guidance.eta": 10.0,
        "data.reward": "minus-one",
    }


METHODS: dict[str, Callable[[str], dict[str, Any]]] = {
    "gtp": lambda task: {},  # the configuration's own defaults
    "gtp-paper": lambda task: {
        "policy.num_steps": 5,
        "policy.temperature": 1.0,
        "policy.target": "ema",
        "policy.learning_rate": 3e-4,  # not published
        "critic.num_steps": 5,
        "guidance.eta": 1.0,  # not published
    },
    "gtp-bc": lambda task: {"guidance.name": "none"},
    # Clones the episodes that reached the goal, all of them and no others: no critic.
    "gtp-success": lambda task: {"guidance.name": "none", "data.episodes": "successful"},
    # Weighs by what followed, to the episode's end, against the mean of what follows in such places: docs/guidance.md.
    "gtp-outcome": lambda task: {
        "critic.name": "value",
        "critic.observes": "place",
        "critic.hidden": (32, 32),
        "critic.n_step": 0,
        "critic.expectile": 0.5,
        "critic.learning_rate": 1e-3,
        "critic.discount": 0.995,
        "data.reward": "minus-one",
        "guidance.name": "exponential",
        "guidance.eta": 2.0,
    },
    "d-bc": lambda task: _cloning("vp_diffusion", 5),
    "c-bc": lambda task: _cloning("consistency", 2),
    "fm-bc": lambda task: _cloning("flow_matching", 5),
    "ctm-bc": lambda task: _cloning("ctm", 2),
    "shortcut-bc": lambda task: _cloning("shortcut", 2),
    "mean-flow-bc": lambda task: _cloning("mean_flow", 1),
    "bc": lambda task: _cloning("gaussian", 1),
    "diffusion-ql": lambda task: _q_guided("vp_diffusion", 5, DIFFUSION_QL[task]),
    "consistency-ac": lambda task: _q_guided("consistency", 2, CONSISTENCY_AC[task]),
    "iql": lambda task: _expectile("gaussian", 1),
    "iql-flow": lambda task: _expectile("flow_matching", 5),
    "awr": lambda task: _cloning("gaussian", 1) | {"guidance.name": "exponential", "guidance.eta": 1.0},
}


def overrides(method: str, task: str) -> Mapping[str, Any]:
    """The settings, by dotted name, that a method changes for an AntMaze task.

    Raises:
      ValueError: for a method that is not in METHODS, or a task without published hyperparameters.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; {there_are(method, METHODS)}")
    try:
        return METHODS[method](task)
    except KeyError:
        raise ValueError(
            f"{method} has published hyperparameters for {', '.join(DIFFUSION_QL)}, and none for {task!r}; "
            "choose a method without, and set --config.guidance.eta and the others yourself"
        ) from None
