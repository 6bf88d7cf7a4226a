"""Declaring settings: one dataclass field states a setting's default, what it may be, and its documentation.

Flags, checks, JSON, sweeps and the reference page follow from the fields (`gtp_jax.config.settings`). A policy or
critic declares its own settings in its own file, in a frozen dataclass `Settings`.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple

MAX_INT = 2**31 - 1  # what JAX's 32-bit integers hold


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
        others = "".join(f", not {value:g}" for value in self.excluded)
        return f"at least {self.low:.10g}, at most {self.high:.10g}{others}"


LARGEST = 1e6  # above it float32 has no room left for squares and products
UPDATES = Range(1, MAX_INT)
COUNT = Range(1, 1024)
MANY = Range(1, 1_000_000)
NOT_NEGATIVE, POSITIVE = Range(0, LARGEST), Range(0, LARGEST, excluded=(0,))
RATE = Range(0, 1, excluded=(0,))
COEFFICIENT = Range(0, 1e38)
WIDTHS = Range(1, 16_384)  # of hidden layers
MAX_DEPTH = 64  # hidden layers


class Text(NamedTuple):
    """Words that anybody may choose: what they are, for messages, and their form."""

    meaning: str
    form: re.Pattern


class Setting(NamedTuple):
    """What the declaration of a setting says beside its type and default."""

    doc: str  # one sentence
    range: Range | None = None  # of a number, or of the widths in a tuple
    choices: tuple[str, ...] = ()  # of a word
    text: Text | None = None  # of a free word
    hparam: str = ""  # its name in State.hparams and in sweeps; empty for what cannot be swept
    free: bool = False  # whether it may change when a run is resumed
    structural: bool = False  # whether parameters trained under another value mean something else


def setting(
    default: Any,
    doc: str,
    *,
    range: Range | None = None,
    choices: tuple[str, ...] = (),
    text: Text | None = None,
    hparam: str = "",
    free: bool = False,
    structural: bool = False,
) -> Any:
    """A dataclass field that declares a setting; see `Setting` for the arguments.

    The type follows from the default: a bool, an int, a float, a str, or a tuple of layer widths.
    """
    return dataclasses.field(
        default=default,
        metadata={"setting": Setting(doc, range, choices, text, hparam, free, structural)},
    )


def declared(settings: Any) -> dict[str, tuple[Any, Setting]]:
    """The settings of a dataclass or an instance of one: (default, declaration) by name."""
    return {
        field.name: (field.default, field.metadata["setting"])
        for field in dataclasses.fields(settings)
        if "setting" in field.metadata
    }


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """The settings of a member that has none of its own."""
