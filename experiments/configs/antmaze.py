"""AntMaze from offline data.

python experiments/run.py --config=antmaze.py                         U-Maze, collected on first use
python experiments/run.py --config=antmaze.py:medium-play             another embedded task
python experiments/run.py --config=antmaze.py:D4RL/antmaze/umaze-v1   hosted data, downloaded by Minari
python experiments/run.py --config=antmaze.py:tiny                    the same path in a minute, for a first look
"""

from ml_collections import ConfigDict

from gtp_jax.recipes import DEFAULTS


def get_config(variant: str = "umaze") -> ConfigDict:
    """The configuration of a task: `umaze`, ..., `large-diverse`, `tiny`, or the id of a dataset."""
    config = ConfigDict(DEFAULTS)
    config.seed = 0
    config.num_seeds = 4
    config.num_updates = 40_000
    config.curriculum_updates = 0  # 0: num_updates of the run's first start
    config.batch_size = 256
    config.log_every = 250
    config.checkpoint_every = 2_500
    config.dataset = variant if "/" in variant else f"gtp/antmaze/{variant}-v0"
    config.data = ConfigDict({"reward": "none", "observation": "goal-scales", "standardise": True})
    config.eval = ConfigDict({"num_episodes": 100, "every": 10_000, "progress_episodes": 20, "num_envs": 25, "seed": 0})
    config.devices = 0  # 0: as many as divide the seeds
    config.cpu_devices = 0  # 0: one, or what XLA_FLAGS say
    config.gpu_memory_fraction = 0.75
    config.policy.num_steps = 2
    if variant == "tiny":
        config.dataset = "gtp/antmaze/umaze-5k-v0"
        config.num_seeds = 2
        config.num_updates = 400
        config.log_every = 50
        config.checkpoint_every = 100
        config.policy.hidden = config.critic.hidden = (32, 32)
        config.eval.update({"num_episodes": 4, "every": 200, "progress_episodes": 2, "num_envs": 4})
    return config
