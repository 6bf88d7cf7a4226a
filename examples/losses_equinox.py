"""GTP's losses with a network in Equinox: a policy with two modes, sampled in one, two and five steps.

losses_nnx.py does the same in Flax NNX, docs/losses.md in JAX alone. Only the network and its gradient differ.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from gtp_jax import losses

NUM_UPDATES = 3_000
SCHEDULE = losses.Schedule()

angle = jax.random.uniform(jax.random.key(0), (4096,), maxval=2 * jnp.pi)
obs = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)  # [N, 2] of length 1
action = 0.7 * jax.random.rademacher(jax.random.key(1), (4096, 1)) * obs  # in that direction or the opposite one


class Network(eqx.Module):
    mlp: eqx.nn.MLP

    def __call__(self, obs, x, t, s):
        inputs = jnp.concatenate([obs, x, jnp.log(jnp.stack([t, s], axis=-1) + 1e-3) / 4], axis=-1)
        return jax.vmap(self.mlp)(inputs)  # a module sees one example


def gtp_loss(network, key):
    key_rows, key_times, key_noise = jax.random.split(key, 3)
    rows = jax.random.randint(key_rows, (256,), 0, len(obs))
    o, a = obs[rows], action[rows]
    velocity = losses.edm_velocity(lambda x, t, s: network(o, x, t, s), sigma_data=0.35)
    times = losses.adjacent_times(key_times, a.shape[:1], SCHEDULE, num_intervals=20, zero_share=0.3)
    terms = losses.trajectory_losses(velocity, velocity, a, jax.random.normal(key_noise, a.shape), times)
    return jnp.mean(losses.balanced_weight(times.t, sigma_data=0.35) * terms.consistency + terms.flow)


@eqx.filter_jit
def update(network, opt_state, key):
    grads = eqx.filter_grad(gtp_loss)(network, key)
    updates, opt_state = optimiser.update(grads, opt_state)
    return eqx.apply_updates(network, updates), opt_state


network = Network(eqx.nn.MLP(6, 2, width_size=128, depth=3, activation=jax.nn.silu, key=jax.random.key(0)))
optimiser = optax.adam(optax.cosine_decay_schedule(3e-3, NUM_UPDATES))
opt_state = optimiser.init(eqx.filter(network, eqx.is_array))
for step in range(NUM_UPDATES):
    network, opt_state = update(network, opt_state, jax.random.key(step))

velocity = losses.edm_velocity(lambda x, t, s: network(obs, x, t, s), sigma_data=0.35)
noise = SCHEDULE.sigma_max * jax.random.normal(jax.random.key(2), action.shape)
for num_steps in (1, 2, 5):
    times = losses.angular_times(num_steps, SCHEDULE.sigma_max, scale=0.35)
    sample = losses.follow(velocity, noise, times)
    distance = jnp.minimum(*(jnp.linalg.norm(sample - mode, axis=-1) for mode in (action, -action)))
    print(f"K = {num_steps}: {100 * jnp.mean(distance < 0.2):.0f} % of the samples within 0.2 of a mode")
