"""Where the time of an update goes on one core: its pieces compiled apart, with the rate of their matrix products.

The update of work.py. The pieces take turns with the whole; compiled apart they may cost a little more than inside it.
Writes RESULTS/pieces.json. Linux; the machine must be idle.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import shared
from benchmarks.speed import work
from benchmarks.speed.flops import matmul_mflop
from gtp_jax.agent import build
from gtp_jax.config.settings import Settings
from gtp_jax.parallel.compiler import update_options


def pieces(settings: Settings) -> dict[str, tuple]:
    """Functions and arguments by name."""
    (agent, hparams), bound = work.make_agent(settings), np.ones(work.ACTIONS, np.float32)
    how = (settings, -bound, bound, None)
    policy, critic = build.build_policy(*how), build.build_critic(*how)
    batch = jax.tree.map(lambda column: jnp.asarray(column[: settings.batch_size]), work.make_data(1000))
    key = jax.random.key(0)
    state = agent.init(key, batch, hparams)
    both, drawn = jnp.stack([batch.next_obs, batch.obs]), jnp.stack([batch.action, batch.action])
    transform = optax.chain(optax.clip_by_global_norm(10.0), optax.scale_by_adam())

    def policy_gradient(params, state, batch):
        def loss(p):
            return jnp.mean(policy.loss(p, state.policy_ema, key, batch, state.hparams, state.step)[0])

        return jax.grad(loss)(params)

    def critic_gradient(params, state, batch):
        def loss(p):
            return jnp.mean(critic.loss(p, state.critic_ema, batch, batch.reward, state.hparams)[0])

        return jax.grad(loss)(params)

    def optimise(grads, state):
        found = []
        for part, name in ((grads[0], "policy"), (grads[1], "critic")):
            params, ema, opt = (getattr(state, name + suffix) for suffix in ("", "_ema", "_opt"))
            updates, opt = transform.update(part, opt)
            params = optax.apply_updates(params, jax.tree.map(lambda u: -3e-4 * u, updates))
            found.append((params, opt, optax.incremental_update(params, ema, 0.005)))
        return found

    return {
        "the whole update": (agent.update, (state, batch)),
        "sampling at obs and next_obs, K = 5": (lambda p: policy.sample(p, key, both, 5), (state.policy_ema,)),
        "values of sampled and of the data's actions": (
            lambda s, b: critic.evaluate(s.critic, s.critic_ema, b, drawn[:1], drawn[1:], s.hparams),
            (state, batch),
        ),
        "gradient of the policy's loss": (policy_gradient, (state.policy, state, batch)),
        "gradient of the critic's loss": (critic_gradient, (state.critic, state, batch)),
        "clipping, Adam and averages": (optimise, ((state.policy, state.critic), state)),
    }


def time_pieces(activation: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and matmul operations of every piece."""
    made, options = pieces(work.settings_with({"num_seeds": 1}, activation)), update_options(jax.devices()[0])

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
    """The pieces with mish and with ReLU, and the machine's peak."""
    shared.use_one_core()
    result: dict[str, Any] = {activation: time_pieces(activation, rounds) for activation in ("mish", "relu")}
    return result | {"matmul_peak_gflops": work.matmul_peak(rounds) / 1e9}


main = partial(shared.measure, __file__, __doc__, measure, rounds=9)
