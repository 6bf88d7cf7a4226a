"""Neural networks. The only file that imports Flax."""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gtp_jax.types import Array, Data, FlowApply, Key, Network, Params, QApply, ValueApply

HIDDEN = (256, 256, 256)


def mish(x: Array) -> Array:
    """x tanh(softplus(x)) (arXiv 1908.08681) with one exponential: tanh(log(1 + e)) = n/(n + 2), n = e (e + 2).

    One transcendental call instead of three. Above 20 the factor is 1 in float32.
    """
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * n / (n + 2.0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"mish": mish, "relu": nn.relu, "silu": nn.silu}


TIME_SCALES: dict[str, Callable[[Array], Array]] = {
    # Times below 1e-3 are embedded alike, so that t = 0 is finite. Over the eleven units of log t between 0.002 and 80
    # the lowest frequency turns once and the highest about 25 times.
    "log": lambda t: jnp.log(jnp.maximum(t, 1e-3)),
    # Over [0, 1] the lowest frequency turns about half and the highest about 15 times.
    "linear": lambda t: 6.0 * t,
}


def time_embedding(t: Array, scale: str = "log", width: int = 16) -> Array:
    """Fourier features of a time, on one of TIME_SCALES, at geometric frequencies: t [*B] -> [*B, width]."""
    frequencies = jnp.geomspace(0.5, 16.0, width // 2)
    angles = jnp.expand_dims(TIME_SCALES[scale](t), -1) * jnp.expand_dims(frequencies, range(t.ndim))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class MLP(nn.Module):
    """Dense layers with an activation between them, optionally after a layer normalisation."""

    hidden: Sequence[int]
    out: int
    activation: str = "mish"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = nn.Dense(width)(x)
            if self.layer_norm:
                x = nn.LayerNorm()(x)
            x = ACTIVATIONS[self.activation](x)
        return nn.Dense(self.out)(x)


def _mlp(hidden: Sequence[int], out: int, activation: str, layer_norm: bool = False) -> Network[ValueApply]:
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    mlp = MLP(tuple(hidden), out, activation, layer_norm)
    return Network(init=mlp.init, apply=lambda params, x: cast(Array, mlp.apply(params, x)))


def flow_network(
    action_dim: int, hidden: Sequence[int] = HIDDEN, activation: str = "mish", time_scale: str = "log"
) -> Network[FlowApply]:
    """The network of a policy. The leading axes of its inputs broadcast against each other."""
    mlp = _mlp(hidden, action_dim, activation)

    def inputs(obs, x, t, s):
        parts = (obs, x, time_embedding(t, time_scale), time_embedding(s, time_scale))
        leading = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return jnp.concatenate([jnp.broadcast_to(part, (*leading, part.shape[-1])) for part in parts], axis=-1)

    return Network(
        init=lambda key, *args: mlp.init(key, inputs(*args)),
        apply=lambda params, obs, x, t, s: mlp.apply(params, inputs(obs, x, t, s)),
    )


def q_network(
    ensemble: int = 2, hidden: Sequence[int] = HIDDEN, activation: str = "mish", layer_norm: bool = False
) -> Network[QApply]:
    """Values of actions: an ensemble of independent networks as one batched matmul."""
    mlp = _mlp(hidden, 1, activation, layer_norm)

    def init(key: Key, *inputs: Data) -> Params:
        x = jnp.concatenate(inputs, axis=-1)
        return jax.vmap(mlp.init, in_axes=(0, None))(jax.random.split(key, ensemble), x)

    def apply(params: Params, obs: Data, action: Data) -> Array:
        x = jnp.concatenate([obs, action], axis=-1)
        return jnp.squeeze(jax.vmap(mlp.apply, in_axes=(0, None))(params, x), axis=-1)

    return Network(init=init, apply=apply)


def v_network(
    hidden: Sequence[int] = HIDDEN, activation: str = "mish", layer_norm: bool = False
) -> Network[ValueApply]:
    """Values of states."""
    mlp = _mlp(hidden, 1, activation, layer_norm)
    return Network(init=mlp.init, apply=lambda params, obs: jnp.squeeze(mlp.apply(params, obs), axis=-1))


def of_columns(network: Network[ValueApply], columns: Sequence[int]) -> Network[ValueApply]:
    """The network that observes only the numbers at `columns` of its observations."""

    def observed(obs: Data) -> Array:
        return jnp.asarray(obs)[..., jnp.array(columns)]

    return Network(
        init=lambda key, *obs: network.init(key, *map(observed, obs)),
        apply=lambda params, obs: network.apply(params, observed(obs)),
    )
