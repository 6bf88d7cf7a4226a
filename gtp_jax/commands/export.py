"""Writes a trained policy to one file that works without this package.

    gtp-jax export --workdir=DIR --out=policy.stablehlo [--num_steps=2] [--temperature=0.5] [--trial=0]
    gtp-jax export --workdir=DIR --out=policy.safetensors

The first is a program, from an environment's observation to an action, for CPU, GPU and TPU; the second the weights.
docs/export.md says how each is read.
"""

from gtp_jax.runs.terminal import Parser, Terminal


def main(argv: list[str] | None = None) -> None:
    """Exports the policy of the last checkpoint."""
    parser = Parser(prog="gtp-jax export", description="Writes a trained policy to one file.")
    parser.add_argument("--workdir", required=True, help="directory of the run")
    parser.add_argument("--out", required=True, help="the file: FILE.stablehlo or FILE.safetensors")
    parser.add_argument("--num_steps", type=int, help="sampling steps K of the program; the run's own by default")
    parser.add_argument("--temperature", type=float, help="scale of its first draw; the run's own by default")
    parser.add_argument("--trial", type=int, default=0, help="which of the run's trials, counted from 0")
    given = vars(parser.parse_args(argv))
    from gtp_jax.serving.export import export

    Terminal().say(str(export(given.pop("workdir"), given.pop("out"), **given)))
