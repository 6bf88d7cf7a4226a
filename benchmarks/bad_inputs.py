"""Thousands of random bad configurations, datasets and files: each must be refused with one line, none silently.

    python benchmarks/bad_inputs.py [--scale=1]

With a fixed seed. `tried` = `refused` + `silent` + `tracebacks`; a refusal is a ValueError of one line that names the
setting, or the dataset with episode, field and index where the defect is one number; on the command line, exit code 2
and one line. Files with flipped bytes are counted apart. Bytes that nothing reads leave such a file `unharmed`; a
flipped bit of a number can give another sound number, `silent` where the file has no digest: embedded datasets have
one, those of others have none. Prints one JSON line and writes results/bad_inputs.json.
"""

import argparse
import collections
import copy
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gtp_jax import datasets, files
from gtp_jax.config.ranges import RANGES, TEXTS, choices
from gtp_jax.config.settings import DEFAULTS, HPARAMS, check, flatten
from gtp_jax.datasets.builtin.ant import AntController
from gtp_jax.runs import provenance

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import stored  # the tests' own writer and starter of commands
from refusals import ROOT, commands

FLAT = dict(flatten(DEFAULTS))
NO_NUMBERS = [
    None,
    True,
    "1",
    b"1",
    1j,
    [],
    (1,),
    {},
    {"a": 1},
    math.nan,
    math.inf,
    -math.inf,
    -0.0,
    10**400,
    -(10**5000),
]
EMBEDDED = "gtp/antmaze/umaze-40-v0"
Case = tuple[str, Callable[[], object], tuple[str, ...]]  # what, the call, the words that its refusal must name


def bad_value(rng: np.random.Generator, name: str):
    """A value that the setting may not have."""
    odd = NO_NUMBERS[rng.integers(len(NO_NUMBERS))]
    if choices(name):
        return ["".join(map(chr, rng.integers(33, 900, rng.integers(1, 9)))), odd][rng.integers(2)]
    if isinstance(FLAT[name], bool):
        return [0, 1, "True", None, 1.0, (), "yes"][rng.integers(7)]
    if name.startswith("sweep."):
        range_ = RANGES[HPARAMS[name.removeprefix("sweep.")]]
        return [(odd,), (range_.high * 2,), (range_.low - 1,), "text", 5, None][rng.integers(6)]
    if isinstance(FLAT[name], tuple):
        return [(), (0,), (odd,), (8, -1), 8, "8", None, (2.5,), [True], (10**9,)][rng.integers(10)]
    if name in TEXTS:
        return [None, 3, True, b"gtp", 1.5, (), ["gtp/antmaze/umaze-v0"], "a\0b", "a?b", 201 * "a"][rng.integers(10)]
    range_, scale = RANGES[name], float(10.0 ** rng.integers(0, 300))
    outside = [range_.high * (1 + scale), range_.low - scale, -scale, 1e-300, *range_.excluded]
    if isinstance(FLAT[name], int):
        outside += [1.5, float(max(range_.low, 1)), int(range_.high) + int(scale), -int(scale)]
    return [odd, outside[rng.integers(len(outside))]][rng.integers(2)]


