"""Thousands of random bad configurations, datasets and files: each must be refused with one line, none silently.

A refusal is a ValueError of one line that names the setting, or the dataset with episode, field and index where the
defect is one number; on the command line, exit code 2 and one line. Files with flipped bytes are counted apart: bytes
that nothing reads leave a file `unharmed`; a flipped bit of a number can give another sound number, `silent` where the
file has no digest, as only built-in datasets have.
"""

import collections
import contextlib
import io
import math
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import stored

from benchmarks import shared
from gtp_jax import commands, datasets, files
from gtp_jax.commands import run
from gtp_jax.config.settings import Settings
from gtp_jax.config.table import declarations
from gtp_jax.datasets.builtin.controller import Controller

SETTINGS = {name: each.setting for name, each in sorted(declarations().items())}
NUMBERS = (math.nan, math.inf, -math.inf, -0.0, 10**400, -(10**5000))
NO_NUMBERS = (None, True, "1", b"1", 1j, [], (1,), {}, {"a": 1}, *NUMBERS)
BUILTIN = "gtp/antmaze/umaze-40-v0"
load_controller = partial(Controller.load, feature_dim=29, action_dim=8)
Case = tuple[str, Callable[[], object], tuple[str, ...]]  # what, the call, the words that its refusal must name


def bad_value(rng: np.random.Generator, name: str) -> Any:
    """A value that the setting may not have."""
    setting, odd = SETTINGS[name], NO_NUMBERS[rng.integers(len(NO_NUMBERS))]
    if setting.words():
        return ["".join(map(chr, rng.integers(33, 900, rng.integers(1, 9)))), odd][rng.integers(2)]
    if name.startswith("sweep."):
        return [(odd,), (setting.range.high * 2,), (setting.range.low - 1,), "text", 5, None][rng.integers(6)]
    if isinstance(setting.default, bool):
        return [0, 1, "True", None, 1.0, (), "yes"][rng.integers(7)]
    if isinstance(setting.default, tuple):
        return [(), (0,), (odd,), (8, -1), 8, "8", None, (2.5,), [True], (10**9,)][rng.integers(10)]
    if setting.text:
        return [None, 3, True, b"gtp", 1.5, (), ["gtp/antmaze/umaze-v0"], "a\0b", "a?b", 201 * "a"][rng.integers(10)]
    range_, scale = setting.range, float(10.0 ** rng.integers(0, 300))
    outside = [range_.high * (1 + scale), range_.low - scale, -scale, 1e-300, *range_.excluded]
    if isinstance(setting.default, int):
        outside += [1.5, float(max(range_.low, 1)), int(range_.high) + int(scale), -int(scale)]
    return [odd, outside[rng.integers(len(outside))]][rng.integers(2)]


