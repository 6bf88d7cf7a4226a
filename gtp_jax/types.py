"""The types that all parts share: arrays travel in NamedTuples, and so do pure functions.

Shapes are written with S trials, B examples of a batch, O observation numbers and A action numbers. `*B` is any number
of leading axes. The arguments of functions are positional.
"""

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import chex
import jax
import numpy as np

Array = jax.Array
Data = jax.Array | np.ndarray  # a NumPy array on the host, a JAX array on a device
Params = Any  # a pytree of arrays
Metrics = dict[str, Array]
HParams = Mapping[str, Array]
Key = chex.PRNGKey
DType = jax.typing.DTypeLike


class Batch(NamedTuple):
    """Transitions, float32."""

    obs: Data  # [*B, O]
    action: Data  # [*B, A]
    reward: Data  # [*B]
    discount: Data  # [*B] multiplies gamma: 0 where the episode terminated, 1 elsewhere, time-outs included
    next_obs: Data  # [*B, O]
    subgoal: Data | None = None  # [*B, 2] metres to a later position, or to the goal; for hierarchical policies
    label: Data | None = None  # [*B] the binary optimality label, 1 or -1; for advantage-conditioned policies


class Layout(NamedTuple):
    """Where the parts of an observation [O] stand that a hierarchical policy or a critic of positions reads."""

    position: slice  # of the agent, x and y
    goal_offset: slice  # from the agent to its goal, x and y
    body: slice  # joints and velocities: what does not depend on where the agent is
    heading: slice | None  # cosine and sine of the direction that the agent faces, where the observation has them
    location: tuple[int, ...]  # every number that tells where agent and goal are

    def to_json(self) -> dict[str, list[int] | None]:
        """A JSON object; a slice is [start, stop]."""
        return {
            name: [part.start, part.stop] if isinstance(part, slice) else part and list(part)
            for name, part in self._asdict().items()
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Layout":
        """The layout that `to_json` wrote."""
        *slices, location = (found[name] for name in cls._fields)
        return cls._make((*(each and slice(*each) for each in slices), tuple(location)))


class Velocity(Protocol):
    """The average velocity u(x_t, t, s) = 1/(s - t) * INT_t^s f(x_r, r) dr of a flow map, conditioning closed over.

    u(x, t, t) is the instantaneous field f(x, t). Every loss of a flow takes a velocity, whatever library made its
    network and whatever it is conditioned on.
    """

    def __call__(self, x: Array, t: Array, s: Array, /) -> Array:
        """Maps x [*B, *event] and times t, s [*B] to a velocity shaped like x."""
        ...


class NetworkInit(Protocol):
    def __call__(self, key: Key, /, *inputs: Data) -> Params:
        """Draws parameters for inputs of these shapes; their values play no part."""
        ...


class FlowApply(Protocol):
    def __call__(self, params: Params, obs: Data, x: Data, t: Data, s: Data, /) -> Array:
        """Maps obs [*B, O], noised actions x [*B, A] and times t, s [*B] to [*B, A]."""
        ...


class QApply(Protocol):
    def __call__(self, params: Params, obs: Data, action: Data, /) -> Array:
        """Maps obs [*B, O] and action [*B, A] to the values [E, *B] of an ensemble of E networks."""
        ...


class ValueApply(Protocol):
    def __call__(self, params: Params, obs: Data, /) -> Array:
        """Maps obs [*B, O] to values [*B]."""
        ...


Apply = TypeVar("Apply", FlowApply, QApply, ValueApply)


class Network(NamedTuple, Generic[Apply]):
    """A neural network as two pure functions."""

    init: NetworkInit
    apply: Apply


class Init(Protocol):
    def __call__(self, key: Key, batch: Batch, /) -> Params:
        """Draws the parameters of a policy or a critic for batches of these shapes; the values play no part."""
        ...


class PolicyLoss(Protocol):
    def __call__(
        self,
        params: Params,  # trained
        target_params: Params,  # their exponential average
        key: Key,  # of noise and times
        batch: Batch,  # B transitions
        hparams: HParams,  # scalars by name, such as "lambda_flow"
        step: Array,  # int32, updates done
        /,
    ) -> tuple[Array, Metrics]:
        """Returns the un-reduced loss [B] and scalar metrics, "policy/..."."""
        ...


class PolicySample(Protocol):
    def __call__(
        self,
        params: Params,
        key: Key,  # of the noise
        obs: Array,  # [*B, O]
        num_steps: int,  # K, steps of the sampler
        temperature: Array | float = 1.0,  # scale of the noise; 0 is deterministic
        /,
    ) -> Array:
        """Draws an action [*B, A] inside the bounds for each observation."""
        ...


class Policy(NamedTuple):
    """A policy class as pure functions. `make` of a file in policies/ returns one."""

    init: Init
    loss: PolicyLoss
    sample: PolicySample


class ValueEstimate(NamedTuple):
    """A critic's estimates for a batch, each [B], without gradient."""

    next_value: Array  # of next_obs, the bootstrap of the critic's loss
    advantage: Array  # A(obs, a) of the batch's own action


class CriticEvaluate(Protocol):
    def __call__(
        self,
        params: Params,  # trained
        target_params: Params,  # their exponential average
        batch: Batch,  # B transitions
        next_actions: Array,  # [next_samples, B, A], policy samples at next_obs
        actions: Array,  # [baseline_samples, B, A], policy samples at obs; [0, B, A] where the advantage is not needed
        hparams: HParams,  # scalars by name, such as "discount"
        /,
    ) -> ValueEstimate:
        """Estimates the value of the next observations and the advantage of the actions."""
        ...


class CriticLoss(Protocol):
    def __call__(
        self,
        params: Params,  # trained
        target_params: Params,  # their exponential average
        batch: Batch,  # B transitions
        next_value: Array,  # [B] of `evaluate`
        hparams: HParams,  # scalars by name, such as "discount"
        /,
    ) -> tuple[Array, Metrics]:
        """Returns the un-reduced loss [B] and scalar metrics, "critic/..."."""
        ...


class Critic(NamedTuple):
    """A critic as pure functions. `make` of a file in critics/ returns one."""

    init: Init
    evaluate: CriticEvaluate
    loss: CriticLoss
    q: QApply | None  # None: the critic estimates values of states alone
    next_samples: int  # policy samples at next_obs that `evaluate` needs; the agent draws them
    baseline_samples: int  # policy samples at obs that `evaluate` needs for the advantage


class Weigh(Protocol):
    def __call__(self, advantage: Array, hparams: HParams, /) -> tuple[Array, Metrics]:
        """Maps the advantage [B], zeros without a critic, to weights [B] of the policy's loss and scalar metrics."""
        ...


class Improve(Protocol):
    def __call__(self, key: Key, q: Array, hparams: HParams, /) -> tuple[Array, Metrics]:
        """Maps values q [E, B] of actions that the policy sampled to a loss [B] and scalar metrics.

        The gradient passes through q to the actions.
        """
        ...


class Label(Protocol):
    def __call__(self, advantage: Array, /) -> Array:
        """Maps the advantage [B] to the binary optimality label [B], 1 or -1, without gradient."""
        ...


class Guidance(NamedTuple):
    """How a critic shapes the policy (policy extraction). One that needs no critic is behaviour cloning."""

    weigh: Weigh
    improve: Improve | None  # a term of the policy's loss; None: no such term
    needs_advantage: bool  # whether `weigh` or `label` reads it
    label: Label | None = None  # None: the policy is not conditioned on a label

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
    policy_opt: Params
    critic_opt: Params
    hparams: dict[str, Array]
    key: Key  # the trial's own; never advanced, folded with `step`
    step: Array  # int32, updates done


class AgentInit(Protocol):
    def __call__(self, key: Key, batch: Batch, hparams: HParams, /) -> State:
        """Draws the first state for batches of these shapes, with these scalars by name."""
        ...


class AgentUpdate(Protocol):
    def __call__(self, state: State, batch: Batch, /) -> tuple[State, Metrics]:
        """Trains on B transitions: returns the next state and scalar metrics by name."""
        ...


class Agent(NamedTuple):
    """A learner as three pure functions."""

    init: AgentInit
    update: AgentUpdate
    act: PolicySample
