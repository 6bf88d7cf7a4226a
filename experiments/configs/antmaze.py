"""AntMaze from offline data.

python experiments/run.py --config=antmaze.py                         U-Maze, collected on first use
python experiments/run.py --config=antmaze.py:medium-play             another embedded task
python experiments/run.py --config=antmaze.py:D4RL/antmaze/umaze-v1   hosted data, downloaded by Minari
python experiments/run.py --config=antmaze.py:tiny                    the same path in a minute, for a first look
"""

import copy

from ml_collections import ConfigDict

from gtp_jax.settings import DEFAULTS


def get_config(variant: str = "umaze") -> ConfigDict:
    """The configuration of a task: `umaze`, ..., `large-diverse`, `tiny`, or the id of a dataset."""
    config = ConfigDict(copy.deepcopy(DEFAULTS))
    config.dataset = variant if "/" in variant else f"gtp/antmaze/{variant}-v0"
    config.num_updates = 30_000
    config.policy.num_steps = 2
    config.policy.temperature = 0.5
    config.guidance.eta = 0.3
    if variant == "tiny":
        config.dataset = "gtp/antmaze/umaze-5k-v0"
        config.num_seeds = 2
        config.num_updates = 400
        config.log_every = 50
        config.checkpoint_every = 100
        config.policy.hidden = config.critic.hidden = (32, 32)
        config.eval.update({"num_episodes": 4, "every": 200, "progress_episodes": 2, "num_envs": 4})
    return config