def configurations(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Settings with one bad value, an unknown or a misplaced key."""
    del root
    names = list(SETTINGS)
    for _ in range(count):
        name = names[rng.integers(len(names))]
        kind = rng.choice(["value", "value", "value", "unknown", "group"])
        value = bad_value(rng, name) if kind == "value" else SETTINGS[name].default
        if kind == "unknown":
            place = name.rfind(".") + 1 + rng.integers(len(name.rpartition(".")[2]) + 1)
            name = f"{name[:place]}_{name[place:]}"
        elif kind == "group":
            value = {"name": value}
        yield f"configuration, {kind}", lambda name=name, value=value: Settings.of({name: value}), (name,)


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


def damaged_files(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """HDF5, metadata, controllers and JSON of runs: cut short, overwritten from their start, or nothing but noise."""
    folder = stored.write(root, "test/x-v0", [stored.episode(3), stored.episode(2)])
    controller, config = root / "controller.npz", root / "config.json"
    np.savez(controller, **load_controller("ant.npz")._asdict())
    files.write_json(config, Settings().to_json())
    calls = {
        folder / "main_data.hdf5": ("test/x-v0: ", lambda: datasets.load("test/x-v0", root=root)),
        folder / "metadata.json": ("test/x-v0: ", lambda: datasets.load("test/x-v0", root=root)),
        controller: (str(controller), lambda: load_controller(controller)),
        config: (str(config), lambda: files.read_json(config)),
    }
    for path, (says, call) in calls.items():
        whole = path.read_bytes()
        for _ in range(count // len(calls)):
            cut, noise = int(rng.integers(len(whole))), rng.bytes(int(rng.integers(8, 500)))
            path.write_bytes([whole[:cut], noise + whole[len(noise) :], noise][rng.integers(3)])
            yield f"file, {path.name}", call, (says,)
        path.write_bytes(whole)


def flipped(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Data and controllers with some bytes changed: refused, loaded as they were, or loaded as other numbers."""
    folder = stored.write(root, "test/x-v0", [stored.episode(3), stored.episode(2)])
    datasets.load(BUILTIN, root=root)  # collects it
    controller = root / "controller.npz"

    def content(dataset_id: str) -> list[np.ndarray]:
        return [np.array(datasets.load(dataset_id, root=root).fingerprint)]

    calls = {
        "another's data": (folder / "main_data.hdf5", "test/x-v0: ", lambda: content("test/x-v0")),
        "built-in data": (root / BUILTIN / "data/main_data.hdf5", BUILTIN, lambda: content(BUILTIN)),
        "controller": (controller, str(controller), lambda: load_controller(controller)),
    }
    for what, (path, says, call) in calls.items():
        whole, before = path.read_bytes(), call()
        for _ in range(count // len(calls)):
            changed = np.frombuffer(whole, np.uint8).copy()
            places = rng.integers(0, len(whole), rng.integers(1, 9))
            changed[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
            path.write_bytes(changed.tobytes())

            def unharmed(call=call, before=before) -> bool:
                return all(map(np.array_equal, call(), before))

            yield f"flipped, {what}", unharmed, (says,)
        path.write_bytes(whole)


def outcome(call: Callable[[], object], says: tuple[str, ...]) -> str:
    """How a call ended."""
    try:
        return "unharmed" if call() is True else "silent"
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        if "\n" not in text and all(word in text for word in says):
            return "refused"
    except Exception:  # of any kind: that it came is what is counted
        traceback.print_exc()
    return "tracebacks"


def command_lines(rng: np.random.Generator, count: int) -> Iterator[str]:
    """How `gtp-jax run`, which checks settings before JAX starts, ends with one bad setting."""
    run.start_jax, names = lambda settings: sys.exit(0), list(SETTINGS)
    words = ["abc", "nan", "inf", "-1", "1e400", "-0.0", "(", "None", "9" * 40, "1.5.2", "{}", "\u0663x", "()()"]
    for _ in range(count):
        name, value, error = names[rng.integers(len(names))], words[rng.integers(len(words))], io.StringIO()
        sound = (name.startswith("sweep.") or name.endswith("hidden")) and value == "()()"
        if isinstance(SETTINGS[name].default, bool) or sound:
            value = "maybe"
        integer = isinstance(SETTINGS[name].default, int)
        value = "a?b" if SETTINGS[name].text else "0.5" if value == "-0.0" and integer else value
        try:
            with contextlib.redirect_stderr(error):
                code = commands.main(["run", "--config=antmaze.py:tiny", f"--config.{name}={value}"])
        except SystemExit as end:
            code = end.code
        except Exception:  # of any kind: that it came is what is counted
            code = traceback.print_exc()
        one_line = error.getvalue().startswith("error: ") and error.getvalue().count("\n") == 1
        yield "refused" if code == 2 and one_line else "silent" if code == 0 else "tracebacks"
        if code != 2 or not one_line:
            print(name, value, code, error.getvalue(), file=sys.stderr)


def measure(scale: float) -> dict[str, Any]:
    """Tries and counts."""
    rng, counts = np.random.default_rng(0), collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for source, count in ((configurations, 5000), (data, 2000), (damaged_files, 1200), (flipped, 1200)):
            for what, call, says in source(rng, int(count * scale), root):
                ended = outcome(call, says)
                counts[what][ended] += 1
                if ended == "tracebacks" or (ended != "refused" and source is not flipped):
                    print(what, says, ended, file=sys.stderr)
        counts["command line"].update(command_lines(rng, int(200 * scale)))
    names = ("refused", "silent", "tracebacks", "unharmed")
    rows = {what: {"tried": n.total(), **{name: n[name] for name in names}} for what, n in counts.items()}
    strict = {what: row for what, row in rows.items() if not what.startswith("flipped, ")}
    flips = {what.removeprefix("flipped, "): row for what, row in rows.items() if what not in strict}
    sums = {name: sum(row[name] for row in strict.values()) for name in ("tried", *names)}
    return sums | {"cases": strict, "flipped_bytes": flips}


main = partial(shared.measure, __file__, __doc__, measure, scale=1.0)
