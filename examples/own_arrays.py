"""From arrays of your own to a policy: it learns to balance a pole from a controller that often lets it fall.

The rows are recorded here, in Gymnasium's InvertedPendulum-v5. Yours may come from a log or a robot: four or five
arrays with a row per step are all that `from_arrays` needs, and without `env` the policy trains unevaluated.
"""

import gymnasium
import numpy as np

import gtp_jax

NUM_ROWS = 20_000
NUM_UPDATES = 3_000  # larger problems take 20,000 to 1,000,000, and the default networks
SMALL = {"policy.hidden": (64, 64), "eval.num_episodes": 10, "eval.num_envs": 10}


def record(num_rows=NUM_ROWS, seed=0):
    """Rows of a linear controller; each episode draws how much noise disturbs its actions."""
    env, rng = gymnasium.make("InvertedPendulum-v5"), np.random.default_rng(seed)
    rows = {"observations": [], "actions": [], "rewards": [], "terminals": [], "timeouts": []}
    terminated, truncated, episode = True, False, 0
    for _ in range(num_rows):
        if terminated or truncated:
            obs, _ = env.reset(seed=seed + episode)
            noise, episode = rng.uniform(0, 3), episode + 1
        action = np.clip([1, 10, 1, 1] @ obs + noise * rng.normal(size=1), -3, 3)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        for column, value in zip(rows.values(), (obs, action, reward, terminated, truncated), strict=True):
            column.append(value)
        obs = next_obs
    env.close()
    return {name: np.array(column, np.float32) for name, column in rows.items()}


def clone(rows, changes=(), **options):
    """GTP without a critic on rows of the pole; `changes` are settings by their dotted names."""
    data = gtp_jax.datasets.from_arrays(**rows, env="InvertedPendulum-v5", name="pole")
    own = {"guidance.name": "none", "num_updates": NUM_UPDATES, "num_seeds": 2} | SMALL
    return gtp_jax.train("gym", own | dict(changes), dataset=data, **options)


if __name__ == "__main__":
    rows = record()
    print({name: column.shape for name, column in rows.items()})
    episodes = rows["terminals"].sum() + rows["timeouts"].sum()
    print(f"the controller balances for {rows['rewards'].sum() / episodes:.0f} of 1,000 steps on average")

    result = clone(rows)
    low, high = result.summary["score"]["ci95"]
    print(f"the policy balances for {result.summary['score']['mean']:.0f} steps, 95 % interval [{low:.0f}, {high:.0f}]")
    print("its action where the pole leans forward:", result.policy(np.array([0.0, 0.1, 0.0, 0.0])))
