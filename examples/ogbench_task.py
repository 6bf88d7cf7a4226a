"""A task of OGBench from nothing: data, rewards of the task, training, and the success rate in its own environment.

It needs the extra: pip install -e '.[ogbench]', Python 3.11 or 3.12. The default is a point maze whose data are made
here in seconds, by OGBench's own program with another seed; they are not the published file. That takes a network:
    python examples/ogbench_task.py --dataset=ogbench/cube-single-play-singletask-task2-v0 --real_size
"""

import argparse

import gtp_jax

MADE_HERE = "gtp/ogbench/pointmaze-medium-navigate-singletask-task1-100k-v0"
SMALL = {
    "num_seeds": 2,
    "num_updates": 8_000,
    "critic.n_step": 20,  # with so few updates, values have to travel far in each
    "critic.ema": 0.02,
    "policy.hidden": (64, 64, 64),
    "critic.hidden": (64, 64, 64),
    "eval.num_episodes": 20,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default=MADE_HERE, help="an id of docs/ogbench.md")
    parser.add_argument("--real_size", action="store_true", help="1,000,000 updates of 8 seeds, and larger networks")
    flags = parser.parse_args()
    changes = {"num_seeds": 8, "num_updates": 1_000_000} if flags.real_size else SMALL

    data = gtp_jax.datasets.load(flags.dataset)
    solved = (data.batch.discount == 0).mean()  # OGBench's rewards are 0 where the task is solved, and below elsewhere
    print(f"{data.id}: {len(data.batch.reward):,} transitions, {100 * solved:.1f} % of them solve the task")

    for method in ("gtp-bc", "gtp"):  # without a critic, and weighted by an expectile critic's advantages
        settings = gtp_jax.preset(f"ogbench:{flags.dataset},{method}").replace(changes)
        result = gtp_jax.train(settings.replace({"eval.every": settings.num_updates}), dataset=data, quiet=True)
        score, (low, high) = result.summary["score"], result.summary["score"]["ci95"]
        print(f"{result.summary['algorithm']}: success {score['mean']:.0f} %, 95 % interval [{low:.0f}, {high:.0f}]")
