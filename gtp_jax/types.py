"""The shapes of everything: arrays travel in NamedTuples, and so do pure functions.

Shapes are written with S seeds, B examples of a batch, O observation numbers and A action numbers. `*B` is any number
of leading axes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import chex
import jax

Array = jax.Array
Params = Any
Metrics = dict[str, Array]
HParams = Mapping[str, Array]
Key = chex.PRNGKey
DType = jax.typing.DTypeLike


class Batch(NamedTuple):
    """Transitions, float32. NumPy arrays on the host, JAX arrays on a device.

    `discount` is 0 where the episode terminated and 1 elsewhere, time-outs included: it multiplies gamma.
    """

    obs: Any  # [*B, O]
    action: Any  # [*B, A]
    reward: Any  # [*B]
    discount: Any  # [*B]
    next_obs: Any  # [*B, O]
    subgoal: Any = None  # [*B, 2] the way to where the ant was later, or to its goal, metres; None for one level


class Velocity(Protocol):
    """The average velocity u(x_t, t, s) = 1/(s - t) * INT_t^s f(x_r, r) dr of a flow map, conditioning closed over.

    u(x, t, t) is the instantaneous field f(x, t). Every loss of a flow member takes one of these, whatever library
    made it and whatever it is conditioned on.
    """

    def __call__(self, x: Array, t: Array, s: Array, /) -> Array:
        """Maps x [*B, *event] and times t, s [*B] to a velocity shaped like x."""
        ...


class Network(NamedTuple):
    """A neural network as two pure functions."""

    init: Any  # (key, *inputs) -> params
    apply: Any  # (params, *inputs) -> outputs


class Policy(NamedTuple):
    """A policy class as pure functions. `make()` of a file in policies/ returns one."""

    init: Any  # (key, batch) -> params
    loss: Any  # (params, target_params, key, batch, hparams, step) -> (per_example [B], metrics)
    sample: Any  # (params, key, obs [*B, O], num_steps, temperature) -> action [*B, A] inside the bounds


class Evaluation(NamedTuple):
    """What a critic says of a batch, each [B], without gradient."""

    next_value: Array  # of next_obs, the bootstrap of the critic's loss
    advantage: Array  # A(obs, a) of the batch's own action


class Critic(NamedTuple):
    """A critic as pure functions. `make()` of a file in critics/ returns one.

    The agent draws the policy samples that a critic asks for, [n, B, A], in one chain and hands them to `evaluate`.
    """

    init: Any  # (key, batch) -> params
    evaluate: Any  # (params, target_params, batch, next_actions or None, actions or None, hparams) -> Evaluation
    loss: Any  # (params, target_params, batch, next_value [B], hparams) -> (per_example [B], metrics)
    q: Any  # (params, obs [*B, O], action [*B, A]) -> [E, *B] for an ensemble of E; None: it values states alone
    next_samples: int  # policy samples at next_obs that `evaluate` needs
    samples: int  # policy samples at obs that `evaluate` needs for the advantage


class Guidance(NamedTuple):
    """How value shapes the policy. A guidance that asks for nothing of a critic is behaviour cloning."""

    weigh: Any  # (advantage [B], hparams) -> (weights [B] of the policy's loss, metrics)
    improve: Any  # (key, q [E, B] of sampled actions, hparams) -> (extra loss [B], metrics), or None
    needs_advantage: bool  # whether `weigh` or `label` looks at it
    label: Any = None  # advantage [B] -> what the policy is told of each example [B]; None: nothing

    @property
    def needs_critic(self) -> bool:
        """Whether a critic has to be trained."""
        return self.needs_advantage or self.improve is not None


class State(NamedTuple):
    """All that changes in training: arrays and keys only, so that it can be vmapped, donated and saved."""

    policy: Params
    policy_ema: Params
    critic: Params
    critic_ema: Params
    policy_opt: Any
    critic_opt: Any
    hparams: dict[str, Array]
    key: Key  # the seed's own; never advanced, folded with `step`
    step: Array  # int32 updates done


class Agent(NamedTuple):
    """A learner as three pure functions."""

    init: Any  # (key, batch, hparams) -> State
    update: Any  # (state, batch) -> (state, metrics)
    act: Any  # (policy_params, key, obs [*B, O], num_steps, temperature) -> action [*B, A]
