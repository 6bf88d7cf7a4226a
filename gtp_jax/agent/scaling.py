"""Actions as networks see them: scaled so that their bounds are -1 and 1, whatever units the environment has."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gtp_jax.flow.policy import clip_action
from gtp_jax.types import (
    Agent,
    Array,
    Batch,
    Critic,
    Data,
    HParams,
    Key,
    Metrics,
    Params,
    Policy,
    PolicySample,
    State,
    ValueEstimate,
)


class Scaling(NamedTuple):
    """The map between an environment's actions and scaled ones, column by column.

    The times of a flow map, its `sigma_data` and the first noise are meant for actions of order 1. A column whose
    bounds are equal is 0 when scaled. Bounds of -1 and 1 leave every function as it is, bit for bit.
    """

    low: np.ndarray  # [A], finite
    high: np.ndarray  # [A]

    @classmethod
    def between(cls, low: Data, high: Data) -> "Scaling":
        """The scaling of actions between these bounds [A]."""
        return cls(np.asarray(low, np.float32), np.asarray(high, np.float32))

    @property
    def is_identity(self) -> bool:
        """Whether the environment's actions are scaled ones already."""
        return bool((self.low == -1).all() and (self.high == 1).all())

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The bounds [A] of scaled actions: -1 and 1, or 0 twice."""
        varies = (self.low < self.high).astype(np.float32)
        return -varies, varies

    @property
    def centre(self) -> np.ndarray:
        """Where a scaled 0 lies, [A]."""
        return self.low / 2 + self.high / 2

    @property
    def half(self) -> np.ndarray:
        """The length of a scaled 1, [A]."""
        return np.where(self.low < self.high, self.high / 2 - self.low / 2, np.float32(1))

    def scaled(self, action: Data) -> Array:
        """Scaled actions [*B, A] of the environment's."""
        action = jnp.asarray(action)
        centre, half = (jnp.broadcast_to(column, action.shape) for column in (self.centre, self.half))
        return (action - centre) / half

    def unscaled(self, action: Array) -> Array:
        """The environment's actions [*B, A] of scaled ones, inside its bounds also where these are rounded."""
        centre, half = (jnp.broadcast_to(column, action.shape) for column in (self.centre, self.half))
        return clip_action(centre + half * action, jnp.asarray(self.low), jnp.asarray(self.high))

    def _batch(self, batch: Batch) -> Batch:
        return batch._replace(action=self.scaled(batch.action))

    def sampler(self, sample: PolicySample) -> PolicySample:
        """A sampler of scaled actions as one of the environment's."""

        def unscaled(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
            return self.unscaled(sample(params, key, obs, num_steps, temperature))

        return sample if self.is_identity else unscaled

    def policy(self, policy: Policy) -> Policy:
        """A policy of scaled actions as one of the environment's."""

        def loss(
            params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
        ) -> tuple[Array, Metrics]:
            return policy.loss(params, target_params, key, self._batch(batch), hparams, step)

        return policy if self.is_identity else Policy(policy.init, loss, self.sampler(policy.sample))

    def critic(self, critic: Critic) -> Critic:
        """A critic of scaled actions as one of the environment's."""
        q_scaled = critic.q

        def evaluate(
            params: Params, target_params: Params, batch: Batch, next_actions: Array, actions: Array, hparams: HParams
        ) -> ValueEstimate:
            drawn = self.scaled(next_actions), self.scaled(actions)
            return critic.evaluate(params, target_params, self._batch(batch), *drawn, hparams)

        def loss(
            params: Params, target_params: Params, batch: Batch, next_value: Array, hparams: HParams
        ) -> tuple[Array, Metrics]:
            return critic.loss(params, target_params, self._batch(batch), next_value, hparams)

        def q(params: Params, obs: Data, action: Data) -> Array:
            assert q_scaled is not None
            return q_scaled(params, obs, self.scaled(action))

        if self.is_identity:
            return critic
        return critic._replace(evaluate=evaluate, loss=loss, q=q_scaled and q)

    def agent(self, agent: Agent) -> Agent:
        """An agent of scaled actions as one of the environment's."""

        def update(state: State, batch: Batch) -> tuple[State, Metrics]:
            return agent.update(state, self._batch(batch))

        return agent if self.is_identity else Agent(agent.init, update, self.sampler(agent.act))
