"""AntMaze from offline data.

python experiments/run.py --config=antmaze.py                         GTP on U-Maze, collected on first use
python experiments/run.py --config=antmaze.py:medium-play             another embedded task
python experiments/run.py --config=antmaze.py:umaze,diffusion-ql      another method of gtp_jax.methods
python experiments/run.py --config=antmaze.py:D4RL/antmaze/umaze-v1   hosted data, downloaded by Minari
python experiments/run.py --config=antmaze.py:tiny                    the same path in a minute, for a first look
"""

import copy

from ml_collections import ConfigDict

from gtp_jax import methods
from gtp_jax.settings import DEFAULTS


def get_config(variant: str = "umaze") -> ConfigDict:
    """The configuration of TASK[,METHOD]: `umaze`, ..., `large-diverse`, `tiny`, or the id of a dataset."""
    task, _, method = variant.partition(",")
    config = ConfigDict(copy.deepcopy(DEFAULTS))
    config.dataset = task if "/" in task else f"gtp/antmaze/{task}-v0"
    config.num_seeds = 5
    config.num_updates = 20_000
    config.policy.learning_rate = 1e-3
    config.policy.num_steps = 2
    config.policy.temperature = 0.5
    config.guidance.eta = 0.3
    if task == "tiny":
        config.dataset = "gtp/antmaze/umaze-5k-v0"
        config.num_seeds = 2
        config.num_updates = 400
        config.log_every = 50
        config.checkpoint_every = 100
        config.policy.hidden = config.critic.hidden = (32, 32)
        config.eval.update({"num_episodes": 4, "every": 200, "progress_episodes": 2, "num_envs": 4})
    name = "umaze" if task == "tiny" else task.rpartition("/")[2].rpartition("-v")[0] if "/" in task else task
    for key, value in methods.overrides(method or "gtp", name).items():
        config.update_from_flattened_dict({key: value})
    return config
