"""Compares what the critic of an AntMaze run estimates with what happens: DIR/diagnostics.json, DIR/diagnostics.png.

It puts the simulator back into states that the policy meets, tries several of its actions at each, continues with the
policy, and compares the returns with the critic's advantages; and the critic's values with the returns of its data and
of held-out episodes, collected with another seed.
"""

import argparse
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.commands import number, origin, user_path
from gtp_jax.declare import MANY, MAX_INT, Range
from gtp_jax.names import counted
from gtp_jax.runs.terminal import Parser, Terminal

ROWS = 4_000  # of the data: for the support, and for the weights


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; a mistake ends the program with one line and exit code 2."""
    parser = Parser(prog="gtp-jax diagnose", description="Compares what a critic estimates with what happens.")
    add, several, any_number = parser.add_argument, number(Range(2, 10_000)), number(Range(0, MAX_INT))
    add("--workdir", type=user_path, required=True, help="directory of the run")
    add("--trial", type=any_number, default=0, help="which of its trials, counted from 0")
    add("--states", type=several, default=16, help="states that the policy meets")
    add("--actions", type=several, default=8, help="actions of the policy, tried at each state")
    add("--repeats", type=several, default=2, help="returns of each action, since the policy draws noise")
    add("--steps", type=number(MANY), default=300, help="environment steps after which a return is cut")
    add("--transitions", type=number(MANY), default=20_000, help="transitions of the data, and of held-out episodes")
    add("--seed", type=any_number, default=0, help="seed of states, actions and what follows")
    return parser.parse_args(argv)


def check_diagnosable(policy: Any, trial: int) -> None:
    """Raises ValueError for a run without a critic, or whose data cannot be collected anew with the same rewards."""
    from gtp_jax.config.settings import is_cloning

    settings = policy.settings
    if trial >= len(policy.trials):
        raise ValueError(f"--trial={trial}: this run has {counted(len(policy.trials), 'trial')}, counted from 0")
    if not settings.dataset.startswith("gtp/antmaze/"):
        raise ValueError(f"{settings.dataset}: only built-in AntMaze data can be collected anew, with another seed")
    if (reward := settings.data.reward) in ("standardise", "return-range"):
        raise ValueError(f"data.reward = {reward!r} depends on all data; other episodes have no such reward")
    if is_cloning(settings):
        raise ValueError("this run cloned and has no critic to diagnose")


def branch(policy: Any, dataset: Any, arguments: argparse.Namespace, discount: float) -> tuple[np.ndarray, ...]:
    """Tries N actions at each of S states, R times.

    Returns observations [S, N, O], actions [S, N, A], the critic's advantages [S, N], and returns [S, N, R].
    """
    import jax

    from gtp_jax.datasets import transform_reward
    from gtp_jax.diagnosis import branches
    from gtp_jax.types import Batch

    keys = jax.random.split(jax.random.key(arguments.seed), 3)
    s, n, r, steps = arguments.states, arguments.actions, arguments.repeats, arguments.steps

    def act(key: Any) -> branches.Act:
        return lambda step, obs: policy(obs, key=jax.random.fold_in(key, step), trial=arguments.trial)

    envs = [dataset.make_env() for _ in range(min(max(s, 32), s * n * r))]
    times = np.random.default_rng(arguments.seed).integers(0, steps, s)
    states = [state for state in branches.visited(envs[:s], act(keys[0]), times, arguments.seed) for _ in range(n)]
    action = act(keys[1])(0, branches.stack(states))
    jobs = [state for state in states for _ in range(r)]
    found = branches.play(envs, act(keys[2]), jobs, np.repeat(action, r, axis=0), steps=steps)
    for env in envs:
        env.close()
    reward = transform_reward(policy.settings.data.reward, found.reward.ravel(), np.zeros(found.reward.size))
    reward = reward.reshape(-1, steps) * (np.arange(steps) < found.length[:, None])
    obs = policy.observe(branches.stack(states))
    once = Batch(
        obs=obs,
        action=action,
        reward=reward[::r, 0].astype(np.float32),
        discount=1.0 - (found.terminated & (found.length == 1))[::r].astype(np.float32),
        next_obs=policy.observe(branches.stack(found.next_obs[::r])),
    )
    advantage = np.asarray(policy.estimate_values(once, trial=arguments.trial).advantage, np.float64)
    followed = reward @ discount ** np.arange(steps)
    return obs.reshape(s, n, -1), action.reshape(s, n, -1), advantage.reshape(s, n), followed.reshape(s, n, r)


def main(argv: list[str] | None = None) -> None:
    """Writes the two files and prints the numbers."""
    arguments, terminal = parse(argv), Terminal()
    import jax
    import jax.numpy as jnp

    from gtp_jax import load_policy
    from gtp_jax.agent.guidance import GUIDANCE, MAX_WEIGHT
    from gtp_jax.config import trials
    from gtp_jax.config.settings import describe
    from gtp_jax.datasets import returns
    from gtp_jax.datasets.builtin import ids
    from gtp_jax.diagnosis import plots, statistics
    from gtp_jax.training.train import load_dataset

    workdir, policy = arguments.workdir, load_policy(arguments.workdir)
    check_diagnosable(policy, arguments.trial)
    paths = workdir / "diagnostics.json", workdir / "diagnostics.png"
    for path in paths:
        files.check_output(path)
    settings, trial, rng = policy.settings, policy.trials[arguments.trial], np.random.default_rng(arguments.seed)
    discount, eta = (trials.hyperparameters(settings, [trial])[name][0] for name in ("discount", "eta"))
    dataset = load_dataset(settings, terminal)
    # Held-out episodes: the same task, collected with the next seed, as this policy observes them.
    own = ids.parse_id(dataset.id)
    held_id = own._replace(transitions=arguments.transitions, seed=own.seed + 1).id
    raw = {"dataset": held_id, "data.episodes": "all", "data.standardise": False}
    found = load_dataset(settings.replace(raw), terminal)
    held: Any = found.batch
    held = held._replace(obs=policy.observe.scale(held.obs), next_obs=policy.observe.scale(held.next_obs))

    def next_value(batch: Any) -> np.ndarray:
        return np.asarray(policy.estimate_values(batch, trial=arguments.trial).next_value)

    def rows_of(batch: Any, rows: np.ndarray) -> Any:
        return jax.tree.map(lambda column: column[rows], batch)

    def followed(batch: Any, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The critic's value of where transitions led, and the returns that followed."""
        inside = rng.permutation(np.flatnonzero(np.diff(episode) == 0))[: arguments.transitions]
        after = statistics.returns_after(batch, episode, inside, discount, next_value)
        return next_value(rows_of(batch, inside)), after

    held_values = followed(held, found.episode)
    obs, action, value, tried = branch(policy, dataset, arguments, discount)
    mean = tried.mean(axis=2)
    critic, truth = (each - each.mean(axis=1, keepdims=True) for each in (value, mean))
    many = returns.n_step(dataset.batch, dataset.episode, settings.critic.n_step, discount)
    rows = rng.choice(len(many.reward), min(ROWS, len(many.reward)), replace=False)
    guidance = GUIDANCE[settings.guidance.name]()
    advantage = policy.estimate_values(rows_of(many, rows), trial=arguments.trial).advantage
    weights, weighed = guidance.weigh(advantage, {"eta": jnp.float32(eta)})
    weights, known = np.asarray(weights), rows_of(dataset.batch, rows)
    fresh = rng.choice(len(held.reward), min(1000, len(held.reward)), replace=False)
    pick = (np.arange(len(value)), np.argmax(value, axis=1))
    asked = {
        "held-out data": (held.obs[fresh], held.action[fresh]),
        "sampled": tuple(each.reshape(-1, each.shape[-1]) for each in (obs, action)),
        "picked": (obs[pick], action[pick]),
    }
    support, episode = (known.obs, known.action), dataset.episode[rows]
    measured = {
        "values": statistics.calibration(*held_values),
        "values_of_the_data": statistics.calibration(*followed(dataset.batch, dataset.episode)),
        "actions": statistics.among_actions(tried)
        | {"critic_error": float(np.sqrt(((critic - truth) ** 2).mean())), "critic": float(critic.std())},
        "ranking": statistics.ranking(value, mean),
        "choice": statistics.choice(value, mean),
        "weights": {
            "effective_share": weighed.get("guidance/effective_share", 1.0),
            "clipped": (weights >= MAX_WEIGHT).mean(),
            "optimal_share": (guidance.label(advantage) > 0).mean() if guidance.label else None,
        },
        "outside": {name: statistics.outside(support, each, episode) for name, each in asked.items()},
    }
    facts = {"dataset": dataset.id, "held_out": held_id, "method": describe(settings), "updates": policy.step}
    facts |= {"trial": trial.label(), "discount": discount, **measured}
    facts |= {"arguments": vars(arguments) | {"workdir": str(workdir)}, **origin("diagnose", argv)}
    report = files.plain(facts)
    files.write_json(paths[0], report)
    plots.page(report, held_values, (critic, truth), weights, paths[1])
    for part in measured:
        numbers = report[part] if isinstance(report[part], dict) else {"rank correlation": report[part]}
        terminal.say(f"{part}: " + ", ".join(f"{k} {'-' if v is None else f'{v:.3g}'}" for k, v in numbers.items()))
    terminal.say(f"{paths[0]}, {paths[1]}")
