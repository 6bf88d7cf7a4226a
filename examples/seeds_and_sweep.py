"""Sixteen seeds of three learning rates, 48 trainings in one program, with an interval for each rate.

`vmap` runs the trainings side by side, so that an accelerator trains many in little more than the time of one. More
devices share them. Every hyperparameter of the state may be swept: docs/scaling.md.
"""

import time

from own_arrays import clone, record

NUM_SEEDS = 16
LEARNING_RATES = (1e-4, 1e-3, 1e-2)
NUM_UPDATES = 200  # few, so that the rates differ; with 1,000 the default rate balances to the end

if __name__ == "__main__":
    changes = {
        "num_seeds": NUM_SEEDS,
        "num_updates": NUM_UPDATES,
        "batch_size": 64,
        "sweep.policy_lr": LEARNING_RATES,
        "eval.num_episodes": 5,
        "eval.num_envs": 5,
    }
    started = time.perf_counter()
    result = clone(record(), changes, quiet=True)
    seconds = time.perf_counter() - started

    print("steps of 1,000 for which the pole is balanced, over seeds")
    print(f"{'learning rate':>13} {'mean':>6} {'95 % interval':>15} {'IQM':>6} {'lowest':>7} {'highest':>8}")
    for row in result.summary["sweep"]:
        score, (low, high) = row["score"], row["score"]["ci95"]
        rate, seeds = row["policy_lr"], score["per_seed"]
        interval = f"[{low:.0f}, {high:.0f}]"
        print(f"{rate:>13g} {score['mean']:>6.0f} {interval:>15} {score['iqm']:>6.0f}", end="")
        print(f" {min(seeds):>7.0f} {max(seeds):>8.0f}")
    print(f"{len(result.policy.trials)} trainings and their evaluations took {seconds:.0f} s")
