"""Where the time of an update goes on one core: its pieces compiled apart, with the rate of their matrix products.

    python benchmarks/pieces.py [--rounds=9]

The update of benchmarks/speed.py. The pieces take turns with the whole; compiled apart they may cost a little more than
inside it. Prints one JSON line and writes results/pieces.json. Linux; the machine must be idle.
"""

import argparse
import json
import time
from pathlib import Path

import flops
import jax
import jax.numpy as jnp
import numpy as np
import optax
import speed

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.parallel.compiler import update_options
from gtp_jax.runs import provenance


def pieces(settings: dict) -> dict[str, tuple]:
    """Functions and arguments by name."""
    agent, hparams = speed.make_agent(settings)
    bound = np.ones(speed.ACTIONS, np.float32)
    policy = build.make_policy(settings["policy"], -bound, bound, settings["num_updates"])
    critic = build.make_critic(settings["critic"])
    batch = jax.tree.map(lambda column: jnp.asarray(column[: settings["batch_size"]]), speed.make_data(1000))
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


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    speed.pin()
    commit, result = provenance.commit(), {}
    for activation in ("mish", "relu"):
        activations = {"policy__activation": activation, "critic__activation": activation}
        made = pieces(speed.settings_with(num_seeds=1, **activations))
        options = update_options(jax.devices()[0])
        compiled = {name: jax.jit(function).lower(*given).compile(options) for name, (function, given) in made.items()}
        times = {name: [] for name in made}
        for _ in range(arguments.rounds + 1):
            for name, (_, given) in made.items():
                started = time.perf_counter()
                for _ in range(20):
                    out = compiled[name](*given)
                jax.block_until_ready(out)
                times[name].append((time.perf_counter() - started) / 20)
        result[activation] = {
            name: {
                "milliseconds": 1000 * float(np.median(times[name][1:])),
                "matmul_mflop": flops.of_matmuls(function, *given) / 1e6,
            }
            for name, (function, given) in made.items()
        }
    result["matmul_peak_gflops"] = speed.matmul_peak(arguments.rounds) / 1e9
    print(json.dumps(result))
    about = {"command": f"python benchmarks/pieces.py --rounds={arguments.rounds}", "date": provenance.now()}
    about |= {"device": provenance.device(), "versions": provenance.versions(), "commit": commit}
    files.write_json(Path(__file__).parent / "results" / "pieces.json", result | about)


if __name__ == "__main__":
    main()
