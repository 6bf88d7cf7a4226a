"""AntMaze from offline data.

python experiments/run.py --config=antmaze.py                         GTP, two levels, on U-Maze, collected at first use
python experiments/run.py --config=antmaze.py:umaze,gtp               the paper's: one level, guided by weights
python experiments/run.py --config=antmaze.py:medium-play             another embedded task
python experiments/run.py --config=antmaze.py:umaze,diffusion-ql      another method of gtp_jax.methods
python experiments/run.py --config=antmaze.py:D4RL/antmaze/umaze-v1   hosted data, downloaded by Minari
python experiments/run.py --config=antmaze.py:tiny                    GTP by the paper's weights, shrunk: a first look

Where no method is named it is gtp-subgoal (docs/guidance.md): about 12 minutes of two cores on U-Maze, and longer
on larger mazes, whose episodes are longer. What it scores on the embedded data is in docs/results.md, where it was
measured; what GTP was published to reach on D4RL's, which are others (K = 5, 1M updates, arXiv 2510.11499):

| task | GTP | GTP-BC |
|---|---|---|
| umaze | 100.0 | 84.2 |
| umaze-diverse | 81.9 | 79.2 |
| medium-play | 83.3 | 74.4 |
| medium-diverse | 94.2 | 85.0 |
| large-play | 53.5 | 34.4 |
| large-diverse | 71.0 | 40.8 |

umaze-noisy and umaze-mixed are embedded data without a counterpart there.
"""

from ml_collections import ConfigDict

from gtp_jax.config.presets import configure

# How these were chosen: docs/method.md.
DEFAULTS = {
    "num_seeds": 5,
    "num_updates": 20_000,
    "policy.learning_rate": 1e-3,
    "policy.num_steps": 2,
    "policy.temperature": 0.5,
    "guidance.eta": 0.3,
}
TINY = {
    "dataset": "gtp/antmaze/umaze-5k-v0",
    "num_seeds": 2,
    "num_updates": 400,
    "log_every": 50,
    "checkpoint_every": 100,
    "policy.hidden": (32, 32),
    "critic.hidden": (32, 32),
    "eval.num_episodes": 4,
    "eval.every": 200,
    "eval.progress_episodes": 2,
    "eval.num_envs": 4,
}


def get_config(variant: str = "umaze") -> ConfigDict:
    """The configuration of TASK[,METHOD]: `umaze`, ..., `large-diverse`, `tiny`, or the id of a dataset."""
    task, comma, method = variant.partition(",")
    if task == "tiny":
        return configure("antmaze", f"umaze{comma}{method}", DEFAULTS, TINY)
    return configure("antmaze", variant, DEFAULTS, method="gtp-subgoal")
