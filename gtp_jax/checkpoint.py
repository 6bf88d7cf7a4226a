"""Checkpoints through Orbax. What is saved is host arrays [S, ...]: the layout does not depend on the devices.

A step holds five items, so that inference restores only what it needs: `policy` (the averaged parameters that act),
`critic` (the averaged ones), `training` (everything else of the state), `about` (a JSON object) and `digest` (a hash of
each array, since Orbax notices neither a flipped bit nor another dtype).
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Saved(NamedTuple):
    """The three array items of a step, pytrees of [S, ...]; None or an empty pytree for an item that is left out."""

    policy: Any
    critic: Any
    training: Any


class DamagedCheckpoint(ValueError):
    """A checkpoint whose content is not what was saved."""


def _present(saved: Saved) -> dict[str, Any]:
    return {name: tree for name, tree in saved._asdict().items() if jax.tree.leaves(tree)}


def _named_leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _digests(tree: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "sha256": hashlib.sha256(np.ascontiguousarray(leaf)).hexdigest(),
        }
        for name, leaf in _named_leaves(tree).items()
    }


class Checkpoints:
    """The checkpoints in one directory; the latest two are kept."""

    def __init__(self, directory: str | Path, *, keep: int = 2):
        """Opens the directory and makes it where it is missing."""
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """The steps that are saved, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, saved: Saved, about: dict[str, Any]) -> None:
        """Saves in the background; `close` or the next save waits for it. The arrays must not change meanwhile."""
        for stale in [other for other in self.steps() if other >= step]:
            self._manager.delete(stale)  # damaged and passed over: Orbax would silently skip this save for its sake
        args, trees = self._ocp.args, _present(saved)
        digest = {name: _digests(tree) for name, tree in trees.items()}
        items = {name: args.StandardSave(tree) for name, tree in trees.items()}
        items |= {"about": args.JsonSave(about), "digest": args.JsonSave(digest)}
        self._manager.save(step, args=args.Composite(**items))

    def about(self, step: int) -> dict[str, Any]:
        """The JSON object of a step; reads no array."""
        return self._read(step, about=self._ocp.args.JsonRestore())["about"]

    def restore(self, step: int, like: Saved) -> Saved:
        """Reads the arrays of a step and verifies them.

        Args:
          step: one of `steps()`.
          like: pytrees of arrays or ShapeDtypeStructs with the expected shapes and types; only the items that hold any
            are read.

        Raises:
          ValueError: where a saved array has another shape or type than expected.
          DamagedCheckpoint: where the content cannot be read or is not what was saved.
        """
        args, wanted = self._ocp.args, _present(like)
        digest = self._read(step, digest=args.JsonRestore())["digest"]
        for item, tree in wanted.items():
            self._check(step, item, {n: (list(x.shape), str(x.dtype)) for n, x in _named_leaves(tree).items()}, digest)
        empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), wanted)
        read = self._read(step, **{name: args.StandardRestore(tree) for name, tree in empty.items()})
        for item in wanted:
            for name, found in _digests(read[item]).items():
                if found != digest[item][name]:
                    raise DamagedCheckpoint(f"{self.directory / str(step)}: {item}{name} is not what was saved")
        return like._replace(**{name: read[name] for name in wanted})

    def _check(self, step: int, item: str, expected: dict[str, tuple], digest: dict) -> None:
        saved = {name: (leaf["shape"], leaf["dtype"]) for name, leaf in digest.get(item, {}).items()}
        for name in sorted(expected.keys() | saved.keys()):
            if expected.get(name) != saved.get(name):
                raise ValueError(
                    f"{self.directory / str(step)}: {item}{name} was saved as {saved.get(name, 'nothing')}, but "
                    f"{expected.get(name, 'nothing')} is expected; the run has other settings"
                )

    def _read(self, step: int, **items: Any) -> Any:
        # Orbax and what lies below it raise every kind of exception on damaged files.
        try:
            return self._manager.restore(step, args=self._ocp.args.Composite(**items))
        except Exception as error:
            raise DamagedCheckpoint(f"{self.directory / str(step)} cannot be read: {error}") from error

    def close(self) -> None:
        """Waits for the last save and raises what it raised."""
        self._manager.wait_until_finished()
        self._manager.close()
