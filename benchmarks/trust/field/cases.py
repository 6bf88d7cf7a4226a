"""An input, how it ended, and what generators of inputs share."""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

LONGEST_LINE = 2000


class Case(NamedTuple):
    """One input."""

    kind: str
    says: str  # a regular expression that its refusal must hold
    call: Callable[[], bool]  # whether what came out is right
    shown: object  # for the log, where it fails


def pick(rng: np.random.Generator, values: Any) -> Any:
    """One of some values, of whatever types."""
    return values[rng.integers(len(values))]


@contextlib.contextmanager
def variables(**changes: str | None) -> Iterator[None]:
    """The environment with other variables; None is one that is not set."""
    with mock.patch.dict(os.environ):
        for name, value in changes.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        yield


def outcome(case: Case) -> str:
    """How an input ended: "refused", "right", "silent" or "tracebacks"; the last two are printed."""
    try:
        if case.call():
            return "right"
        ended = text = "silent"
    except (ValueError, FileNotFoundError) as error:
        text, ended = str(error), "tracebacks"
        if "\n" not in text and len(text) <= LONGEST_LINE and re.search(case.says, text):
            return "refused"
    except AssertionError:  # of what is right
        text, ended = traceback.format_exc(), "silent"
    except BaseException:  # of any kind: that it came is what is counted
        text, ended = traceback.format_exc(), "tracebacks"
    print(f"{ended}: {case.kind}: {case.shown!s:.600}\n  {text}", file=sys.stderr, flush=True)
    return ended
