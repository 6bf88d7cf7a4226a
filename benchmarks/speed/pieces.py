"""Where the time of an update goes on one core: its pieces compiled apart, with the rate of their matrix products.

The updates of `gtp-q`, the recommended method, and of `gtp-paper`, the paper's weights with K = 5, at the size of
work.py. The pieces take turns with the whole; compiled apart they may cost a little more than inside it. Writes
RESULTS/pieces.json. Linux; the machine must be idle.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import shared
from benchmarks.speed import work
from benchmarks.speed.flops import matmul_mflop
from gtp_jax import losses
from gtp_jax.agent import build
from gtp_jax.config.settings import Settings
from gtp_jax.parallel.compiler import update_options
from gtp_jax.types import Array, Batch, Critic, Key, Params, Policy, State

Piece = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and its arguments


def pieces(settings: Settings) -> dict[str, Piece]:
    """The pieces of an update by name, the whole first."""
    (agent, hparams), bound = work.make_agent(settings), np.ones(work.ACTIONS, np.float32)
    how = (settings, -bound, bound, None)
    policy, critic = build.build_policy(*how), build.build_critic(*how)
    batch = jax.tree.map(lambda column: jnp.asarray(column[: settings.batch_size]), work.make_data(1000))
    key = jax.random.key(0)
    state = agent.init(key, batch, hparams)
    transform = optax.chain(optax.clip_by_global_norm(10.0), optax.scale_by_adam())

    def policy_gradient(params: Params, state: State, batch: Batch) -> Params:
        def loss(p: Params) -> Array:
            return jnp.mean(policy.loss(p, state.policy_ema, key, batch, state.hparams, state.step)[0])

        return jax.grad(loss)(params)

    def critic_gradient(params: Params, state: State, batch: Batch) -> Params:
        def loss(p: Params) -> Array:
            return jnp.mean(critic.loss(p, state.critic_ema, batch, jnp.asarray(batch.reward), state.hparams)[0])

        return jax.grad(loss)(params)

    def optimise(grads: tuple[Params, Params], state: State) -> list[tuple]:
        found = []
        for part, name in zip(grads, ("policy", "critic"), strict=True):
            params, ema, opt = (getattr(state, name + suffix) for suffix in ("", "_ema", "_opt"))
            updates, opt = transform.update(part, opt)
            params = optax.apply_updates(params, jax.tree.map(lambda u: -3e-4 * u, updates))
            found.append((params, opt, optax.incremental_update(params, ema, 0.005)))
        return found

    own = (q_pieces if settings.guidance.name == "q" else paper_pieces)(settings, policy, critic, key)
    return {
        "the whole update": (agent.update, (state, batch)),
        **{name: (function, (state, batch)) for name, function in own.items()},
        "gradient of the policy's loss": (policy_gradient, (state.policy, state, batch)),
        "gradient of the critic's loss": (critic_gradient, (state.critic, state, batch)),
        "clipping, Adam and averages": (optimise, ((state.policy, state.critic), state)),
    }


def paper_pieces(settings: Settings, policy: Policy, critic: Critic, key: Key) -> dict[str, Callable[..., Any]]:
    """What the paper's weights need: samples at both observations, and their values beside the data's actions."""

    def sampling(state: State, batch: Batch) -> Array:
        both = jnp.stack([batch.next_obs, batch.obs])
        return policy.sample(state.policy_ema, key, both, settings.critic.num_steps)

    def values(state: State, batch: Batch) -> Any:
        drawn = jnp.asarray(batch.action)[None]
        return critic.evaluate(state.critic, state.critic_ema, batch, drawn, drawn, state.hparams)

    return {"sampling at obs and next_obs": sampling, "values of sampled and of the data's actions": values}


def q_pieces(settings: Settings, policy: Policy, critic: Critic, key: Key) -> dict[str, Callable[..., Any]]:
    """What a Q term needs: a jump at next_obs and its value, then the jump that is improved, filter and anchor."""
    guidance, num_steps = settings.guidance, settings.critic.num_steps
    assert critic.q is not None

    def next_value(state: State, batch: Batch) -> Any:
        drawn = policy.sample(state.policy_ema, key, jnp.asarray(batch.next_obs)[None], num_steps)
        return critic.evaluate(state.critic, state.critic_ema, batch, drawn, drawn[:0], state.hparams)

    def improved(params: Params, state: State, batch: Batch) -> tuple[Array, Array]:
        action = policy.sample(params, key, jnp.asarray(batch.obs), num_steps)
        return action, critic.q(state.critic, batch.obs, action)

    def q_gradient(state: State, batch: Batch) -> Params:
        return jax.grad(lambda p: jnp.mean(-improved(p, state, batch)[1][0]))(state.policy)

    def kept(state: State, batch: Batch) -> Array:
        # The value of the policy's own action is at hand in the update, from the Q term.
        q = critic.q(state.critic, batch.obs, batch.action)
        return losses.moving_filter_weights(q, jnp.zeros_like(q), guidance.filter_temperature)

    def held(state: State, batch: Batch) -> Array:
        obs, steps = jnp.asarray(batch.obs), guidance.anchor_steps
        return losses.anchor_loss(jnp.asarray(batch.action), policy.sample(state.policy_ema, key, obs, steps))

    return {
        "the jump at next_obs, and its value": next_value,
        "gradient of the Q term through a jump": q_gradient,
        "the filter's value of the data's action": kept,
        "the anchor's steps": held,
    }


def time_pieces(method: str, activation: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and matmul operations of every piece of a method's update."""
    both = {f"{part}.activation": activation for part in ("policy", "critic")}
    made, options = pieces(work.method(method).replace(both)), update_options(jax.devices()[0])

    def caller(function, given):
        compiled = jax.jit(function).lower(*given).compile(options)

        def call():
            for _ in range(20):
                out = compiled(*given)
            jax.block_until_ready(out)

        return call

    seconds = shared.in_turns({name: caller(*piece) for name, piece in made.items()}, rounds)
    milliseconds = {name: 1000 * float(np.median(each)) / 20 for name, each in seconds.items()}
    mflop = {name: matmul_mflop(function, *given) for name, (function, given) in made.items()}
    return {name: {"milliseconds": milliseconds[name], "matmul_mflop": mflop[name]} for name in made}


def measure(rounds: int) -> dict[str, Any]:
    """The pieces of both updates with mish and with ReLU, and the machine's peak."""
    shared.use_one_core()
    result: dict[str, Any] = {
        method: {activation: time_pieces(method, activation, rounds) for activation in ("mish", "relu")}
        for method in ("gtp-q", "gtp-paper")
    }
    return result | {"matmul_peak_gflops": work.matmul_peak(rounds) / 1e9}


main = partial(shared.measure, __file__, __doc__, measure, rounds=9)
