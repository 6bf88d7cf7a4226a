"""Observations and arguments of a policy's call, in every form that NumPy knows."""

import array
import collections
import copy
import decimal
import fractions
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gtp_jax
from benchmarks.trust.field.cases import Case, pick
from gtp_jax import datasets
from gtp_jax.serving.policy import LoadedPolicy

# fmt: off
TINY = {"num_updates": 1, "num_seeds": 2, "batch_size": 4, "devices": 1, "policy.hidden": (4,), "critic.hidden": (4,),
        "policy.num_steps": 2, "log_every": 1, "checkpoint_every": 1, "eval.every": 1}
# fmt: on


class Convertible:
    """As another library's array."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


# Forms of an array of eighths, [*B, n], that say the same; what a policy does not take it may refuse.
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "float16": lambda x: x.astype("f2"),
    "float32": lambda x: x.astype("f4"),
    "integers": lambda x: x.astype("i8"),
    "big-endian": lambda x: x.astype(">f8"),
    "long double": lambda x: x.astype("g"),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "broadcast": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
    "JAX": jnp.asarray,
    "bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
    "masked": np.ma.masked_array,
    "convertible": Convertible,
    "objects": lambda x: x.astype(object),
    "fractions": lambda x: np.vectorize(lambda v: fractions.Fraction(v), otypes=[object])(x).tolist(),
    "decimals": lambda x: np.vectorize(lambda v: decimal.Decimal(v), otypes=[object])(x).tolist(),
    "memory": lambda x: memoryview(np.ascontiguousarray(x)),
    "array": lambda x: array.array("d", x) if x.ndim == 1 else list(x),
    "deque": lambda x: collections.deque(x.tolist()),
    "list of arrays": list,
    "list of JAX": lambda x: [jnp.asarray(each) for each in x],
    "record": lambda x: x.view(np.recarray) if x.ndim else x,
    "unaligned": lambda x: np.frombuffer(b"\0" + x.astype("f8").tobytes(), "u1")[1:].view("f8").reshape(x.shape),
}
# Forms that hold no observation, or another one.
OTHER: dict[str, Callable[[np.ndarray], Any]] = {
    "too few": lambda x: x[..., :-1],
    "too many": lambda x: np.concatenate([x, x[..., :1]], axis=-1),
    "none": lambda x: x[..., :0],
    "scalar": lambda x: 0.5,
    "text": lambda x: x.astype(str),
    "texts": lambda x: x.astype(str).tolist(),
    "bytes": lambda x: x.astype("S9"),
    "raw bytes": lambda x: x.tobytes(),
    "complex": lambda x: x.astype(complex),
    "time": lambda x: x.astype("M8[s]"),
    "duration": lambda x: x.astype("m8[s]"),
    "void": lambda x: np.zeros(x.shape, "V8"),
    "fields": lambda x: np.zeros(x.shape[:-1], [(f"f{i}", "f8") for i in range(x.shape[-1])]),
    "None": lambda x: None,
    "Nones": lambda x: np.full(x.shape, None).tolist(),
    "ragged": lambda x: [*x.tolist(), []],
    "set": lambda x: set(x.ravel().tolist()),
    "generator": lambda x: (each for each in x),
    "map": lambda x: map(float, x.ravel()),
    "str": lambda x: str(x.tolist()),
    "pair": lambda x: (x, {}),
    "step": lambda x: (x, 0.0, False, False, {}),
    "class": lambda x: np.ndarray,
    "key": lambda x: jax.random.key(0),
    "huge": lambda x: np.full(x.shape, 10**400, object).tolist(),
    "masked one": lambda x: np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 0),
    "nested": lambda x: {"observation": {"observation": x}},
    "a dict": lambda x: {"a": x},
    "sparse": lambda x: dict(enumerate(x.ravel().tolist())),
}
PLACES = r"\bobs\b|observation|expects"


def eighths(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that float16 and bfloat16 hold exactly."""
    return rng.integers(-16, 17, shape) / 8


