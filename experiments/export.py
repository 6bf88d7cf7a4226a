"""Writes a trained policy to one file that works without this package.

    python experiments/export.py --workdir=DIR --out=policy.stablehlo [--num_steps=2] [--temperature=0.5]
    python experiments/export.py --workdir=DIR --out=policy.safetensors

The first is a program, from an environment's observation to an action, for CPU, GPU and TPU; the second the weights.
docs/export.md says how each is read.
"""

from gtp_jax.runs.terminal import Parser, refuse


def main(argv: list[str] | None = None) -> None:
    """Exports the last checkpoint's policy."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="directory of the run")
    parser.add_argument("--out", required=True, help="the file: FILE.stablehlo or FILE.safetensors")
    parser.add_argument("--num_steps", type=int, help="sampling steps K of the program; the run's own by default")
    parser.add_argument("--temperature", type=float, help="scale of its first draw; the run's own by default")
    parser.add_argument("--seed_index", type=int, default=0, help="which of the run's lanes, counted from 0")
    given = vars(parser.parse_args(argv))

    import gtp_jax

    print(gtp_jax.export(given.pop("workdir"), given.pop("out"), **given))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        refuse(error)
