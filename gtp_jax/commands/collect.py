"""Collects a built-in dataset, unless it is there, and prints its folder."""

import time

from gtp_jax.runs.terminal import Parser, Terminal


def main(argv: list[str] | None = None) -> None:
    """Collects the dataset."""
    parser = Parser(prog="gtp-jax collect", description="Collects a built-in dataset, unless it is there.")
    parser.add_argument("task", metavar="TASK", help="an id, or FAMILY/TASK: antmaze/umaze, ogbench/cube-single-play")
    parser.add_argument("--transitions", "--steps", type=int, help="size of the dataset, if not the task's own")
    parser.add_argument("--seed", type=int, help="seed of the collection (0)")
    parser.add_argument("--root", help="Minari's datasets folder, if not the one of MINARI_DATASETS_PATH")
    parser.add_argument("--workers", type=int, help="processes (all cores)")
    given, terminal = parser.parse_args(argv), Terminal()
    from gtp_jax.datasets.builtin.collect import collect
    from gtp_jax.datasets.builtin.ids import is_builtin, parse_id
    from gtp_jax.datasets.folder import datasets_root

    name = given.task if is_builtin(given.task) else f"gtp/{given.task.removesuffix('-v0')}-v0"
    wanted, started = parse_id(name, given.transitions, given.seed), time.monotonic()
    with terminal.progress(f"collecting {wanted.id}", wanted.transitions, "transitions") as bar:

        def progress(done: int, _: int) -> None:
            bar.update(done, done / (time.monotonic() - started))

        folder = collect(wanted, datasets_root(given.root), given.workers, progress)
    terminal.say(str(folder))
