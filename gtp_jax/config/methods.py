"""Named methods as rows of settings on one agent: what a comparison changes, and nothing else.

A row holds the method's published hyperparameters where they were published. What differs from the published code is
the same for all rows: this project's networks, time grids, observations, float32 action losses summed over the action's
numbers, moving averages updated at every step, and one sampled action at evaluation instead of one of 50 drawn by Q.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gtp_jax.config.tasks import TASK_FAMILIES, TASKS, Published, Task
from gtp_jax.names import there_are


def _cloning(policy: str, num_steps: int) -> dict[str, Any]:
    return {"policy.name": policy, "policy.num_steps": num_steps, "policy.temperature": 1.0, "guidance.name": "none"}


def _q_guided(policy: str, task: Task, published: Published | None) -> dict[str, Any]:
    assert published is not None  # `method_refusal` names the tasks without
    return {
        "policy.name": policy,
        "policy.num_steps": published.num_steps,
        "policy.temperature": 1.0,
        "policy.learning_rate": published.learning_rate,
        "critic.name": "twin_q",
        "critic.num_steps": published.num_steps,
        "critic.backup_samples": published.backup_samples,
        "guidance.name": "q",
        "guidance.eta": published.eta,
        "max_grad_norm": published.max_grad_norm,
        "data.reward": TASK_FAMILIES[task.family].q_reward,
    }


def _expectile(policy: str, num_steps: int, task: Task) -> dict[str, Any]:
    """IQL's critic and weights exp(beta A), clipped at 100."""
    return {
        "policy.name": policy,
        "policy.num_steps": num_steps,
        "policy.temperature": 1.0,
        "policy.learning_rate": 3e-4,
        "critic.name": "expectile",
        "critic.expectile": TASK_FAMILIES[task.family].expectile,
        "guidance.name": "unnormalised",
        "guidance.eta": TASK_FAMILIES[task.family].inverse_temperature,
        "data.reward": TASK_FAMILIES[task.family].iql_reward,
    }


def _jump_as_actor(task: Task) -> dict[str, Any]:
    """A Q term on the policy's own jump, held to the averaged policy's path from the same noise.

    The filter carries what it gains into the clone, and so to every number of steps.
    """
    return {
        "policy.num_steps": 1,
        "policy.temperature": 1.0,
        "critic.name": "twin_q",
        "critic.num_steps": 1,
        "critic.n_step": 3,
        "critic.discount": 0.99,
        "critic.layer_norm": True,
        "critic.learning_rate": 1e-3,
        "guidance.name": "q",
        "guidance.eta": 4.0,
        "guidance.relative": True,
        "guidance.anchor": 1.0,
        "guidance.filter_temperature": 0.01,
        "data.reward": TASK_FAMILIES[task.family].iql_reward,
    }


def _monte_carlo(task: Task) -> dict[str, Any]:
    """A critic whose advantage is the Monte Carlo return against a baseline of positions alone."""
    return {
        "critic.name": "value",
        "critic.observation": "position" if task.family == "antmaze" else "all",
        "critic.hidden": (32, 32),
        "critic.n_step": 0,
        "critic.expectile": 0.5,
        "critic.learning_rate": 1e-3,
        "critic.discount": 0.995,
        "data.reward": TASK_FAMILIES[task.family].iql_reward,
    }


SUBGOAL_STEPS = 20  # also the steps of the return that judges a subgoal
HIERARCHY = {
    "policy.subgoal_steps": SUBGOAL_STEPS,
    "policy.subgoal_encoding": "egocentric",
    "data.observation": "maze-egocentric",
}

# Times and weights over them as in the paper (docs/method.md).
PAPER_TIMES = {
    "policy.sigma_max": 80.0,
    "policy.sigma_data": 0.5,
    "policy.sampling": "karras",
    "policy.zero_share": 0.0,
    "policy.consistency_weighting": "none",
}


