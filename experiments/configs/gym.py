"""Gymnasium's locomotion tasks from offline data.

python experiments/run.py --config=gym.py:hopper-medium             GTP on embedded data, collected on first use
python experiments/run.py --config=gym.py:hopper-medium,gtp-bc      another method of gtp_jax.methods
python experiments/run.py --config=gym.py:mujoco/hopper/medium-v0   hosted data, downloaded by Minari

The tasks are BODY-DATA: hopper, halfcheetah or walker2d; medium, medium-replay or medium-expert. Three seeds of 20,000
updates took one core 22 minutes, and 8 by gtp-bc or gtp-condition, on hopper-medium and walker2d-medium-replay while
another job had the other core. What it scores on the embedded data is in docs/results.md, where it was measured; what
GTP was published to reach on D4RL's, which are others (K = 5, 2M updates, arXiv 2510.11499):

| data | halfcheetah | hopper | walker2d |
|---|---|---|---|
| medium | 53.9 | 90.3 | 89.5 |
| medium-replay | 50.8 | 101.7 | 94.2 |
| medium-expert | 93.8 | 112.2 | 114.2 |
"""

from ml_collections import ConfigDict

from gtp_jax.config.presets import configure

DEFAULTS = {
    "num_seeds": 3,
    "num_updates": 20_000,
    "data.observation": "identity",
    "policy.learning_rate": 1e-3,
    "policy.num_steps": 2,
    "policy.temperature": 0.5,
    "eval.num_envs": 10,
    "eval.progress_episodes": 5,
}


def get_config(variant: str = "hopper-medium") -> ConfigDict:
    """The configuration of TASK[,METHOD]: `hopper-medium`, ..., `walker2d-medium-expert`, or the id of a dataset."""
    return configure("gym", variant, DEFAULTS)
