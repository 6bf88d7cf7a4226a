"""The command `gtp-jax merge`; `python experiments/merge.py --help` shows its flags."""

import sys

from gtp_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(["merge", *sys.argv[1:]]))
