"""Checkpoints through Orbax. What is saved is host arrays [S, ...]: the layout does not depend on the devices.

A step holds four items, so that inference restores only what it needs: `policy` (the averaged parameters that act),
`critic` (the averaged ones), `training` (everything else of the state) and `about` (a JSON object).
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

ITEMS = ("policy", "critic", "training")


class Saved(NamedTuple):
    """The three array items of a step, pytrees of [S, ...]."""

    policy: Any
    critic: Any
    training: Any


class Checkpoints:
    """The checkpoints in one directory; the latest two are kept."""

    def __init__(self, directory: str | Path, *, keep: int = 2):
        """Opens the directory, which is made by the first save."""
        import orbax.checkpoint as ocp

        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(Path(directory).absolute(), options=options)

    def steps(self) -> list[int]:
        """The steps that are saved, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, saved: Saved, about: dict[str, Any]) -> None:
        """Saves in the background; `close` or the next save waits for it."""
        args = self._ocp.args
        items = {name: args.StandardSave(tree) for name, tree in saved._asdict().items() if jax.tree.leaves(tree)}
        self._manager.save(step, args=args.Composite(about=args.JsonSave(about), **items))

    def about(self, step: int) -> dict[str, Any]:
        """The JSON object of a step; reads no array."""
        return self._manager.restore(step, args=self._ocp.args.Composite(about=self._ocp.args.JsonRestore()))["about"]

    def restore(self, step: int, like: Saved) -> Saved:
        """Reads the arrays of a step.

        Args:
          step: one of `steps()`.
          like: pytrees of arrays or ShapeDtypeStructs with the expected shapes and types; an item of None is not read.

        Raises:
          ValueError: where a saved array has another shape or type than expected.
        """
        args = self._ocp.args
        wanted = {name: tree for name, tree in like._asdict().items() if tree is not None and jax.tree.leaves(tree)}
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), wanted)
        read = self._manager.restore(
            step, args=args.Composite(**{name: args.StandardRestore(tree) for name, tree in abstract.items()})
        )
        return Saved(**{name: read[name] if name in wanted else tree for name, tree in like._asdict().items()})

    def close(self) -> None:
        """Waits for the last save and raises what it raised."""
        self._manager.wait_until_finished()
        self._manager.close()
