"""Two policies as one: the upper says where to be some steps later, the lower goes there.

The upper learns from where the ant of the data was by then, the lower from the actions that brought it there: the two
levels of HIQL (arXiv 2307.15949), without its weights. What they observe makes them general: the upper sees places and
what it is told but no body, the lower the body and the way to go but no place, so that it walks everywhere alike; and
with the way's bearing no heading either, so that it walks in every direction alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gtp_jax.types import Array, Batch, HParams, Key, Metrics, Params, Policy

UNIT = 4.0  # metres, a cell of the mazes: in it the ways of 20 steps have about the spread that actions have
FARTHEST = 100.0  # units along each axis: a maze has at most so many cells
SHORTEST = 1e-6  # units: a way below it has no direction to speak of


def direction(way: Array) -> Array:
    """The unit vectors [*B, 2] of ways [*B, 2]; of a way shorter than SHORTEST less than that, and finite."""
    return way * jax.lax.rsqrt(jnp.maximum(jnp.sum(way**2, axis=-1, keepdims=True), SHORTEST**2))


def bearing(way: Array, heading: Array) -> Array:
    """The directions [*B, 2] of ways [*B, 2], seen by who heads along [*B, 2], unit vectors: ahead, and to the left."""
    (x, y), (cos, sin) = (jnp.moveaxis(each, -1, 0) for each in (direction(way), heading))
    return jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


# What the lower may see of the way (settings `policy.subgoal_way`).
SEEN: dict[str, Callable[[Array, Array], Array]] = {
    "vector": lambda way, heading: way,
    "direction": lambda way, heading: direction(way),
    "bearing": bearing,
}


def make(*, upper: Policy, lower: Policy, body: slice, heading: slice, lower_sees: str) -> Policy:
    """Builds the policy from two that are made for other shapes.

    Args:
      upper: of actions [*B, 2], the way to the subgoal in units of UNIT, for observations without body and heading.
      lower: of the environment's actions, for observations of the body and of that way.
      body: which of the observation's numbers describe the body.
      heading: which of them are the cosine and sine of where it heads, behind the body; what is told is behind both.
      lower_sees: of the way, a name of SEEN. By a direction an ant walks on however short the way is, as it is where
        the data never were (and a gradient through it is the steeper). With "bearing" the observation has a heading,
        else it has none.

    Its `loss` takes batches with `subgoal` [B, 2], metres; what `guidance.told` adds to an observation the upper sees.
    """
    sees = SEEN[lower_sees]
    own = heading if lower_sees == "bearing" else slice(body.stop, body.stop)  # of the ant's heading: none in the world

    def above(obs: Array) -> Array:
        parts = obs[..., : body.start], obs[..., body.stop : own.start], obs[..., own.stop :]
        return jnp.concatenate(parts, axis=-1)

    def below(obs: Array, way: Array) -> Array:
        return jnp.concatenate([obs[..., body], sees(way, obs[..., own])], axis=-1)

    def split(batch: Batch, way: Array) -> tuple[Batch, Batch]:
        obs = jnp.asarray(batch.obs)
        return batch._replace(obs=above(obs), action=way), batch._replace(obs=below(obs, way))

    def init(key: Key, batch: Batch) -> Params:
        keys = jax.random.split(key)
        examples = split(batch, jnp.zeros((*batch.obs.shape[:-1], 2)))
        made = (policy.init(*each) for policy, *each in zip((upper, lower), keys, examples, strict=True))
        return dict(zip(("upper", "lower"), made, strict=True))

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        key_upper, key_lower = jax.random.split(key)
        where, how = split(batch, batch.subgoal / UNIT)
        chosen, found = upper.loss(params["upper"], target_params["upper"], key_upper, where, hparams, step)
        walked, metrics = lower.loss(params["lower"], target_params["lower"], key_lower, how, hparams, step)
        found = {f"subgoal/{name.removeprefix('policy/')}": value for name, value in found.items()}
        return chosen + walked, metrics | found

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        key_upper, key_lower = jax.random.split(key)
        obs = jnp.asarray(obs)
        way = upper.sample(params["upper"], key_upper, above(obs), num_steps, temperature)
        return lower.sample(params["lower"], key_lower, below(obs, way), num_steps, temperature)

    return Policy(init=init, loss=loss, sample=sample)
