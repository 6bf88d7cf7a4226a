"""Names that people type: the members of a family, and the one that a mistyped name is nearest to."""

import difflib
import pkgutil
from collections.abc import Iterable
from types import ModuleType


def members(package: ModuleType) -> tuple[str, ...]:
    """The members of a family: the module names of its package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name[0] != "_"))


def nearest(name: object, valid: Iterable[str]) -> str | None:
    """The valid name that a wrong one is most like, if it is like any; a long one is not looked through."""
    if not isinstance(name, str) or len(name) > 100:
        return None
    return next(iter(difflib.get_close_matches(name, list(valid), 1)), None)


def there_are(name: object, valid: Iterable[str]) -> str:
    """The end of a sentence about a wrong name: `there are gtp, ctm; did you mean 'gtp'?`."""
    valid = tuple(valid)
    near = nearest(name, valid)
    return f"there are {', '.join(valid)}" + (f"; did you mean {near!r}?" if near else "")
