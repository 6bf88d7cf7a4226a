"""Whether damaged checkpoints are noticed: a run's checkpoints, damaged at random, are loaded to resume and to act.

    python benchmarks/damages.py [--damages=200] [--seed=0]

A shrunk run is trained once. Each damage hits a fresh copy of it, on the newest step or on the newest two; then the
state is restored as a resuming run does, and the policy loaded as a user does. Either must end with a step whose every
bit is what was saved, each newer step named and passed over. Prints one JSON line and writes results/damages.json.
"""

import argparse
import collections
import itertools
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gtp_jax import files, load_policy
from gtp_jax.runs import provenance
from gtp_jax.runs.checkpoints import Checkpoints, Saved

ROOT = Path(__file__).parents[1]


def _files(step: Path) -> list[Path]:
    return sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size)


def _any_file(step: Path, rng: np.random.Generator) -> Path:
    files = _files(step)
    return files[rng.integers(len(files))]


def _rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def _flip(step: Path, path: Path, rng: np.random.Generator) -> str:
    bit = int(rng.integers(8 * path.stat().st_size))

    def flip(content: bytearray) -> None:
        content[bit // 8] ^= 1 << bit % 8

    _rewrite(path, flip)
    return f"bit {bit} of {path.relative_to(step)}"


def flip_a_bit(step: Path, rng: np.random.Generator) -> str:
    """One bit of any file."""
    return _flip(step, _any_file(step, rng), rng)


def flip_a_bit_of_an_array(step: Path, rng: np.random.Generator) -> str:
    """One bit of the files that hold the numbers, which Orbax does not check."""
    data = [path for path in _files(step) if path.parent.name == "d"]
    sizes = np.array([path.stat().st_size for path in data])
    return _flip(step, data[rng.choice(len(data), p=sizes / sizes.sum())], rng)


def overwrite_a_block(step: Path, rng: np.random.Generator) -> str:
    """Up to 512 bytes anywhere, as a bad sector would."""
    path = _any_file(step, rng)
    start = int(rng.integers(path.stat().st_size))

    def overwrite(content: bytearray) -> None:
        end = min(start + 512, len(content))
        content[start:end] = rng.bytes(end - start)

    _rewrite(path, overwrite)
    return f"from byte {start} of {path.relative_to(step)}"


def truncate(step: Path, rng: np.random.Generator) -> str:
    """One file cut anywhere."""
    path = _any_file(step, rng)
    size = int(rng.integers(1, path.stat().st_size + 1)) - 1
    with path.open("r+b") as file:
        file.truncate(size)
    return f"{path.relative_to(step)} at {size}"


def empty_a_file(step: Path, rng: np.random.Generator) -> str:
    """One file of no bytes, as a crash of the machine leaves it."""
    path = _any_file(step, rng)
    path.write_bytes(b"")
    return str(path.relative_to(step))


def remove_a_file(step: Path, rng: np.random.Generator) -> str:
    """One file gone."""
    path = _any_file(step, rng)
    path.unlink()
    return str(path.relative_to(step))


def delete_half(step: Path, rng: np.random.Generator) -> str:
    """What a deletion that was killed leaves."""
    files = [path for path in step.rglob("*") if path.is_file()]
    gone = rng.permutation(len(files))[: int(rng.integers(1, len(files)))]
    for i in gone:
        files[i].unlink()
    return f"{len(gone)} of {len(files)} files"


def empty_the_folder(step: Path, rng: np.random.Generator) -> str:
    """A numeric folder with nothing in it."""
    del rng
    shutil.rmtree(step)
    step.mkdir()
    return "everything"


KINDS = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        *(flip_a_bit, flip_a_bit_of_an_array, overwrite_a_block, truncate, empty_a_file, remove_a_file),
        *(delete_half, empty_the_folder),
    )
}


def same(one: Any, other: Any) -> bool:
    """Whether two pytrees hold the same bits."""
    leaves, others = (list(map(np.asarray, jax.tree.leaves(tree))) for tree in (one, other))
    return len(leaves) == len(others) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(leaves, others, strict=True)
    )


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
    """Reads as a run that goes on: the step and all that it holds; and what was said of the steps passed over."""
    checkpoints, named = Checkpoints(directory), []
    try:
        found = checkpoints.newest(
            lambda step: (checkpoints.about(step), checkpoints.restore(step, like)),
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


def main() -> None:
    """Damages, judges and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from runs import Runner, state_like

    commit, rows = provenance.commit(), []
    with tempfile.TemporaryDirectory() as folder:
        run, runner, steps = Path(folder) / "run", Runner(Path(folder)), [40, 50, 60]
        runner(f"--workdir={run}", num_updates=40)
        shutil.copytree(run / "checkpoints" / "40", Path(folder) / "40")
        runner(f"--workdir={run}", num_updates=60)
        shutil.copytree(Path(folder) / "40", run / "checkpoints" / "40", dirs_exist_ok=True)  # a run keeps two
        like, (everything, acting) = state_like(run), ({}, {})
        checkpoints = Checkpoints(run / "checkpoints", read_only=True)
        assert checkpoints.steps() == steps
        for step in steps:
            saved = checkpoints.restore(step, like)
            everything[step], acting[step] = (checkpoints.about(step), saved), saved.policy
        checkpoints.close()
        for number, (name, kind) in zip(range(arguments.damages), itertools.cycle(KINDS.items())):
            rng = np.random.default_rng((arguments.seed, number))
            copy = Path(folder) / "copy"
            shutil.copytree(run, copy)
            hit = steps[-int(rng.integers(1, len(steps))) :]
            what = {step: kind(copy / "checkpoints" / str(step), rng) for step in hit}
            rows.append(
                {
                    "kind": name,
                    "damage": what,
                    "act": judge(acting, *act(copy)),
                    "resume": judge(everything, *resume(copy / "checkpoints", like)),
                }
            )
            shutil.rmtree(copy)
    counts = {
        reading: dict(sorted(collections.Counter(row[reading] for row in rows).items()))
        for reading in ("resume", "act")
    }
    result = {
        "command": f"python benchmarks/damages.py --damages={arguments.damages} --seed={arguments.seed}",
        "damages": len(rows),
        **counts,
        "by_kind": {
            name: dict(collections.Counter(row["resume"] for row in rows if row["kind"] == name)) for name in KINDS
        },
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    print(json.dumps(result))
    files.write_json(ROOT / "benchmarks" / "results" / "damages.json", result | {"rows": rows})


if __name__ == "__main__":
    main()
