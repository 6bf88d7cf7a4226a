"""Whether damaged checkpoints are noticed: a run's checkpoints, damaged at random, are loaded to resume and to act.

A shrunk run is trained once. Each damage hits a fresh copy of it, on the newest step or on the newest two; then the
state is restored as a resuming run does, and the policy loaded as a user does. Either must end with a step whose every
bit is what was saved, each newer step named and passed over. Writes RESULTS/damages.json.
"""

import collections
import dataclasses
import itertools
import shutil
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import runs
from rich.console import Console

from benchmarks import shared
from gtp_jax import datasets, load_policy
from gtp_jax.config.settings import Settings
from gtp_jax.runs.checkpoints import Checkpoints, Saved
from gtp_jax.runs.terminal import Terminal
from gtp_jax.training.loop import Training

KINDS = (
    *("flip a bit", "flip a bit of an array", "overwrite a block", "truncate", "empty a file", "remove a file"),
    *("delete half", "empty the folder"),
)


def damage(kind: str, step: Path, rng: np.random.Generator) -> None:
    """Damages a step's folder in one of the KINDS; arrays lie in files that Orbax does not check.

    There they come first. Descriptions and indices follow, in these files and in small ones beside them, of which some
    are not read, so that a flipped bit may do nothing.
    """
    every = sorted(path for path in step.rglob("*") if path.is_file())
    files = [path for path in every if path.stat().st_size]
    if kind == "flip a bit of an array":
        files = [path for path in files if path.parent.name == "d"]
        largest = max(path.stat().st_size for path in files)
        files = [path for path in files if path.stat().st_size > largest / 10]
    sizes = np.array([path.stat().st_size for path in files], float) ** (kind == "flip a bit of an array")
    path = files[rng.choice(len(files), p=sizes / sizes.sum())]
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content) // (2 if kind == "flip a bit of an array" else 1)))
    if kind.startswith("flip a bit"):
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == "overwrite a block":  # as a bad sector would
        content[at : at + 512] = rng.bytes(len(content[at : at + 512]))
    elif kind == "truncate":
        del content[at:]
    elif kind == "empty a file":  # as a crash of the machine leaves it
        content.clear()
    if kind == "remove a file":
        path.unlink()
    elif kind == "delete half":  # as a deletion that was killed leaves it
        for i in rng.permutation(len(every))[: int(rng.integers(1, len(every)))]:
            every[i].unlink()
    elif kind == "empty the folder":
        shutil.rmtree(step)
        step.mkdir()
    else:
        path.write_bytes(content)


def same(one: Any, other: Any) -> bool:
    """Whether two pytrees hold the same bits."""

    def bits(tree):
        return [(leaf.dtype, leaf.shape, leaf.tobytes()) for leaf in map(np.asarray, jax.tree.leaves(tree))]

    return bits(one) == bits(other)


def judge(contents: dict[int, Any], found: tuple[int, Any] | None, named: list[str]) -> str:
    """What became of a reading: "newest", "older", "lost" (nothing), "silent" (wrong numbers) or "unnamed"."""
    if found is None:
        return "lost"
    step, content = found
    if not same(content, contents[step]):
        return "silent"
    newer = [other for other in contents if other > step]
    if [other for other in newer if not any(f"/{other}" in text for text in named)]:
        return "unnamed"
    return "older" if newer else "newest"


def resume(directory: Path, like: Saved) -> tuple[tuple[int, Any] | None, list[str]]:
    """Reads as a run that resumes: the step and all that it holds; and what was said of the steps passed over."""
    checkpoints, named = Checkpoints(directory), []
    try:
        found = checkpoints.newest(
            lambda step: (checkpoints.info(step).to_json(), checkpoints.restore(step, like)),
            lambda step, error: named.append(str(error)),
        )
        checkpoints.close()
    except Exception as error:
        return None, [repr(error)]
    return found, named


def act(workdir: Path) -> tuple[tuple[int, Any] | None, list[str]]:
    """Reads as a user who loads the policy."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            policy = load_policy(workdir)
        except Exception as error:
            return None, [repr(error)]
    return (policy.step, policy.params), [str(warning.message) for warning in caught]


def state_like(run: Path, root: str) -> Saved:
    """What a run that resumes expects of its checkpoints."""
    settings = Settings.from_json(shared.read(run / "config.json"))
    dataset = datasets.load(settings.dataset, root=root, **dataclasses.asdict(settings.data))
    training = Training(settings, None, dataset, Terminal(Console(quiet=True)))
    training.close()
    return training.split(training.engine.init())


def damage_copies(folder: Path, damages: int, seed: int) -> list[tuple[str, str, str]]:
    """The kind of each damage of a run that is trained first, and what became of resuming and of acting."""
    run, runner, steps = folder / "run", runs.Runner(folder), [40, 50, 60]
    runner(f"--workdir={run}", num_updates=40)
    shutil.copytree(run / "checkpoints" / "40", folder / "40")
    runner(f"--workdir={run}", num_updates=60)
    shutil.copytree(folder / "40", run / "checkpoints" / "40", dirs_exist_ok=True)  # a run keeps two
    like, everything, acting, rows = state_like(run, runner.env["MINARI_DATASETS_PATH"]), {}, {}, []
    checkpoints = Checkpoints(run / "checkpoints", read_only=True)
    assert checkpoints.steps() == steps
    for step in steps:
        saved = checkpoints.restore(step, like)
        everything[step], acting[step] = (checkpoints.info(step).to_json(), saved), saved.policy
    checkpoints.close()
    for number, kind in zip(range(damages), itertools.cycle(KINDS)):
        rng, copy = np.random.default_rng((seed, number)), folder / "copy"
        shutil.copytree(run, copy)
        for step in steps[-int(rng.integers(1, len(steps))) :]:
            damage(kind, copy / "checkpoints" / str(step), rng)
        acted = judge(acting, *act(copy))
        rows.append((kind, judge(everything, *resume(copy / "checkpoints", like)), acted))
        shutil.rmtree(copy)
    return rows


def measure(damages: int, seed: int) -> dict[str, Any]:
    """Counts what became of resuming and of acting."""
    with tempfile.TemporaryDirectory() as folder:
        rows = damage_copies(Path(folder), damages, seed)
    resumed, acted = (collections.Counter(row[i] for row in rows) for i in (1, 2))
    by_kind = {kind: collections.Counter(row[1] for row in rows if row[0] == kind) for kind in KINDS}
    return {"damages": len(rows), "resume": resumed, "act": acted, "by_kind": by_kind}


main = partial(shared.measure, __file__, __doc__, measure, damages=200, seed=0)
