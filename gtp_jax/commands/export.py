"""Writes a trained policy to one file that works without this package: a program, or the weights (docs/export.md)."""

from gtp_jax.runs.terminal import Parser, Terminal


def main(argv: list[str] | None = None) -> None:
    """Exports the policy of the last checkpoint."""
    parser = Parser(prog="gtp-jax export", description="Writes a trained policy to one file.")
    parser.add_argument("--workdir", required=True, help="directory of the run")
    parser.add_argument("--out", required=True, help="the file: FILE.stablehlo, FILE.onnx or FILE.safetensors")
    parser.add_argument("--format", help="stablehlo, onnx or safetensors; the suffix of --out by default")
    parser.add_argument("--num_steps", type=int, help="sampling steps K of the program; the run's own by default")
    parser.add_argument("--temperature", type=float, help="scale of its first draw; the run's own by default")
    parser.add_argument("--trial", type=int, default=0, help="which of the run's trials, counted from 0")
    given = vars(parser.parse_args(argv))
    from gtp_jax.serving.export import export

    Terminal().say(str(export(given.pop("workdir"), given.pop("out"), **given)))
