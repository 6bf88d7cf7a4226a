"""How value shapes the policy: weights on the examples of the policy's loss."""

import jax
import jax.numpy as jnp

from gtp_jax.types import Array, Guidance, HParams, Metrics

_EPSILON = 1e-6
MAX_WEIGHT = 100.0


def advantage_weights(advantage: Array, eta: Array, max_weight: float = MAX_WEIGHT) -> Array:
    """w = exp(eta max(0, A) / (std(A) + eps)), clipped at `max_weight` (eq. 14).

    Args:
      advantage: [B], A(obs, a) of the batch; its standard deviation is taken over B.
      eta: scalar, inverse temperature; 0 gives weights of exactly 1 (behaviour cloning).
      max_weight: the largest weight.

    Returns:
      [B] weights in [1, max_weight], without gradient.
    """
    scaled = jnp.maximum(advantage, 0.0) / (jnp.std(advantage) + _EPSILON)
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(eta * scaled), max_weight))


def effective_sample_share(weights: Array) -> Array:
    """(sum w)^2 / (B sum w^2), the share of the batch that the weights [B] leave in use (Kish); 1 for equal weights."""
    return jnp.sum(weights) ** 2 / (weights.shape[0] * jnp.sum(weights**2))


def make_none() -> Guidance:
    """Behaviour cloning: every example counts the same and no critic is trained."""

    def weigh(advantage: Array, hparams: HParams) -> tuple[Array, Metrics]:
        del hparams
        return jnp.ones_like(advantage), {}

    return Guidance(weigh=weigh, needs=frozenset())


def make_advantage(*, max_weight: float = MAX_WEIGHT) -> Guidance:
    """Advantage weights, the guidance of GTP (eq. 14). Reads `eta` from the hyperparameters."""

    def weigh(advantage: Array, hparams: HParams) -> tuple[Array, Metrics]:
        weights = advantage_weights(advantage, hparams["eta"], max_weight)
        return weights, {
            "guidance/weight": jnp.mean(weights),
            "guidance/effective_share": effective_sample_share(weights),
            "guidance/advantage_std": jnp.std(advantage),
        }

    return Guidance(weigh=weigh, needs=frozenset({"advantage"}))


GUIDANCE = {"none": make_none, "advantage": make_advantage}