def configurations(rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Settings with one bad value, an unknown, a missing or a misplaced key."""
    names = sorted(FLAT)
    for _ in range(count):
        settings, name = copy.deepcopy(DEFAULTS), names[rng.integers(len(names))]
        *parents, last = name.split(".")
        part = settings
        for parent in parents:
            part = part[parent]
        kind = rng.choice(["value", "value", "value", "unknown", "missing", "group"])
        says = (name,)
        if kind == "value":
            part[last] = bad_value(rng, name)
        elif kind == "unknown":
            place = rng.integers(len(last) + 1)
            part[last[:place] + "_" + last[place:]] = part[last]
            says = (last[:place] + "_" + last[place:],)
        elif kind == "missing":
            del part[last]
        else:
            part[last] = {"name": part[last]}
        yield f"configuration, {kind}", lambda settings=settings: check(settings), says


VALUES = {
    "observations": [("f8", np.nan), ("f4", np.inf), ("f8", -1e39), ("i8", 2**24 + 1), ("u8", 2**63)],
    "actions": [("f4", np.nan), ("f8", 1e300), ("f4", -np.inf), ("f8", 1.01), ("f4", -7.0)],
    "rewards": [("f8", np.nan), ("f4", np.inf), ("f8", 1e300), ("i8", -(2**40))],
    "terminations": [("u1", 2), ("i8", -1)],
    "truncations": [("u1", 255)],
}


def data(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Datasets with one bad number, or one field of another type, shape or place."""

    def load():
        datasets.load("test/x-v0", root=root, standardise=bool(rng.integers(2)))

    for _ in range(count):
        episodes = [stored.episode(int(n), rng) for n in rng.integers(1, 5, rng.integers(1, 4))]
        bad, path = int(rng.integers(len(episodes))), list(VALUES)[rng.integers(len(VALUES))]
        array, where = episodes[bad][path], f"episode {bad}"
        if rng.integers(3):
            kind, value = VALUES[path][rng.integers(len(VALUES[path]))]
            for episode in episodes:
                episode[path] = episode[path].astype(kind) if kind[0] == "f" else np.zeros_like(episode[path], kind)
            index = [int(rng.integers(size)) for size in array.shape]
            episodes[bad][path][tuple(index)] = value
            what, says = "dataset, one number", (f"{where}, first at index {index}, {path}: ",)
        else:
            wrong = [array.astype(complex), array.astype("S4"), array[:, None], np.repeat(array, 2, 0)]
            wrong += [array[:-1], np.zeros(array.shape, "V3"), array[..., :0]]
            episodes[bad][path] = wrong[rng.integers(len(wrong))]
            what, says = "dataset, one field", (where,)
        stored.write(root, "test/x-v0", episodes)
        yield what, load, ("test/x-v0: ", *says)


def damaged(rng: np.random.Generator, whole: bytes) -> bytes:
    """A file cut short, overwritten from its start, or nothing but noise."""
    cut = int(rng.integers(len(whole)))
    noise = rng.bytes(int(rng.integers(8, 500)))
    return [whole[:cut], noise + whole[len(noise) :], noise][rng.integers(3)]


def files(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Damaged HDF5, metadata, controllers and JSON of runs."""
    folder = stored.write(root, "test/x-v0", [stored.episode(3), stored.episode(2)])
    controller, config = root / "controller.npz", root / "config.json"
    np.savez(controller, **AntController.load()._asdict())
    files.write_json(config, DEFAULTS)
    calls = {
        folder / "main_data.hdf5": ("test/x-v0: ", lambda: datasets.load("test/x-v0", root=root)),
        folder / "metadata.json": ("test/x-v0: ", lambda: datasets.load("test/x-v0", root=root)),
        controller: (str(controller), lambda: AntController.load(controller)),
        config: (str(config), lambda: files.read_json(config)),
    }
    for path, (says, call) in calls.items():
        whole = path.read_bytes()
        for _ in range(count // len(calls)):
            path.write_bytes(damaged(rng, whole))
            yield f"file, {path.name}", call, (says,)
        path.write_bytes(whole)


def flipped(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Data and controllers with some bytes changed: refused, loaded as they were, or loaded as other numbers."""
    folder = stored.write(root, "test/x-v0", [stored.episode(3), stored.episode(2)])
    datasets.load(EMBEDDED, root=root)  # collects it
    controller = root / "controller.npz"
    calls = {
        "another's data": (folder / "main_data.hdf5", "test/x-v0: ", lambda: fingerprint("test/x-v0", root)),
        "embedded data": (root / EMBEDDED / "data/main_data.hdf5", EMBEDDED, lambda: fingerprint(EMBEDDED, root)),
        "controller": (controller, str(controller), lambda: AntController.load(controller)),
    }
    for what, (path, says, call) in calls.items():
        whole, before = path.read_bytes(), call()
        for _ in range(count // len(calls)):
            changed = np.frombuffer(whole, np.uint8).copy()
            places = rng.integers(0, len(whole), rng.integers(1, 9))
            changed[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
            path.write_bytes(changed.tobytes())
            yield f"flipped, {what}", lambda call=call, before=before: same(call(), before), (says,)
        path.write_bytes(whole)


def fingerprint(dataset_id: str, root: Path) -> str:
    """Of a dataset's content."""
    return datasets.load(dataset_id, root=root).fingerprint


def same(found: object, before: object) -> bool:
    """Whether two contents are equal."""
    return found == before if isinstance(before, str) else all(map(np.array_equal, found, before))


def outcome(call: Callable[[], object], says: tuple[str, ...]) -> str:
    """How a call ended."""
    try:
        if call() is True:
            return "unharmed"
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        return "refused" if "\n" not in text and all(word in text for word in says) else "tracebacks"
    except Exception:  # of any kind: that it came is what is counted
        traceback.print_exc()
        return "tracebacks"
    return "silent"


def command_lines(rng: np.random.Generator, count: int, folder: Path) -> list[str]:
    """How command lines with one bad setting end."""
    cases, names = [], sorted(FLAT)
    words = ["abc", "nan", "inf", "-1", "1e400", "-0.0", "(", "None", "9" * 40, "1.5.2", "{}", "\u0663x", "()()"]
    while len(cases) < count:
        name = names[rng.integers(len(names))]
        value = words[rng.integers(len(words))]
        sound = (name.startswith("sweep.") or name.endswith("hidden")) and value == "()()"
        if isinstance(FLAT[name], bool) or sound:
            value = "maybe"
        if name in TEXTS:
            value = "a?b"
        if name in ("seed_offset", "devices", "cpu_devices") and value == "-0.0":
            value = "0.5"
        cases.append(["--config=antmaze.py:tiny", f"--config.{name}={value}"])
    ended = commands(
        ROOT / "experiments" / "run.py", cases, folder, {**os.environ, "MINARI_DATASETS_PATH": str(folder)}
    )
    for words, end in zip(cases, ended, strict=True):
        if not end.refused:
            print(words, end, file=sys.stderr)
    return ["refused" if end.refused else "silent" if end.code == 0 else "tracebacks" for end in ended]


def main() -> None:
    """Tries, counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of cases")
    arguments = parser.parse_args()
    commit, rng, counts = provenance.commit(), np.random.default_rng(0), collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for source, count in ((configurations, 5000), (data, 2000), (files, 1200), (flipped, 1200)):
            for what, call, says in source(
                rng, int(count * arguments.scale), *([] if source is configurations else [root])
            ):
                ended = outcome(call, says)
                counts[what][ended] += 1
                if ended == "tracebacks" or (ended != "refused" and source is not flipped):
                    print(what, says, ended, file=sys.stderr)
        for ended in command_lines(rng, int(200 * arguments.scale), root):
            counts["command line"][ended] += 1
    names = ("refused", "silent", "tracebacks")
    rows = {what: {"tried": sum(n.values()), **{name: n[name] for name in names}} for what, n in counts.items()}
    strict = [row for what, row in rows.items() if not what.startswith("flipped")]
    result = {
        "command": f"python benchmarks/bad_inputs.py --scale={arguments.scale:g}",
        **{name: sum(row[name] for row in strict) for name in ("tried", *names)},
        "cases": {what: row for what, row in rows.items() if not what.startswith("flipped")},
        "flipped_bytes": {
            what.partition(", ")[2]: row | {"unharmed": counts[what]["unharmed"]}
            for what, row in rows.items()
            if what.startswith("flipped")
        },
        "date": provenance.now(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": commit,
    }
    print(json.dumps(result))
    files.write_json(Path(__file__).parent / "results" / "bad_inputs.json", result)


if __name__ == "__main__":
    main()
