"""The command `gtp-jax evaluate`; `python experiments/evaluate.py --help` shows its flags."""

import sys

from gtp_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
