"""The command `gtp-jax export`; `python experiments/export.py --help` shows its flags."""

import sys

from gtp_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