def in_parts(sizes: Any, form: Callable[[int], Any]) -> Any:
    """An observation of the sizes of a policy's."""
    return {key: in_parts(each, form) for key, each in sizes.items()} if isinstance(sizes, dict) else form(sizes)


def leaves(observation: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The places of an observation's arrays."""
    if not isinstance(observation, dict):
        return [path]
    return [place for key, each in observation.items() for place in leaves(each, (*path, key))]


def with_leaf(observation: Any, path: tuple[str, ...], change: Callable[[np.ndarray], Any]) -> Any:
    """An observation in one place of which stands something else."""
    if not path:
        return change(observation)
    return observation | {path[0]: with_leaf(observation[path[0]], path[1:], change)}


def other_keys(rng: np.random.Generator, observation: dict[str, Any]) -> tuple[str, Any, bool]:
    """A dict with other keys: how, the dict, and whether it says the same."""
    keys = list(observation)
    key, rest = pick(rng, keys), {name: observation[name] for name in reversed(keys)}
    how = pick(rng, ("order", "proxy", "ordered", "missing", "renamed", "number", "additional", "deeper", "paths"))
    if how in ("order", "proxy", "ordered"):
        return (
            how,
            {"order": dict, "proxy": types.MappingProxyType, "ordered": collections.OrderedDict}[how](rest),
            True,
        )
    if how == "additional":
        return how, rest | {pick(rng, ("time", "", 3, None)): np.zeros(2)}, True
    if how == "paths" and (nested := [name for name in keys if isinstance(rest[name], dict)]):
        inner = rest.pop(nested[0])
        return how, rest | {f"{nested[0]}/{name}": each for name, each in inner.items()}, True
    value = rest.pop(key)
    names = {"renamed": f"{key}_", "number": 0, "deeper": key}
    return (
        how,
        rest | ({} if how == "missing" else {names.get(how, f" {key}"): {key: value} if how == "deeper" else value}),
        False,
    )


def observations(rng: np.random.Generator, count: int, policies: Mapping[str, LoadedPolicy]) -> Iterator[Case]:
    """Calls with an observation in another form, of another kind, or with a number that is none."""
    for _ in range(count):
        name = pick(rng, list(policies))
        policy, batch = policies[name], pick(rng, ((), (1,), (3,), (2, 2), (0,)))
        plain = in_parts(policy.observe.sizes(), lambda size, batch=batch: eighths(rng, (*batch, size)))
        path, says, same = pick(rng, leaves(plain)), PLACES, False
        how = pick(rng, ("same", "same", "other", "number", "keys"))
        if how == "keys" and isinstance(plain, dict):
            form, given, same = other_keys(rng, plain)
        elif how == "number" and 0 not in batch:
            form = str(number := pick(rng, (np.nan, np.inf, -np.inf, 1e39, -1e300)))
            array_ = plain
            for key in path:
                array_ = array_[key]
            index = tuple(int(rng.integers(size)) for size in array_.shape)
            given = with_leaf(copy.deepcopy(plain), path, partial(with_number, index, number))
            says = r"^obs is not finite: number \d+ of the flat observation at " + re.escape(str(index[:-1]))
            says = says if name == "ant" else says.replace(r"\d+", str(flat_index(policy, path) + index[-1]))
        else:
            form = pick(rng, list(forms := SAME if how == "same" else OTHER))
            if form == "integers":
                plain = with_leaf(plain, path, lambda x: x * 2.0**40)
            given, same = with_leaf(plain, path, forms[form]), how == "same"
        traced = how != "number" and rng.random() < 0.15
        call = partial(_acts, policy, given, plain if same else None, traced)
        yield Case(f"observation, {'act' if traced else 'call'}", says, call, (name, how, form, batch, path))


def with_number(index: tuple[int, ...], number: float, values: np.ndarray) -> np.ndarray:
    """Values with another number at one index."""
    values[index] = number
    return values


def flat_index(policy: LoadedPolicy, path: tuple[str, ...]) -> int:
    """Where a part begins in a flat observation."""
    parts = policy.observe.parts
    return sum(parts[each] for each in sorted(parts) if each < "/".join(path))


def _acts(policy: LoadedPolicy, given: Any, plain: Any, traced: bool) -> bool:
    params, key = policy.params_of(1), jax.random.key(3)
    act = partial(policy.act, params, key) if traced else partial(policy, key=key, trial=1)
    found = act(given)
    expected = None if plain is None else act(plain)
    return expected is not None and _is_action(policy, np.asarray(found), np.asarray(expected))


def _is_action(policy: LoadedPolicy, found: np.ndarray, expected: np.ndarray) -> bool:
    inside = ((found >= policy.action_low) & (found <= policy.action_high)).all()
    return (
        found.dtype == np.float32 and bool(inside) and found.shape == expected.shape and np.array_equal(found, expected)
    )


# Values of an argument, and what each means: another way to say a value, or nothing that can be.
NOTHING = object()
# fmt: off
ODD = [True, False, -1, "1", b"1", [], [1], (1, 1), {}, {1}, math.nan, math.inf, -math.inf, 10**30, -(10**400), 1j,
       np.zeros(2), np.ones((1, 1)), np.array("x"), np.array(None), np.float64("nan"), object, print, np.bool_(True),
       decimal.Decimal(1), np.datetime64(1, "s"), "x" * 9999, jax.random.key, np.array([True]), NOTHING]
MEANT: dict[str, list[tuple[Any, Any]]] = {
    "trial": [(each, 1) for each in (1, np.int8(1), np.uint64(1), np.array(1), jnp.int32(1))],
    "num_steps": [(each, 3) for each in (3, np.int8(3), np.uint64(3), np.array(3), jnp.int32(3))],
    "temperature": [(each, 0.5) for each in (0.5, np.float16(0.5), np.array(0.5), jnp.float32(0.5))],
    "key": [(jax.random.PRNGKey(5), jax.random.key(5)), (np.array([0, 5], np.uint32), jax.random.key(5))],
}
BAD = {
    "trial": [2, 2.0, 1.5, np.float32(1), -2, np.array([1])],
    "num_steps": [0, 2.0, 1.5, np.float32(1), 10**5, 2**31, np.array([1])],
    "temperature": [-0.1, -1e-300, np.float32(-1), jnp.array([1.0])],
    "key": [3, 0, 1.5, np.zeros(2), np.zeros(2, int), np.zeros((2, 2), np.uint32), np.random.default_rng(0),
            jax.random.split(jax.random.key(0))],
}
# fmt: on


def arguments(rng: np.random.Generator, count: int, policies: Mapping[str, LoadedPolicy]) -> Iterator[Case]:
    """Calls with a key, trial, K or temperature that is written otherwise, or that cannot be."""
    for _ in range(count):
        policy, name = policies["hopper"], pick(rng, list(MEANT))
        obs = eighths(rng, (2, policy.observe.sizes()))
        given, meant = pick(rng, MEANT[name]) if rng.random() < 0.4 else (pick(rng, BAD[name] + ODD), NOTHING)
        act = name != "trial" and rng.random() < 0.3
        yield Case(
            f"argument, {name}", rf"^{name} = ", partial(_called, policy, obs, name, given, meant, act), (given, act)
        )


def _called(policy: LoadedPolicy, obs: np.ndarray, name: str, given: Any, meant: Any, act: bool) -> bool:
    def call(value: Any) -> np.ndarray:
        if act:
            return policy.act(policy.params_of(0), obs=obs, **{"key": jax.random.key(0), name: value})
        return policy(obs, **{name: value})

    found = np.asarray(call(given))
    return meant is not NOTHING and _is_action(policy, found, np.asarray(call(meant)))


def policies(root: Path) -> dict[str, LoadedPolicy]:
    """Of arrays, of nested dicts, and of AntMaze's: those of the recordings of `specs.RECORDED`, trained once."""
    found = {}
    for name in ("hopper", "point", "ant"):
        data = datasets.load(f"{name}/tiny-v0", root=root, env=False)
        found[name] = gtp_jax.train(gtp_jax.Settings(), TINY, dataset=data, quiet=True).policy
    return found
