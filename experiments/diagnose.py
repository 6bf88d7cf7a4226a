"""The command `gtp-jax diagnose`; `python experiments/diagnose.py --help` shows its flags."""

import sys

from gtp_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(["diagnose", *sys.argv[1:]]))
