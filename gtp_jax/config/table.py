"""The table of all settings by dotted name, "policy.rho", from which flags, checks and the reference page follow."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gtp_jax import critics, policies
from gtp_jax.config.groups import RunSettings
from gtp_jax.declare import Setting, declared, shown
from gtp_jax.names import nearest

MAX_SWEPT = 1024  # values of one hyperparameter

PARTS: dict[str, Any] = {
    field.name: type(field.default)
    for field in dataclasses.fields(RunSettings)
    if dataclasses.is_dataclass(field.default)
}
MEMBERS = {"policy": policies.FAMILY, "critic": critics.FAMILY}


class Declared(NamedTuple):
    """A setting of the table: its declaration, and the policies or critics that have it; none means all."""

    setting: Setting
    owners: tuple[str, ...] = ()


def declarations() -> dict[str, Declared]:
    """All settings by dotted name, those of every policy and critic and the sweeps included."""
    return _declarations(*((family.names(), family.changes) for family in MEMBERS.values()))


@functools.cache
def _declarations(*_: tuple[tuple[str, ...], int]) -> dict[str, Declared]:
    found = {name: Declared(each) for name, each in declared(RunSettings).items()}
    for part, kind in PARTS.items():
        common = {f"{part}.{name}": Declared(each) for name, each in declared(kind).items()}
        found |= common
        for member in MEMBERS[part].names() if part in MEMBERS else ():
            for last, each in declared(MEMBERS[part][member].Settings).items():
                name = f"{part}.{last}"
                before = found.get(name, Declared(each))
                if name in common:
                    raise ValueError(f"{name}, which {member} declares, is a setting of every {part}; rename it")
                if before.setting != each:
                    raise ValueError(
                        f"{name}: {member} declares it otherwise than {', '.join(before.owners)}; rename it"
                    )
                found[name] = Declared(each, (*before.owners, member))
    swept: dict[str, Declared] = {}
    for name, each in found.items():
        if hparam := each.setting.hparam:
            if f"sweep.{hparam}" in swept:
                raise ValueError(f"{name}: another setting has the hyperparameter {hparam!r}; rename it")
            swept[f"sweep.{hparam}"] = each
    return found | swept


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of nested mappings by dotted name, `("policy.rho", 7.0)`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        group = found
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = value
    return found


def unknown(name: str) -> str:
    """The error for a setting that there is not, with the nearest that there is."""
    known = declarations()
    members = [key for key in known if key.startswith(f"{name}.")]
    if members:
        return f"{name} is a group of settings: {', '.join(members)}"
    near = nearest_setting(name)
    group, _, last = str(name).partition(".")
    if group == "sweep":
        setting = next((key for key in known if last in (key, key.rpartition(".")[2])), None)
        if setting and not known[setting].setting.hparam:
            swept = ", ".join(each.setting.hparam for key, each in known.items() if key.startswith("sweep."))
            return f"{setting} cannot be swept: its declaration names no hparam; sweeps may vary {swept}"
        near = f"sweep.{known[setting].setting.hparam}" if setting else near
    return f"there is no setting {shown(name)}" + (f"; did you mean {near}?" if near else "")


# What other codebases call a setting, where no spelling is near.
ELSEWHERE = {"lr": "policy.learning_rate", "epochs": "num_updates", "steps": "num_updates", "seed": "seed_offset"}


def nearest_setting(name: str) -> str | None:
    """The setting that a wrong name is most like, with its group or without, if it is like any."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    known = declarations()
    full = {key.rpartition(".")[2]: key for key in reversed(known)} | {key: key for key in known}
    return full.get(nearest(name, full) or "")


def refusal(name: str, value: Any) -> str:
    """The error for a value that a setting, by dotted name, cannot have."""
    declaration = declarations()[name].setting
    return _refused_sweep(name, value, declaration) if name.startswith("sweep.") else declaration.refusal(name, value)


def _refused_sweep(name: str, values: Any, declaration: Setting) -> str:
    return f"{name} = {shown(values)} must be up to {MAX_SWEPT} values, each a number {declaration.range}"


def check_swept(name: str, values: Any, declaration: Setting) -> None:
    """Raises ValueError for anything but a tuple of values, each allowed and there once."""
    if not isinstance(values, tuple) or len(values) > MAX_SWEPT:
        raise ValueError(_refused_sweep(name, values, declaration))
    for value in values:
        if not declaration.allows(value):
            raise ValueError(f"{name} = {shown(values)}: {shown(value)} must be a number {declaration.range}")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} = {shown(values)} names a value twice")


def own_values(part: str, member: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a member's own settings. Raises ValueError for those of others that are not at their defaults."""
    found = {}
    for name, value in given.items():
        declaration, owners = declarations()[name]
        if not owners or not name.startswith(f"{part}."):
            continue
        if not declaration.allows(value):
            raise ValueError(declaration.refusal(name, value))
        if member in owners:
            found[name.partition(".")[2]] = value
        elif value != declaration.default:
            there = f"leave it out (it belongs to {', '.join(owners)})"
            raise ValueError(f"{name} = {shown(value)} means nothing to {part}.name = {member!r}; {there}")
    return found


def is_free(name: str) -> bool:
    """Whether a setting, by dotted name, may change when a run is resumed."""
    return name in declarations() and declarations()[name].setting.free


class Reference(NamedTuple):
    """A row of the reference page."""

    name: str
    default: Any
    allowed: str
    hparam: str
    free: bool
    owners: tuple[str, ...]
    doc: str


def reference() -> list[Reference]:
    """Every setting, sweeps left out, in the order of declaration."""
    return [
        Reference(name, s.default, s.allowed(), s.hparam, s.free, owners, s.doc)
        for name, (s, owners) in declarations().items()
        if not name.startswith("sweep.")
    ]
