"""Arrays of one's own for a dataset, in every form that NumPy knows."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import toy

from benchmarks.trust.field.cases import Case, pick
from benchmarks.trust.field.objects import OTHER, SAME, eighths
from gtp_jax import datasets

ROWS = 12


def rows(rng: np.random.Generator) -> dict[str, Any]:
    """Sound arrays."""
    ends = {"terminals": rng.random(ROWS) < 0.2, "timeouts": rng.random(ROWS) < 0.2}
    ends["terminals"][5], ends["timeouts"][:2] = True, False
    given = {
        "observations": eighths(rng, (ROWS, 3)),
        "actions": eighths(rng, (ROWS, 2)) / 2,
        "rewards": eighths(rng, (ROWS,)),
    }
    after = {"next_observations": eighths(rng, (ROWS, 3))} if rng.integers(2) else {}
    return given | ends | after


def transitions(given: Mapping[str, Any]) -> list[np.ndarray]:
    """Observation, action, reward, discount and next observation of each transition, one row after the other."""
    found, after = [], given.get("next_observations")
    for i, (obs, action, reward, terminal) in enumerate(zip(*list(given.values())[:4], strict=True)):
        is_last = i == ROWS - 1 or given["timeouts"][i]
        if after is not None or terminal or not is_last:
            then = given["observations"][min(i + 1, ROWS - 1)] if after is None else after[i]
            found.append((obs, action, reward, 1 - terminal, then))
    return [np.float32(column) for column in zip(*found, strict=True)]


FLAGS = [lambda x, kind=kind: x.astype(kind) for kind in ("i8", "u1", "f4", "f8", object)]
FLAGS += [np.ndarray.tolist, jnp.asarray]
# fmt: off
BOUNDS = [((-1, 1), 1), ((np.full(2, -1), [1, 1.0]), 1), ([-4, 4.0], 4), (np.array([[-1, -1], [1, 1]]), 1),
          ((jnp.float32(-1), 1), 1)]
NO_BOUNDS = [3, (1,), (-1, 0, 1), (1, -1), (0, 0.1), (np.nan, 1), (-1, np.inf), (-1, 1e39), "ab", {-1: 1}, (None, 1),
             ("a", "b"), (np.zeros(3), 1), (-1, np.ones((2, 2))), (-1, 1j), object, b"ab", ((), ()), (-1, [[1]])]
ENVS = [toy.ThreeSteps, lambda: toy.ThreeSteps()]
NO_ENVS = ["Pendulum-v1", "Hopper-v5", "CartPole-v1", "No-v0", "", "os:mkdir", "\0", 3, [], b"Hopper-v5", print, int,
           object, toy.ThreeSteps(), lambda: None, lambda: 1 / 0, lambda x: x, lambda: exit(3), np.zeros, True, {},
           "Hopper-v3", lambda: object()]
# fmt: on
NO_NAMES = ["", "a/b", "..", "x y", "n" * 101, 3, None, b"x", "\n", "é\0", [], True, "a" + "\n", object]
NO_CHOICES = ["x", "", None, 3, "maze-scales", "observation", [], b"none", "none ", ("none",), object]


def arrays(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Datasets of arrays in other forms, or with one thing that does not go together with the rest."""
    del root
    for _ in range(count):
        plain = rows(rng)
        name = pick(rng, list(plain))
        how = pick(
            rng,
            ("same", "same", "other", "length", "number", "flag", "bounds", "env", "name", "choice", "dict", "swapped"),
        )
        given, meant, says = dict(plain), None, rf"\b{name}\b"
        if how == "same":
            is_flag = plain[name].dtype == bool
            form = pick(rng, FLAGS if is_flag else [each for key, each in SAME.items() if key != "integers"])
            given[name], meant = form(plain[name]), plain
        elif how == "other":
            given[name] = pick(
                rng, [form for key, form in OTHER.items() if key not in ("too few", "too many", "None")]
            )(plain[name])
        elif how == "length":
            size = pick(rng, (0, 1, ROWS - 1, ROWS + 1))
            given[name] = pick(
                rng,
                (
                    lambda x, n=size: np.resize(x, (n, *x.shape[1:])),
                    lambda x: x[:, None],
                    lambda x: x[None],
                    lambda x: x[0],
                ),
            )(plain[name])
            says = rf"\b{name}\b|must be numbers|must have the shape"
        elif how in ("number", "flag"):
            bad = pick(
                rng, (np.nan, np.inf, -np.inf, 1e300, -1e39) if how == "number" else (2, -1, 0.5, np.nan, 1e-9, 255)
            )
            chosen = [
                each
                for each in plain
                if ("observations" in each or each in ("actions", "rewards")) == (how == "number")
            ]
            name = pick(rng, chosen)
            given[name] = plain[name].astype(float)
            row = int(rng.integers(ROWS))
            given[name][row] = bad
            read = (
                how == "flag"
                or "next_observations" in plain
                or (plain["terminals"] | ~np.append(plain["timeouts"][:-1], True))[row]
            )
            unread = plain if not read and name in ("actions", "rewards") else None  # of a row that is no transition
            meant, says = unread, r"\bobservations\b" if "observations" in name else rf"\b{name}\b"
        elif how == "bounds":
            (given["bounds"], size) = pick(rng, BOUNDS) if rng.integers(2) else (pick(rng, NO_BOUNDS), 0)
            meant, says = plain | {"size": size} if size else None, r"bounds|outside|finite|actions"
        elif how == "env":
            given["env"] = pick(rng, ENVS) if rng.random() < 0.2 else pick(rng, NO_ENVS)
            meant, says = plain if given["env"] in ENVS else None, r"\benv"
        elif how == "name":
            given["name"], says = pick(rng, NO_NAMES), r"^name = "
        elif how == "choice":
            which = pick(rng, ("reward", "observation"))
            given[which], says = pick(rng, NO_CHOICES), rf"{which}|expects"
        elif how == "dict":
            where = pick(rng, [each for each in plain if "observations" in each])
            given[where] = pick(
                rng,
                (
                    {"a": plain[where]},
                    {},
                    {"a": {"b": plain[where]}},
                    {3: plain[where]},
                    {"a": plain[where], "b": plain[where][:-1]},
                ),
            )
            both = len(given[where]) == 1 and where == "observations" and "next_observations" not in plain
            meant, says = plain if both else None, r"observations"
        else:
            given = dict(
                zip(plain, rng.permutation(np.array([*plain.values(), None], object))[: len(plain)], strict=True)
            )
            says = r"arrays"
        yield Case(
            f"array, {how}",
            says,
            partial(_collected, given, meant),
            (name, how, {key: given[key] for key in given if given[key] is not plain.get(key)}),
        )


def _collected(given: Mapping[str, Any], meant: Mapping[str, Any] | None) -> bool:
    data = datasets.from_arrays(**given, standardise=False)
    if meant is None:
        return False
    size, expected = meant.get("size"), transitions({key: meant[key] for key in meant if key != "size"})
    for found, column in zip(data.batch[:4], expected, strict=False):
        np.testing.assert_array_equal(found, column)
    goes_on = data.batch.discount > 0  # what follows an end is of no meaning
    np.testing.assert_array_equal(data.batch.next_obs[goes_on], expected[4][goes_on])
    return size is None or (data.action_low.tolist(), data.action_high.tolist()) == ([-size] * 2, [size] * 2)
