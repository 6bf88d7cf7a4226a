"""Says what the critic of an AntMaze run knows, and what its guidance makes of it: for when value guidance hurts.

    python experiments/diagnose.py --workdir=DIR [--lane=0] [--states=16] [--actions=8] [--repeats=2] [--steps=300]

Puts the simulator back into states that the policy meets, tries several of its actions at each, goes on with the
policy, and compares what then happens with what the critic said; and the critic's values with the returns of its data
and of episodes that it was not trained on, collected with another seed. Writes DIR/diagnostics.json and
DIR/diagnostics.png.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from absl import logging

from gtp_jax import files
from gtp_jax.config.settings import describe, is_cloning
from gtp_jax.runs import provenance
from gtp_jax.runs.terminal import Parser, Terminal, refuse

ROWS = 4_000  # of the data: for the support, and for the weights


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--lane", type=int, default=0, help="which of its trainings, in the order of its seeds")
    parser.add_argument("--states", type=int, default=16, help="states that the policy meets")
    parser.add_argument("--actions", type=int, default=8, help="of the policy, tried at each")
    parser.add_argument("--repeats", type=int, default=2, help="returns of each action, since the policy draws noise")
    parser.add_argument("--steps", type=int, default=300, help="environment steps after which a return is cut")
    parser.add_argument("--transitions", type=int, default=20_000, help="of the data and of the held-out episodes")
    parser.add_argument("--seed", type=int, default=0, help="of states, actions and what follows")
    arguments = parser.parse_args(argv)
    for name, least in (("lane", 0), ("states", 2), ("actions", 2), ("repeats", 2), ("steps", 1), ("transitions", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name}={getattr(arguments, name)} must be at least {least}")
    return arguments


def held_out(dataset, settings: dict, observe, transitions: int):
    """The same task collected with the next seed: batch as the policy sees it, and episodes."""
    from gtp_jax import datasets
    from gtp_jax.datasets.builtin import ids

    own = ids.parse(dataset.id)
    other = own._replace(transitions=transitions, seed=own.seed + 1)
    found = datasets.load(other.id, **settings["data"] | {"episodes": "all"})
    obs, next_obs = (observe.scale(found.observe.unscale(each)) for each in (found.batch.obs, found.batch.next_obs))
    return found.id, found.batch._replace(obs=obs, next_obs=next_obs), found.episode


def discount_of(policy, lane: int) -> float:
    """The discount that a training of the run had."""
    from gtp_jax.config import trials

    return trials.hyperparameters(policy.settings, policy.lanes[lane : lane + 1])["discount"][0]


def branch(policy, dataset, arguments) -> dict[str, np.ndarray]:
    """Tries actions at states: `obs` [S, O], `action` [S, N, A], `value` [S, N] by the critic, `returns` [S, N, R]."""
    import jax

    from gtp_jax import datasets
    from gtp_jax.diagnosis import branches
    from gtp_jax.types import Batch

    settings, own = policy.settings, policy.settings["policy"]
    root = jax.random.key(arguments.seed)
    keys = jax.random.split(root, 3)

    def act(key, num_steps=own["num_steps"]):
        return lambda step, obs: policy(
            obs, key=jax.random.fold_in(key, step), num_steps=num_steps, seed_index=arguments.lane
        )

    s, n, r = arguments.states, arguments.actions, arguments.repeats
    envs = [dataset.make_env() for _ in range(max(s, 32))]
    times = np.random.default_rng(arguments.seed).integers(0, arguments.steps, s)
    states = branches.visited(envs[:s], act(keys[0]), times, arguments.seed)
    stacked = branches.stack(states)
    every = {name: np.repeat(part, n, axis=0) for name, part in stacked.items()}
    action = act(keys[1])(0, every).reshape(s, n, -1)
    jobs = [states[i] for i in range(s) for _ in range(n * r)]
    tried = np.repeat(action.reshape(s * n, -1), r, axis=0)
    found = branches.play(envs, act(keys[2]), jobs, tried, steps=arguments.steps)
    for env in envs:
        env.close()
    reward = datasets.transform_reward(
        settings["data"]["reward"], found.reward.reshape(-1), np.zeros(found.reward.size)
    )
    reward = reward.reshape(found.reward.shape) * (np.arange(arguments.steps) < found.length[:, None])
    discount = discount_of(policy, arguments.lane)
    once = slice(None, None, r)
    transitions = Batch(
        obs=policy.observe(every),
        action=action.reshape(s * n, -1),
        reward=reward[once, 0].astype(np.float32),
        discount=1.0 - (found.terminated & (found.length == 1))[once].astype(np.float32),
        next_obs=policy.observe(branches.stack(found.next_obs[once])),
    )
    return {
        "obs": policy.observe(stacked),
        "action": action,
        "value": np.asarray(policy.judge(transitions, seed_index=arguments.lane).advantage, np.float64).reshape(s, n),
        "returns": (reward @ discount ** np.arange(arguments.steps)).reshape(s, n, r),
    }


def main(argv: list[str] | None = None) -> dict:
    """Writes the two files and prints the numbers."""
    arguments, terminal = parse(argv), Terminal()
    import jax
    import jax.numpy as jnp

    from gtp_jax import datasets, load_policy
    from gtp_jax.agent.guidance import GUIDANCE, MAX_WEIGHT
    from gtp_jax.datasets import returns
    from gtp_jax.diagnosis import statistics
    from gtp_jax.runs import plots

    logging.set_verbosity(logging.WARNING)
    policy = load_policy(arguments.workdir)
    settings = policy.settings
    if arguments.lane >= len(policy.lanes):
        raise ValueError(f"--lane={arguments.lane}: {arguments.workdir} has {len(policy.lanes)} trainings, from 0")
    if not settings["dataset"].startswith("gtp/antmaze/"):
        raise ValueError(f"{settings['dataset']}: only embedded AntMaze data can be collected anew, with another seed")
    if settings["data"]["reward"] in ("standardise", "return-range"):
        raise ValueError(
            f"data.reward = {settings['data']['reward']!r} depends on all of the data: other episodes have no such "
            "reward"
        )
    if is_cloning(settings):
        raise ValueError(f"{arguments.workdir}: this run cloned and has no critic to diagnose")
    lane, discount = policy.lanes[arguments.lane], discount_of(policy, arguments.lane)
    dataset = datasets.load(settings["dataset"], **settings["data"])
    rng = np.random.default_rng(arguments.seed)

    def rows_of(batch, rows):
        return jax.tree.map(lambda column: column[rows], batch)

    def judge(batch):
        return policy.judge(batch, seed_index=arguments.lane)

    def next_value(batch):
        return np.asarray(judge(batch).next_value)

    def followed(batch, episode):
        """The critic's value of where transitions led, and what then followed."""
        inside = rng.permutation(np.flatnonzero(np.diff(episode) == 0))[: arguments.transitions]
        after = returns.after(batch, episode, inside, discount, next_value)
        return next_value(rows_of(batch, inside)), after

    held_id, held, episode = held_out(dataset, settings, policy.observe, arguments.transitions)
    value, truth = followed(held, episode)

    tried = branch(policy, dataset, arguments)
    mean = tried["returns"].mean(axis=2)
    centred, wanted = (each - each.mean(axis=1, keepdims=True) for each in (tried["value"], mean))

    many = returns.n_step(dataset.batch, dataset.episode, settings["critic"]["n_step"], discount)
    rows = rng.choice(len(many.reward), min(ROWS, len(many.reward)), replace=False)
    eta = lane.swept.get("eta", settings["guidance"]["eta"])
    guidance, advantage = GUIDANCE[settings["guidance"]["name"]](), judge(rows_of(many, rows)).advantage
    weights, weighed = guidance.weigh(advantage, {"eta": jnp.float32(eta)})

    data, group = (dataset.batch.obs[rows], dataset.batch.action[rows]), dataset.episode[rows]
    fresh = rng.choice(len(held.reward), min(1000, len(held.reward)), replace=False)
    repeated = np.repeat(tried["obs"], arguments.actions, axis=0)
    picks = np.take_along_axis(tried["action"], np.argmax(tried["value"], axis=1)[:, None, None], axis=1)[:, 0]
    report = {
        "dataset": dataset.id,
        "held_out": held_id,
        "method": describe(settings),
        "updates": policy.step,
        "lane": lane.label(),
        "values": statistics.calibration(value, truth),
        "values_of_the_data": statistics.calibration(*followed(dataset.batch, dataset.episode)),
        "actions": statistics.among_actions(tried["returns"])
        | {"critic_error": float(np.sqrt(((centred - wanted) ** 2).mean())), "critic": float(centred.std())},
        "ranking": statistics.ranking(tried["value"], mean),
        "choice": statistics.choice(tried["value"], mean),
        "weights": {
            "effective_share": weighed.get("guidance/effective_share", 1.0),
            "clipped": float((np.asarray(weights) >= MAX_WEIGHT).mean()),
            "told_better": float((guidance.label(advantage) > 0).mean()) if guidance.label else None,
        },
        "outside": {
            "held-out data": statistics.outside(data, (held.obs[fresh], held.action[fresh]), group).mean(),
            "sampled": statistics.outside(data, (repeated, tried["action"].reshape(len(repeated), -1)), group).mean(),
            "picked": statistics.outside(data, (tried["obs"], picks), group).mean(),
        },
        "arguments": {key: str(each) if key == "workdir" else each for key, each in vars(arguments).items()},
        "command": " ".join(["python", *sys.argv]),
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    files.write_json(arguments.workdir / "diagnostics.json", report)
    plots.diagnosis(
        files.plain(report), value, truth, centred, wanted, np.asarray(weights), arguments.workdir / "diagnostics.png"
    )
    for part in ("values", "values_of_the_data", "actions", "ranking", "choice", "weights", "outside"):
        found = files.plain(report[part])
        found = found if isinstance(found, dict) else {"rank correlation": found}
        terminal.say(f"{part}: " + ", ".join(f"{k} {v:.3g}" if v is not None else f"{k} -" for k, v in found.items()))
    terminal.say(f"{arguments.workdir / 'diagnostics.json'}, {arguments.workdir / 'diagnostics.png'}")
    return report


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        refuse(error)
