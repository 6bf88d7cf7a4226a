"""Names that people type: the members of a family, and the one that a mistyped name is nearest to."""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any


class Family:
    """The members of a family, policies or critics: the modules of a package, and members registered from elsewhere."""

    def __init__(self, package: str):
        self._package, self._registered = package, {}
        self.changes = 0  # how often `register` was called

    def register(self, name: str, member: Any) -> None:
        """Adds a module, or another object with its attributes `Settings` and `make`, under a name of its own.

        A name that was registered before gets the new member, as when a notebook's cell runs again.

        Raises:
          ValueError: for the name of a member of this package, or a member without `Settings` or `make`.
        """
        if name in self._modules:
            raise ValueError(f"{self._package} has a member {name!r} already; choose another name")
        if not hasattr(member, "Settings") or not hasattr(member, "make"):
            raise ValueError(f"{name!r} needs the attributes Settings and make to be registered in {self._package}")
        self._registered[name] = member
        self.changes += 1

    @functools.cached_property
    def _modules(self) -> tuple[str, ...]:
        path = importlib.import_module(self._package).__path__
        return tuple(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))

    def names(self) -> tuple[str, ...]:
        """The names of all members, sorted."""
        return tuple(sorted((*self._modules, *self._registered)))

    def __getitem__(self, name: str) -> Any:
        if name in self._registered:
            return self._registered[name]
        if name not in self._modules:
            family = self._package.rpartition(".")[2]
            raise ValueError(f"unknown name {name!r} among {family}; {there_are(name, self.names())}")
        return importlib.import_module(f"{self._package}.{name}")


def nearest(name: object, valid: Iterable[str]) -> str | None:
    """The valid name that a wrong one is most like, if it is like any; a long one is not compared."""
    if not isinstance(name, str) or len(name) > 100:
        return None
    return next(iter(difflib.get_close_matches(name, list(valid), 1)), None)


def there_are(name: object, valid: Iterable[str]) -> str:
    """The end of a sentence about a wrong name: `there are gtp, ctm; did you mean 'gtp'?`."""
    valid = tuple(valid)
    near = nearest(name, valid)
    return f"there are {', '.join(valid)}" + (f"; did you mean {near!r}?" if near else "")


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def by_path(value: Any, path: str = "") -> dict[str, Any]:
    """The arrays, or spaces, in dicts of whatever depth by path, "desired_goal/kettle", sorted; that of one is ""."""
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        name: leaf
        for key in sorted(value, key=str)
        for name, leaf in by_path(value[key], f"{path}/{key}".lstrip("/")).items()
    }