METHODS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "gtp": lambda task: {},  # the configuration's own defaults
    "gtp-paper": lambda task: {
        **PAPER_TIMES,
        "policy.num_steps": 5,
        "policy.temperature": 1.0,
        "policy.target": "ema",
        "policy.learning_rate": 3e-4,  # not published
        "critic.name": "twin_q",
        "critic.num_steps": 5,
        "critic.n_step": 1,
        "guidance.name": "advantage",
        "guidance.eta": 1.0,  # not published
    },
    # Its numbers were chosen with the paper's times.
    "gtp-q": lambda task: PAPER_TIMES | _jump_as_actor(task),
    "flow-matching-q": lambda task: {"policy.name": "flow_matching"} | _jump_as_actor(task),
    "diffusion-q": lambda task: {"policy.name": "diffusion"} | _jump_as_actor(task),
    "gtp-bc": lambda task: {"guidance.name": "none"},
    "gtp-paper-times": lambda task: PAPER_TIMES | {"guidance.name": "none"},
    # Cloning of the episodes that reached the goal.
    "gtp-success": lambda task: {"guidance.name": "none", "data.episodes": "successful"},
    # Advantage-conditioned (CFGRL at guidance weight 1, arXiv 2505.23458), by the Monte Carlo advantage.
    "gtp-conditioned": lambda task: _monte_carlo(task) | {"guidance.name": "conditioning"},
    # A hierarchical policy (as HIQL's, arXiv 2307.15949) whose high-level policy is advantage-conditioned.
    "gtp-hierarchical": lambda task: (
        _monte_carlo(task) | HIERARCHY | {"guidance.name": "conditioning", "critic.n_step": SUBGOAL_STEPS}
    ),
    "gtp-hierarchical-bc": lambda task: HIERARCHY | {"guidance.name": "none"},
    # Weighted by the Monte Carlo advantage.
    "gtp-mc": lambda task: _monte_carlo(task) | {"guidance.name": "exponential", "guidance.eta": 2.0},
    "d-bc": lambda task: _cloning("vp_diffusion", 5),
    "c-bc": lambda task: _cloning("consistency", 2),
    "fm-bc": lambda task: _cloning("flow_matching", 5),
    "ctm-bc": lambda task: _cloning("ctm", 2),
    "shortcut-bc": lambda task: _cloning("shortcut", 2),
    "mean-flow-bc": lambda task: _cloning("mean_flow", 1),
    "bc": lambda task: _cloning("gaussian", 1),
    "diffusion-ql": lambda task: _q_guided("vp_diffusion", task, task.diffusion_ql),
    "consistency-ac": lambda task: _q_guided("consistency", task, task.consistency_ac),
    "iql": lambda task: _expectile("gaussian", 1, task),
    "iql-flow": lambda task: _expectile("flow_matching", 5, task),
    "awr": lambda task: _cloning("gaussian", 1) | {"guidance.name": "exponential", "guidance.eta": 1.0},
}


PUBLISHED = {"diffusion-ql": "diffusion_ql", "consistency-ac": "consistency_ac"}  # those that need a task's own numbers
HIERARCHICAL = ("gtp-hierarchical", "gtp-hierarchical-bc")  # those that need positions


def method_refusal(method: str, task: Task) -> str:
    """Why a task cannot have a method of METHODS: what it lacks, and the cure; empty where it can."""
    attribute = PUBLISHED.get(method)
    if attribute and getattr(task, attribute) is None:
        there = ", ".join(name for name, each in TASKS.items() if getattr(each, attribute))
        return (
            f"{method} has published hyperparameters for {there}, and none for {task.name!r}; choose a method without, "
            "and set --config.guidance.eta and the others yourself"
        )
    if method in HIERARCHICAL and task.family != "antmaze":
        return f"{method} needs positions in a maze for its subgoals, and {task.name!r} has none; choose another method"
    return ""


def overrides(method: str, task: Task) -> Mapping[str, Any]:
    """The settings, by dotted name, that a method changes for a task.

    Raises:
      ValueError: for a method that is not in METHODS, or for a task without the published hyperparameters or the
        positions that it needs.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; {there_are(method, METHODS)}")
    if refused := method_refusal(method, task):
        raise ValueError(refused)
    return METHODS[method](task)
