"""The command `gtp-jax run`; `python experiments/run.py --help` shows its flags and every setting.

python experiments/run.py --config=antmaze.py                     a hierarchical GTP on U-Maze, collected on first use
python experiments/run.py --config=antmaze.py:umaze,gtp           the paper's: GTP with advantage weights
python experiments/run.py --config=antmaze.py:umaze,diffusion-ql  another method of gtp_jax/config/methods.py
python experiments/run.py --config=antmaze.py:D4RL/antmaze/umaze-v1   hosted data, downloaded by Minari
python experiments/run.py --config=antmaze.py:tiny                GTP, small enough for a first look
python experiments/run.py --config=gym.py:hopper-medium,gtp-bc    locomotion; also adroit.py and kitchen.py
"""

import sys

from gtp_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
