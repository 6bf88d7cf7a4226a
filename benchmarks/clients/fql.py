"""The losses in somebody else's agent: seohongpark/fql, whose behaviour-cloning loss is replaced by one of ours.

    python benchmarks/clients/fql.py --checkout=PATH [--updates=4000]

PATH is a checkout of the repository; beside jax, flax and optax it needs distrax and ml_collections. `swap` is all that
a user writes. First, with equal noise, our flow-matching loss is compared with its own: the loss, its gradient, and the
parameters after some updates. Then each loss trains its agent on a probe, actions at two places of which the
observation chooses none, and the share of sampled actions that end near one is counted. Writes results/clients.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from gtp_jax import files, losses
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.times import uniform_times
from gtp_jax.runs import provenance

OBS, ACTIONS, BATCH, WIDTH, NEAR = 5, 2, 256, 128, 0.2
PLACES = np.array([[0.5, 0.5], [-0.5, -0.5]], np.float32)


def velocity(agent, obs, params=None):
    """Its network as ours: data at t = 0 for its 1, and two times for its one."""

    def u(x, t, s):
        times = jnp.stack([1 - t, 1 - s], axis=-1)
        return -agent.network.select("actor_bc_flow")(obs, x, times, params=params)

    return u


def edm_velocity(agent, obs, params=None):
    """The same on the variance-exploding path, whose times its network sees as logarithms."""

    def raw(x, t, s):
        times = jnp.log(jnp.stack([t, s], axis=-1) + 1e-3) / 4
        return agent.network.select("actor_bc_flow")(obs, x, times, params=params)

    return losses.edm_velocity(raw, sigma_data=0.5)


def flow_matching(agent, obs, x, keys, params):
    """Its own loss in our words, with its own draws; it averages over an action's numbers, too."""
    key_z, key_t = keys
    z, t = jax.random.normal(key_z, x.shape), 1 - jax.random.uniform(key_t, (len(x), 1))[:, 0]
    return losses.field_loss(velocity(agent, obs, params), losses.LINEAR, x, z, t).mean() / x.shape[-1]


def shortcut(agent, obs, x, keys, params):
    """Shortcut models; the frozen parameters are followed."""
    t, d = losses.dyadic_times(jax.random.fold_in(keys[1], 1), x.shape[:1])
    z = jax.random.normal(jax.random.fold_in(keys[0], 1), x.shape)
    jumps = losses.self_consistency_loss(velocity(agent, obs, params), velocity(agent, obs), x, z, t, d)
    return jumps.mean() + flow_matching(agent, obs, x, keys, params)


def gtp(agent, obs, x, keys, params):
    """Generative trajectory policies on a fixed grid of 80 intervals."""
    times = losses.adjacent_times(keys[1], x.shape[:1], losses.Schedule(), 80)
    z, u = jax.random.normal(keys[0], x.shape), edm_velocity(agent, obs, params)
    terms = losses.trajectory_losses(u, edm_velocity(agent, obs), x, z, times)
    return (terms.consistency + terms.flow).mean()


def jumps_on(velocity_of, times):
    """A sampler in the place of its Euler steps."""

    def sample(agent, observations, noises):
        grid = times(2)
        return jnp.clip(flow_map.follow(velocity_of(agent, observations), grid[0] * noises, grid), -1, 1)

    return sample


# Loss, and the sampler that goes with it; flow matching keeps the agent's own.
SWAPS = {
    "flow_matching": (flow_matching, None),
    "shortcut": (shortcut, jumps_on(velocity, uniform_times)),
    "gtp": (gtp, jumps_on(edm_velocity, losses.Schedule().sampling_times)),
}


def swap(agent_class, loss, sampler=None):
    """The agent with another behaviour-cloning loss in the place of its own."""

    class Swapped(agent_class):
        def actor_loss(self, batch, grad_params, rng):
            total, info = super().actor_loss(batch, grad_params, rng)
            ours = loss(self, batch["observations"], batch["actions"], jax.random.split(rng, 3)[1:], grad_params)
            return total - info["bc_flow_loss"] + ours, info | {"bc_flow_loss": ours}

        if sampler:
            compute_flow_actions = sampler

    return Swapped


def open_checkout(path: Path):
    """Its module of the agent, whose flow network takes two times and, given one, takes it twice."""
    sys.path.insert(0, str(path))
    from agents import fql

    class TwoTimes(fql.ActorVectorField):
        def __call__(self, observations, actions, times=None, is_encoded=False):
            if times is not None and times.shape[-1] == 1:
                times = jnp.concatenate([times, times], axis=-1)
            return super().__call__(observations, actions, times, is_encoded)

    fql.ActorVectorField = TwoTimes
    return fql


