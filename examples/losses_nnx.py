"""GTP's losses with a network in Flax NNX: a policy with two modes, sampled in one, two and five steps.

losses_equinox.py does the same in Equinox, docs/losses.md in JAX alone. Only the network and its gradient differ.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from gtp_jax import losses

NUM_UPDATES = 3_000
SCHEDULE = losses.Schedule()

angle = jax.random.uniform(jax.random.key(0), (4096,), maxval=2 * jnp.pi)
obs = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)  # [N, 2] of length 1
action = 0.7 * jax.random.rademacher(jax.random.key(1), (4096, 1)) * obs  # in that direction or the opposite one


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.List(nnx.Linear(size, 128, rngs=rngs) for size in (6, 128, 128))
        self.out = nnx.Linear(128, 2, rngs=rngs)

    def __call__(self, obs, x, t, s):
        h = jnp.concatenate([obs, x, jnp.log(jnp.stack([t, s], axis=-1) + 1e-3) / 4], axis=-1)
        for layer in self.hidden:
            h = nnx.silu(layer(h))
        return self.out(h)


def gtp_loss(network, key):
    key_rows, key_times, key_noise = jax.random.split(key, 3)
    rows = jax.random.randint(key_rows, (256,), 0, len(obs))
    o, a = obs[rows], action[rows]
    velocity = losses.edm_velocity(lambda x, t, s: network(o, x, t, s), sigma_data=0.35)
    times = losses.adjacent_times(key_times, a.shape[:1], SCHEDULE, num_intervals=20, zero_share=0.3)
    terms = losses.trajectory_losses(velocity, velocity, a, jax.random.normal(key_noise, a.shape), times)
    return jnp.mean(losses.balanced_weight(times.t, sigma_data=0.35) * terms.consistency + terms.flow)


@nnx.jit
def update(network, optimiser, key):
    optimiser.update(network, nnx.grad(gtp_loss)(network, key))


network = Network(nnx.Rngs(0))
optimiser = nnx.Optimizer(network, optax.adam(optax.cosine_decay_schedule(3e-3, NUM_UPDATES)), wrt=nnx.Param)
for step in range(NUM_UPDATES):
    update(network, optimiser, jax.random.key(step))

velocity = losses.edm_velocity(lambda x, t, s: network(obs, x, t, s), sigma_data=0.35)
noise = SCHEDULE.sigma_max * jax.random.normal(jax.random.key(2), action.shape)
for num_steps in (1, 2, 5):
    times = losses.angular_times(num_steps, SCHEDULE.sigma_max, scale=0.35)
    sample = losses.follow(velocity, noise, times)
    distance = jnp.minimum(*(jnp.linalg.norm(sample - mode, axis=-1) for mode in (action, -action)))
    print(f"K = {num_steps}: {100 * jnp.mean(distance < 0.2):.0f} % of the samples within 0.2 of a mode")
