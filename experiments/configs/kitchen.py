"""The Franka kitchen from hosted data, downloaded by Minari; nothing embedded stands in for them.

python experiments/run.py --config=kitchen.py:kitchen-partial               GTP
python experiments/run.py --config=kitchen.py:kitchen-partial,diffusion-ql  another method of gtp_jax.methods
python experiments/run.py --config=kitchen.py:D4RL/kitchen/partial-v2       the same data by their id

The tasks are kitchen-complete, kitchen-partial and kitchen-mixed. Their environment, FrankaKitchen-v1, does not start
on MuJoCo 3.10 and newer: there a run is refused, before anything is downloaded. Neither time nor score was measured,
and none was published for GTP.
"""

from ml_collections import ConfigDict

from gtp_jax.config.presets import configure

DEFAULTS = {
    "num_seeds": 3,
    "num_updates": 100_000,
    "data.observation": "observation",
    "policy.num_steps": 5,
}


def get_config(variant: str = "kitchen-partial") -> ConfigDict:
    """The configuration of TASK[,METHOD]: `kitchen-complete`, `kitchen-partial`, `kitchen-mixed`, or a dataset's id."""
    return configure("kitchen", variant, DEFAULTS)
