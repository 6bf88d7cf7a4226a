"""Hierarchical policies: the high-level policy sets a subgoal, the low-level policy acts towards it.

The high-level policy learns the offset to where the agent of the data was some steps later, the low-level policy the
actions that led there, as in HIQL (arXiv 2307.15949), without its weights. Each observes only what it needs, so that
it generalises over the rest: the high-level policy positions and the optimality label, but not the body; the low-level
policy the body and the subgoal, but no position, and with the egocentric encoding no heading either.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.types import Array, Batch, HParams, Key, Layout, Metrics, Params, Policy

UNIT = 4.0  # metres, a cell of the mazes: in it the offsets of 20 steps have about the spread that actions have
FARTHEST = 100.0  # units along each axis, the bound of a subgoal: a maze has at most so many cells
SHORTEST = 1e-6  # units: an offset below it has no direction to speak of


def direction(offset: Array) -> Array:
    """The unit vectors [*B, 2] of offsets [*B, 2]; of an offset below SHORTEST a shorter vector, and finite."""
    return offset * jax.lax.rsqrt(jnp.maximum(jnp.sum(offset**2, axis=-1, keepdims=True), SHORTEST**2))


def egocentric(offset: Array, heading: Array) -> Array:
    """The directions [*B, 2] of offsets [*B, 2] in the frame of an agent with heading [*B, 2]: ahead, and to the left.

    A unit direction keeps the agent moving where the offset is near zero, as it is where there are no data.
    """
    (x, y), (cos, sin) = (jnp.moveaxis(each, -1, 0) for each in (direction(offset), heading))
    return jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


# How the low-level policy observes the subgoal: functions of the offset and the heading.
ENCODINGS: dict[str, Callable[[Array, Array], Array]] = {
    "displacement": lambda offset, heading: offset,
    "egocentric": egocentric,
}


class HierarchicalParams(NamedTuple):
    """Parameters of the two policies."""

    low: Params
    high: Params


def make(*, high: Policy, low: Policy, layout: Layout, encoding: str) -> Policy:
    """Builds the policy from two that are made for other shapes.

    Args:
      high: the high-level policy, of actions [*B, 2], the offset to the subgoal in units of UNIT, for observations
        without body and heading. It is trained on `Batch.subgoal`.
      low: the low-level policy, of the environment's actions, for observations of the body and the encoded offset.
      layout: of the observations, with a heading if and only if the encoding is "egocentric".
      encoding: how the low-level policy observes the offset, a name of ENCODINGS.

    Raises:
      ValueError: for an unknown encoding, or one that does not go with the layout.
    """
    if encoding not in ENCODINGS or (encoding == "egocentric") != (layout.heading is not None):
        raise ValueError(
            f"encoding = {encoding!r} with a layout whose heading is {layout.heading}: must be 'egocentric' with a "
            "heading, 'displacement' without one"
        )
    encode, body = ENCODINGS[encoding], layout.body
    heading = layout.heading or slice(body.stop, body.stop)

    def without_body(obs: Array) -> Array:
        parts = obs[..., : body.start], obs[..., body.stop : heading.start], obs[..., heading.stop :]
        return jnp.concatenate(parts, axis=-1)

    def towards(obs: Array, offset: Array) -> Array:
        return jnp.concatenate([obs[..., body], encode(offset, obs[..., heading])], axis=-1)

    def split(batch: Batch, offset: Array) -> tuple[Batch, Batch]:
        obs = jnp.asarray(batch.obs)
        return batch._replace(obs=without_body(obs), action=offset), batch._replace(obs=towards(obs, offset))

    def init(key: Key, batch: Batch) -> Params:
        key_high, key_low = jax.random.split(key)
        for_high, for_low = split(batch, jnp.zeros((*batch.obs.shape[:-1], 2)))
        return HierarchicalParams(high=high.init(key_high, for_high), low=low.init(key_low, for_low))

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        if batch.subgoal is None:
            raise ValueError("a hierarchical policy is trained on batches with subgoals, and there are none")
        key_high, key_low = jax.random.split(key)
        for_high, for_low = split(batch, jnp.asarray(batch.subgoal) / UNIT)
        high_loss, found = high.loss(params.high, target_params.high, key_high, for_high, hparams, step)
        low_loss, metrics = low.loss(params.low, target_params.low, key_low, for_low, hparams, step)
        found = {f"high_level/{name.removeprefix('policy/')}": value for name, value in found.items()}
        return high_loss + low_loss, metrics | found

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        key_high, key_low = jax.random.split(key)
        offset = high.sample(params.high, key_high, without_body(obs), num_steps, temperature)
        return low.sample(params.low, key_low, towards(obs, offset), num_steps, temperature)

    return Policy(init=init, loss=loss, sample=sample)
