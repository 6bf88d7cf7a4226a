"""Soft actor-critic with a learned temperature (Haarnoja et al., arXiv:1812.05905), many updates in one call."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gtp_jax.datasets.builtin.controller import Controller

LEARNING_RATE, TARGET_RATE = 5e-4, 0.005
ACTOR_HIDDEN, CRITIC_HIDDEN = 128, 256


class Replay(NamedTuple):
    """Transitions in the order they were made, float32; also a batch of them."""

    obs: Any  # [n, F]
    action: Any  # [n, A]
    reward: Any  # [n]
    next_obs: Any  # [n, F]
    discount: Any  # [n]: 0 where the episode terminated, gamma otherwise


class Learner(NamedTuple):
    """All that changes in training."""

    actor: Any
    critics: Any  # a pair
    target_critics: Any
    log_alpha: Any
    opt_states: Any  # of actor, critics, log_alpha


def init_mlp(key, sizes):
    """Weights and biases of a multi-layer perceptron: orthogonal, the last layer near 0."""
    keys, scales = jax.random.split(key, len(sizes) - 1), [1.4] * (len(sizes) - 2) + [0.014]
    layers = zip(keys, scales, sizes[:-1], sizes[1:], strict=True)
    return [(jax.nn.initializers.orthogonal(c)(k, (i, o)), jnp.zeros(o)) for k, c, i, o in layers]


def mlp(params, x, normalise):
    for i, (w, b) in enumerate(params):
        x = x @ w + b[None]
        if i < len(params) - 1:
            x = jax.nn.relu(jax.nn.standardize(x, axis=-1, epsilon=1e-5) if normalise else x)
    return x


def sample(actor, obs, key):
    """An action [n, A] of the squashed Gaussian policy, and its log-density [n]."""
    mean, log_std = jnp.split(mlp(actor, obs, normalise=False), 2, axis=-1)
    log_std = jnp.clip(log_std, -5, 1)
    noise = jax.random.normal(key, mean.shape)
    raw = mean + jnp.exp(log_std) * noise
    log_density = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    # log(1 - tanh(raw)^2), without cancellation.
    log_slope = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
    return jnp.tanh(raw), (log_density - log_slope).sum(-1)


def q_values(critics, obs, action):
    x = jnp.concatenate([obs, action], axis=-1)
    return jnp.stack([mlp(critic, x, normalise=True)[:, 0] for critic in critics])


def init_learner(key, feature_dim: int, action_dim: int) -> Learner:
    keys = jax.random.split(key, 3)
    actor = init_mlp(keys[0], (feature_dim, ACTOR_HIDDEN, ACTOR_HIDDEN, 2 * action_dim))
    sizes = (feature_dim + action_dim, CRITIC_HIDDEN, CRITIC_HIDDEN, 1)
    critics = (init_mlp(keys[1], sizes), init_mlp(keys[2], sizes))
    log_alpha = jnp.log(jnp.float32(0.1))
    opt_states = tuple(optax.adam(LEARNING_RATE).init(params) for params in (actor, critics, log_alpha))
    return Learner(actor, critics, jax.tree.map(jnp.copy, critics), log_alpha, opt_states)


def update(learner: Learner, batch: Replay, key, target_entropy: float) -> Learner:
    """One step of SAC on a batch [B]."""
    next_key, actor_key = jax.random.split(key)
    adam, alpha = optax.adam(LEARNING_RATE), jnp.exp(learner.log_alpha)
    next_action, next_log_density = sample(learner.actor, batch.next_obs, next_key)
    next_q = q_values(learner.target_critics, batch.next_obs, next_action).min(0)
    target = batch.reward + batch.discount * (next_q - alpha * next_log_density)

    def critic_loss(critics):
        return ((q_values(critics, batch.obs, batch.action) - target[None]) ** 2).mean(1).sum()

    step, critic_opt = adam.update(jax.grad(critic_loss)(learner.critics), learner.opt_states[1])
    critics = optax.apply_updates(learner.critics, step)

    def actor_loss(actor):
        action, log_density = sample(actor, batch.obs, actor_key)
        return (alpha * log_density - q_values(critics, batch.obs, action).min(0)).mean(), log_density.mean()

    gradient, log_density = jax.grad(actor_loss, has_aux=True)(learner.actor)
    step, actor_opt = adam.update(gradient, learner.opt_states[0])
    actor = optax.apply_updates(learner.actor, step)
    step, alpha_opt = adam.update(-(log_density + target_entropy) * alpha, learner.opt_states[2])
    log_alpha = optax.apply_updates(learner.log_alpha, step)
    target_critics = optax.incremental_update(critics, learner.target_critics, TARGET_RATE)
    return Learner(actor, critics, target_critics, log_alpha, (actor_opt, critic_opt, alpha_opt))


@partial(jax.jit, donate_argnums=0)
def update_many(learner: Learner, batches: Replay, key, target_entropy: float) -> Learner:
    """One update for each of the batches [U, B]."""
    keys = jax.random.split(key, len(batches.reward))
    return jax.lax.scan(lambda state, x: (update(state, *x, target_entropy), None), learner, (batches, keys))[0]


def to_controller(actor) -> Controller:
    """The deterministic half of the policy: the mean's columns, as NumPy arrays."""
    (w0, b0), (w1, b1), (w2, b2) = jax.device_get(actor)
    actions = len(b2) // 2
    return Controller(w0, b0, w1, b1, w2[:, :actions].copy(), b2[:actions].copy())
