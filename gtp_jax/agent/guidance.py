"""How a critic shapes the policy: by weights on the examples of its loss, by an optimality label that the policy is
conditioned on, or by a loss term that moves its samples towards higher values.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gtp_jax.flow.map import squared_norm
from gtp_jax.types import Array, Batch, Data, Guidance, HParams, Key, Metrics, Params, Policy

_EPSILON = 1e-6
MAX_WEIGHT = 100.0


def _normalise(advantage: Array) -> Array:
    return advantage / (jnp.std(advantage) + _EPSILON)


def advantage_weights(advantage: Array, eta: Array | float, max_weight: float = MAX_WEIGHT) -> Array:
    """w = exp(eta max(0, A) / (std(A) + eps)), clipped at `max_weight` (arXiv 2510.11499, eq. 14).

    Maps advantages [B] to weights [B] in [1, max_weight], without gradient. The standard deviation is taken over B; eta
    is an inverse temperature, and 0 gives weights of exactly 1 (behaviour cloning).
    """
    scaled = jnp.maximum(_normalise(advantage), 0.0)
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(eta * scaled), max_weight))


def exponential_weights(advantage: Array, eta: Array | float, max_weight: float = MAX_WEIGHT) -> Array:
    """w = exp(eta A / (std(A) + eps)), clipped at `max_weight` (arXiv 2510.11499, eq. 12): bad actions weigh less, too.

    Arguments as in `advantage_weights`; [B] -> [B] in (0, max_weight].
    """
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(eta * _normalise(advantage)), max_weight))


def unnormalised_weights(advantage: Array, eta: Array | float, max_weight: float = MAX_WEIGHT) -> Array:
    """w = exp(eta A), clipped at `max_weight`, as in AWR (arXiv 1910.00177) and IQL (arXiv 2110.06169, eq. 7).

    Arguments as in `advantage_weights`, eta in units of 1/reward; [B] -> [B] in (0, max_weight].
    """
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(eta * advantage), max_weight))


def filter_weights(advantage: Array, eta: Array | float = 0.0, max_weight: float = MAX_WEIGHT) -> Array:
    """w = 1(A > 0), the binary filter of CRR (arXiv 2006.15134, eq. 3): [B] -> [B]; eta and max_weight play no part."""
    del eta, max_weight
    return jax.lax.stop_gradient(jnp.where(advantage > 0, 1.0, 0.0).astype(advantage.dtype))


def optimality_label(advantage: Array) -> Array:
    """The binary optimality label, 1 where A > 0, else -1 (o of CFGRL, arXiv 2505.23458): [B] -> [B], no gradient."""
    return jax.lax.stop_gradient(jnp.where(advantage > 0, 1.0, -1.0).astype(advantage.dtype))


def append_label(obs: Data, label: Data | float) -> Array:
    """Appends the optimality label [*B], or one label for all, as the last observation number: [*B, O + 1]."""
    obs = jnp.asarray(obs)
    label = jnp.broadcast_to(jnp.asarray(label, obs.dtype), obs.shape[:-1])
    return jnp.concatenate([obs, label[..., None]], axis=-1)


def label_conditioned(policy: Policy) -> Policy:
    """The advantage-conditioned policy: it is trained with the batch's labels and acts with label 1.

    This is CFGRL (arXiv 2505.23458) at guidance weight 1. `policy` is made for observations with the label appended.
    """

    def init(key: Key, batch: Batch) -> Params:
        return policy.init(key, batch._replace(obs=append_label(batch.obs, 1.0)))

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        if batch.label is None:
            raise ValueError("an advantage-conditioned policy is trained on batches with a label, and there is none")
        batch = batch._replace(obs=append_label(batch.obs, batch.label))
        return policy.loss(params, target_params, key, batch, hparams, step)

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        return policy.sample(params, key, append_label(obs, 1.0), num_steps, temperature)

    return Policy(init=init, loss=loss, sample=sample)


def effective_sample_share(weights: Array) -> Array:
    """(sum w)^2 / (B sum w^2), the share of the batch that the weights [B] leave in use (Kish); 1 for equal weights."""
    return jnp.sum(weights) ** 2 / (weights.shape[0] * jnp.maximum(jnp.sum(weights**2), _EPSILON))


def normalised_q_loss(key: Key, q: Array) -> Array:
    """-Q_i(obs, a) / sg mean |Q_j(obs, a)| with the roles i, j drawn at random (arXiv 2208.06193, eq. 3), un-reduced.

    Maps values q [E, B] of actions that the policy sampled to [B]; the gradient passes through the actions. Raises
    ValueError where q is not [E, B].
    """
    if q.ndim != 2:
        raise ValueError(f"q of shape {q.shape} must be [E, B], the values that an ensemble of E gives B actions")
    first = jax.random.randint(key, (), 0, q.shape[0])
    scale = jnp.mean(jnp.abs(q[(first + 1) % q.shape[0]]))
    return -q[first] / jax.lax.stop_gradient(scale + _EPSILON)


def moving_filter_weights(q: Array, q_own: Array, temperature: Array | float) -> Array:
    """w = 2 sigmoid((Q(a) - Q(a')) / (temperature mean |Q(a')|)): is an action better than what the policy would do?

    The filter of Guided Flow Policies (arXiv 2512.03973), twice it, so that weights are 1 where both are equal. It
    moves with the policy: the better that acts, the fewer examples are left that can teach it.

    Args:
      q: [E, B] values, by an ensemble of E, of the actions that are cloned.
      q_own: [E, B] of those that the policy samples for the same observations.
      temperature: the difference, as a share of the mean |Q(a')|, at which the weight is 2 sigmoid(1) = 1.46.

    Returns:
      Weights [B] between 0 and 2, without gradient. Raises ValueError for values of other or different shapes.
    """
    if q.ndim != 2 or q.shape != q_own.shape:
        raise ValueError(f"values of shapes {q.shape} and {q_own.shape} must both be [E, B], of an ensemble of E")
    q, q_own = jnp.mean(q, axis=0), jnp.mean(q_own, axis=0)
    scale = temperature * jnp.mean(jnp.abs(q_own)) + _EPSILON
    return jax.lax.stop_gradient(2.0 * jax.nn.sigmoid((q - q_own) / scale))


def anchor_loss(action: Array, held_to: Array, *, event_ndim: int = 1) -> Array:
    """|a - sg a'|^2, which holds the actions that a Q term moves to those of many small steps from the same noise.

    It takes the place of FQL's distillation of a one-step policy from a flow (arXiv 2502.02538, section 4.2), between
    two numbers of steps of one flow map. Maps actions [*B, *event] of both to [*B]. Raises ValueError for other shapes.
    """
    if action.shape != held_to.shape:
        raise ValueError(f"the action of shape {action.shape} is held to one of shape {held_to.shape}; they must agree")
    return squared_norm(action - jax.lax.stop_gradient(held_to), event_ndim)


def best_of(actions: Array, q: Array) -> Array:
    """The candidate that the ensemble's smallest member values most: actions [N, *B, A], q [E, N, *B] -> [*B, A]."""
    return _take(actions, jnp.argmax(jnp.min(q, axis=0), axis=0))


def softmax_of(key: Key, actions: Array, q: Array, inverse_temperature: Array | float = 1.0) -> Array:
    """A candidate drawn with probability ~ exp(beta min_j Q_j), as the code of arXiv 2208.06193 draws one of 50.

    Shapes as in `best_of`. With beta = 0 the draw is even; the larger beta, the nearer to `best_of`.
    """
    return _take(actions, jax.random.categorical(key, inverse_temperature * jnp.min(q, axis=0), axis=0))


def _take(actions: Array, index: Array) -> Array:
    return jnp.squeeze(jnp.take_along_axis(actions, index[None, ..., None], axis=0), axis=0)


def _cloning() -> Guidance:
    return Guidance(
        weigh=lambda advantage, hparams: (jnp.ones_like(advantage), {}), improve=None, needs_advantage=False
    )


def _weighted(weights: Callable[[Array, Array, float], Array]) -> Guidance:
    def weigh(advantage: Array, hparams: HParams) -> tuple[Array, Metrics]:
        weight = weights(advantage, hparams["eta"], MAX_WEIGHT)
        return weight, {
            "guidance/weight": jnp.mean(weight),
            "guidance/effective_share": effective_sample_share(weight),
            "guidance/advantage_std": jnp.std(advantage),
        }

    return Guidance(weigh=weigh, improve=None, needs_advantage=True)


def _q_term() -> Guidance:
    def improve(key: Key, q: Array, hparams: HParams) -> tuple[Array, Metrics]:
        loss = normalised_q_loss(key, q)
        return hparams["eta"] * loss, {"guidance/q_loss": jnp.mean(loss), "guidance/q_sampled": jnp.mean(q)}

    return _cloning()._replace(improve=improve)


def _conditioning() -> Guidance:
    return _cloning()._replace(needs_advantage=True, label=optimality_label)


GUIDANCE: dict[str, Callable[[], Guidance]] = {
    "none": _cloning,
    "advantage": functools.partial(_weighted, advantage_weights),
    "exponential": functools.partial(_weighted, exponential_weights),
    "unnormalised": functools.partial(_weighted, unnormalised_weights),
    "filter": functools.partial(_weighted, filter_weights),
    "conditioning": _conditioning,
    "q": _q_term,
}