def draw(key, count=BATCH) -> dict:
    """A batch of the probe: one step, no reward, and actions at either place."""
    key_obs, key_place, key_noise = jax.random.split(key, 3)
    place = jnp.asarray(PLACES)[jax.random.randint(key_place, (count,), 0, len(PLACES))]
    obs = jax.random.normal(key_obs, (count, OBS))
    actions = place + 0.03 * jax.random.normal(key_noise, (count, ACTIONS))
    none = jnp.zeros(count)
    return {
        **{"observations": obs, "actions": actions, "next_observations": obs},
        **{"rewards": none, "masks": none, "terminals": none + 1},
    }


def create(fql, agent_class):
    """An agent from the seed 0; the class changes no parameter."""
    config = fql.get_config()
    config.actor_hidden_dims = config.value_hidden_dims = (WIDTH, WIDTH)
    batch = draw(jax.random.key(0), 1)
    return agent_class.create(0, batch["observations"], batch["actions"], config)


def train(agent, updates: int):
    """The agent after so many updates, and the mean behaviour-cloning loss of the first and of the last twentieth."""
    found = []
    for step in range(updates):
        agent, info = agent.update(draw(jax.random.fold_in(jax.random.key(1), step)))
        found.append(info["actor/bc_flow_loss"])
    part = max(1, updates // 20)
    return agent, [float(np.mean(some)) for some in (found[:part], found[-part:])]


def difference(one, other) -> float:
    """The largest difference between two trees, over the largest number in the first."""
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    return float(max(jnp.abs(a - b).max() for a, b in pairs) / max(jnp.abs(a).max() for a, _ in pairs))


def compare(fql, updates: int = 100) -> dict:
    """Our flow-matching loss beside its own, with equal noise."""
    own = create(fql, fql.FQLAgent)
    ours = create(fql, swap(fql.FQLAgent, *SWAPS["flow_matching"]))
    batch, key = draw(jax.random.key(2)), jax.random.PRNGKey(3)

    def cloning(agent):
        def loss(params):
            return agent.actor_loss(batch, params, key)[1]["bc_flow_loss"]

        return jax.jit(jax.value_and_grad(loss))(agent.network.params)

    (value, gradient), (our_value, our_gradient) = cloning(own), cloning(ours)
    trained, our_trained = train(own, updates)[0], train(ours, updates)[0]
    return {
        "loss": [float(value), float(our_value)],
        "gradient_norm": float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))),
        "gradient_difference": difference(gradient, our_gradient),
        "updates": updates,
        "parameter_difference": difference(trained.network.params, our_trained.network.params),
    }


def near_a_place(agent, count: int = 1000) -> dict:
    """The share of sampled actions within NEAR of a place, and of those the share at the first."""
    key_obs, key_noise = jax.random.split(jax.random.key(4))
    obs, noise = jax.random.normal(key_obs, (count, OBS)), jax.random.normal(key_noise, (count, ACTIONS))
    distance = np.linalg.norm(np.asarray(agent.compute_flow_actions(obs, noise))[:, None] - PLACES, axis=-1)
    near = distance.min(axis=1) < NEAR
    return {"near": float(near.mean()), "first": float((distance.argmin(axis=1) == 0)[near].mean())}


def main(argv: list[str] | None = None) -> dict:
    """Compares, trains, writes and returns the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, required=True, help="of seohongpark/fql")
    parser.add_argument("--updates", type=int, default=4000, help="of each agent on the probe")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "clients.json")
    arguments = parser.parse_args(argv)
    fql = open_checkout(arguments.checkout)
    commit = subprocess.run(
        ["git", "-C", str(arguments.checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    result = {
        "repository": "seohongpark/fql",
        "its_commit": commit.stdout.strip(),
        "flow_matching_beside_its_own": compare(fql),
        "probe": {},
    }
    classes = {"its own": fql.FQLAgent} | {name: swap(fql.FQLAgent, *swapped) for name, swapped in SWAPS.items()}
    for name, agent_class in classes.items():
        agent, (first, last) = train(create(fql, agent_class), arguments.updates)
        result["probe"][name] = {"first_loss": first, "last_loss": last, **near_a_place(agent)}
        print(name, result["probe"][name])
    result |= {
        "settings": {"updates": arguments.updates, "batch": BATCH, "width": WIDTH, "near": NEAR, "seed": 0},
        "command": f"python benchmarks/clients/fql.py --checkout=PATH --updates={arguments.updates}",
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    files.write_json(arguments.output, result)
    return result


if __name__ == "__main__":
    print(json.dumps(main()))
