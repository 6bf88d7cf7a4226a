"""Declaring settings: one dataclass field states a setting's default, what it may be, and its documentation.

Flags, checks, JSON, sweeps and the reference page follow from the fields (`gtp_jax.config.settings`). A policy or
critic declares its own settings in its own file, in a frozen dataclass `Settings`.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gtp_jax.names import nearest

MAX_INT = 2**31 - 1  # what JAX's 32-bit integers hold
MAX_DEPTH = 64  # hidden layers


class Range(NamedTuple):
    """The numbers from `low` to `high`, without those in `excluded`, negative zero, and what float32 rounds to 0."""

    low: float
    high: float
    excluded: tuple[float, ...] = ()

    def __contains__(self, value: object) -> bool:
        # The comparisons come first: an integer of a thousand digits has no float.
        if not isinstance(value, int | float) or not self.low <= value <= self.high or value in self.excluded:
            return False
        return value >= 1e-30 or (value == 0 and math.copysign(1, value) > 0)

    def __str__(self) -> str:
        above = self.excluded == (self.low,)
        others = "".join(f", not {value:g}" for value in self.excluded if not above)
        return f"{'above' if above else 'at least'} {self.low:,.10g}, at most {self.high:,.10g}{others}"


LARGEST = 1e6  # above it float32 has no room left for squares and products
UPDATES = Range(1, MAX_INT)
COUNT = Range(1, 1024)
MANY = Range(1, 1_000_000)
NOT_NEGATIVE, POSITIVE = Range(0, LARGEST), Range(0, LARGEST, excluded=(0,))
RATE = Range(0, 1, excluded=(0,))
COEFFICIENT = Range(0, 1e38)
WIDTHS = Range(1, 16_384)  # of hidden layers
ENVS = Range(1, 4096)  # environments of a seed


class Text(NamedTuple):
    """Words that anybody may choose: what they are, for messages, and their form."""

    meaning: str
    form: re.Pattern[str]


class Setting(NamedTuple):
    """The declaration of a setting. Its type is that of its default: bool, int, float, str, or a tuple of widths."""

    default: Any
    doc: str  # one sentence
    range: Range | None = None  # of a number, or of the widths in a tuple
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()  # of a word
    text: Text | None = None  # of a free word
    hparam: str = ""  # its name in State.hparams and in sweeps; empty for what cannot be swept
    free: bool = False  # whether it may change when a run is resumed
    structural: bool = False  # whether parameters trained under another value mean something else

    def words(self) -> tuple[str, ...]:
        """The words that it may be; none for one that is no word."""
        return self.choices() if callable(self.choices) else self.choices

    def allows(self, value: Any) -> bool:
        """Whether the setting may have this value; a list counts as a tuple."""
        if self.words():
            return isinstance(value, str) and value in self.words()
        if isinstance(self.default, tuple):
            is_list = isinstance(value, tuple | list) and 1 <= len(value) <= MAX_DEPTH
            return is_list and all(_is_whole(width) and width in WIDTHS for width in value)
        if self.text:
            return isinstance(value, str) and self.text.form.fullmatch(value) is not None
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        of_kind = _is_whole(value) or (isinstance(self.default, float) and isinstance(value, float))
        return of_kind and self.range is not None and value in self.range

    def allowed(self) -> str:
        """What the setting may be, in words."""
        if self.words():
            return f"one of {', '.join(self.words())}"
        if isinstance(self.default, tuple):
            return f"the widths of at most {MAX_DEPTH} layers, each a whole number {WIDTHS}"
        if self.text:
            return self.text.meaning
        if isinstance(self.default, bool):
            return "True or False"
        return f"a {'whole ' if _is_whole(self.default) else ''}number {self.range}"

    def refusal(self, name: str, value: Any) -> str:
        """The error for a bad value: name, value, what is allowed, and the nearest word to a mistyped one."""
        near = nearest(value, self.words())
        return f"{name} = {shown(value)} must be {self.allowed()}" + (f"; did you mean {near!r}?" if near else "")


def setting(default: Any, doc: str, **declaration: Any) -> Any:
    """A dataclass field that declares a setting; the arguments are the fields of `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(default, doc, **declaration)})


def declared(settings: Any) -> dict[str, Setting]:
    """The declarations of a dataclass of settings, or of an instance of one, by name."""
    return {
        field.name: field.metadata["setting"] for field in dataclasses.fields(settings) if "setting" in field.metadata
    }


def check_declared(settings: Any, prefix: str) -> None:
    """Raises ValueError for the first value of a dataclass of settings that its declaration does not allow."""
    for name, declaration in declared(settings).items():
        if not declaration.allows(getattr(settings, name)):
            raise ValueError(declaration.refusal(prefix + name, getattr(settings, name)))


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """The settings of a member that has none of its own."""


def shown(value: Any) -> str:
    """The repr of a value that somebody set, not longer than a line takes."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out integers of more than some thousand digits
        text = f"a {type(value).__name__} too long to write out"
    return " ".join((text if len(text) <= 100 else f"{text[:80]}...").split())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
