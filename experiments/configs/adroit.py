"""Adroit's dexterous hand from hosted data, downloaded by Minari; nothing embedded stands in for them.

python experiments/run.py --config=adroit.py:pen-human              GTP
python experiments/run.py --config=adroit.py:pen-human,diffusion-ql another method of gtp_jax.methods
python experiments/run.py --config=adroit.py:D4RL/pen/human-v2      the same data by their id

The tasks are HAND-DATA: pen, door, hammer or relocate; human, cloned or expert. Neither time nor score was measured,
and none was published for GTP. Diffusion-QL's and Consistency-AC's settings were published for two, pen-human and
pen-cloned.
"""

from ml_collections import ConfigDict

from gtp_jax.config.presets import configure

DEFAULTS = {
    "num_seeds": 3,
    "num_updates": 100_000,
    "data.observation": "identity",
    "policy.num_steps": 5,
}


def get_config(variant: str = "pen-human") -> ConfigDict:
    """The configuration of TASK[,METHOD]: `pen-human`, ..., `relocate-expert`, or the id of a dataset."""
    return configure("adroit", variant, DEFAULTS)
