"""Two thousand generated inputs of a user's field: each is refused in one line that names it, or is right.

Specifications of environments in real recordings (right: the environment that Gymnasium itself makes of them, step for
step), observations and arguments of a policy (right: the action of the plain array), arrays of one's own (right: the
transitions of a plain loop), directories and outputs of the commands (right: the results are where a shell would look
for them, and nothing else has changed), and environment variables (right: the same numbers as without). Any other is
`silent`, where something else came out, or among the `tracebacks`, an error of several lines or of no place included.
"""

import collections
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import shared
from benchmarks.trust.field import arrays, objects, places, specs, surroundings
from benchmarks.trust.field.cases import outcome

COUNTS = {  # at scale 1
    specs.specifications: 700,
    objects.observations: 400,
    objects.arguments: 150,
    arrays.arrays: 300,
    places.directories: 300,
    surroundings.read_here: 150,
}


def measure(scale: float, processes: int, seed: int) -> dict[str, Any]:
    """Tries and counts; `processes` of the inputs are environment variables of a process of their own."""
    counts, here = collections.defaultdict(collections.Counter), os.getcwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        root = Path(folder).resolve()
        for name in specs.RECORDED:
            specs.record(root, name)
        policies = objects.policies(root)
        places.prepare(root)
        surroundings.prepare(root)
        every = COUNTS | {surroundings.read_elsewhere: processes}
        for source, count in every.items():
            began, rng = time.monotonic(), np.random.default_rng(seed)
            given = policies if source.__module__ == objects.__name__ else root
            for case in source(rng, int(count * scale) if source in COUNTS else count, given):
                counts[case.kind][outcome(case)] += 1
            print(f"{source.__name__}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        os.chdir(here)
        sys.path.remove(str(root / "modules"))
    names = ("refused", "right", "silent", "tracebacks")
    rows = {kind: {"tried": n.total(), **{name: n[name] for name in names}} for kind, n in sorted(counts.items())}
    return {name: sum(row[name] for row in rows.values()) for name in ("tried", *names)} | {"cases": rows}


main = partial(shared.measure, __file__, __doc__, measure, scale=1.0, processes=50, seed=0)
