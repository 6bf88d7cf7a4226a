"""Checkpoints through Orbax, of host arrays [S, ...], so that their layout does not depend on the devices.

Items of a step: `policy` and `critic` (the averaged parameters), `training` (the rest of the state), `info` (a RunInfo
as JSON) and `digest` (hashes of arrays, of `info` and of itself: Orbax notices no flipped bit and no other dtype).
"""

import contextlib
import fnmatch
import functools
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from gtp_jax.files import check_tree
from gtp_jax.runs.info import SCHEMA as SCHEMA
from gtp_jax.runs.info import RunInfo

T = TypeVar("T")


class Saved(NamedTuple):
    """The three array items of a step, pytrees of [S, ...]; None or an empty pytree for an item that is left out."""

    policy: Any
    critic: Any
    training: Any


class DamagedCheckpoint(ValueError):
    """A checkpoint whose content is not what was saved."""


class FailedSave(OSError):
    """A step that could not be saved; the steps before it are as they were."""


def _present(saved: Saved) -> dict[str, Any]:
    return {name: tree for name, tree in saved._asdict().items() if jax.tree.leaves(tree)}


def _kinds(tree: Any) -> dict[str, list[Any]]:
    """Shape and type of each leaf by its name, for JSON."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves}


def _digests(tree: Any) -> dict[str, list[Any]]:
    """Shape, type and hash of each leaf by its name."""
    hashes = [hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest() for leaf in jax.tree.leaves(tree)]
    return {name: [*kind, sha256] for (name, kind), sha256 in zip(_kinds(tree).items(), hashes, strict=True)}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    """The first line of a message, since some quote whole stacks; of TensorStore's, the system's error alone."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    code = re.search(r"os_error_code='(\d+)'", line)
    return f"[Errno {code[1]}] {os.strerror(int(code[1]))}" if code else f"{line:.300}"


class _Best:
    """Preserves the best step, the later one of equals; Orbax's BestN prefers NaN, and fails on a damaged file."""

    def __init__(self, scores: dict[int, float]):
        self._scores = scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        steps = [info.step for info in checkpoints]
        scored = [(self._scores[step], step) for step in steps if math.isfinite(self._scores.get(step, math.nan))]
        best = max(scored, default=(None, None))[1]
        return [step == best for step in steps]


class Checkpoints:
    """The checkpoints in one directory. The latest two are kept, and the one with the best of `scores`, by step.

    The directory is made, and cleared of what killed saves left, when it is first used; with `read_only`, for reading
    beside a run that may be saving, nothing in it is changed.
    """

    def __init__(self, directory: str | Path, *, read_only: bool = False):
        self.directory, self._read_only = Path(directory).absolute(), read_only
        self.scores: dict[int, float] = {}  # NaN and infinities are no best
        self._saving: int | None = None

    @functools.cached_property
    def _manager(self) -> Any:
        import orbax.checkpoint as ocp
        from etils import epath
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

        options: dict[str, Any] = {"create": False}
        if not self._read_only:
            keep = AnyPreservationPolicy([LatestN(2), _Best(self.scores)])
            # Directories first: where they cannot be made, Orbax's threads would wait for them for twenty minutes.
            how = ocp.options.AsyncOptions(create_directories_asynchronously=False)
            options = {"cleanup_tmp_directories": True, "preservation_policy": keep, "async_options": how}

        class Literal(type(epath.Path(self.directory))):
            """A path whose own brackets and stars are no pattern when Orbax looks for files in it."""

            def glob(self, pattern: str) -> Iterator["Literal"]:
                return (self / name for name in fnmatch.filter(os.listdir(self), pattern))

        return ocp.CheckpointManager(Literal(self.directory), options=ocp.CheckpointManagerOptions(**options))

    def steps(self) -> list[int]:
        """The steps that are saved, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, saved: Saved, info: RunInfo) -> None:
        """Saves in the background, after the save before. The arrays must not change meanwhile.

        Raises FailedSave where the save before failed, or where this one cannot begin, as for a lower `step`.
        """
        from orbax.checkpoint import args

        self.wait()
        self._saving = step
        with self._failing():
            text, trees = info.to_json(), _present(saved)
            digest = {"info": _sha256(text), "arrays": {name: _digests(tree) for name, tree in trees.items()}}
            items = {name: args.StandardSave(tree) for name, tree in trees.items()}
            items |= {"info": args.JsonSave(text), "digest": args.JsonSave(digest | {"sha256": _sha256(digest)})}
            if not self._manager.save(step, args=args.Composite(**items)):
                raise ValueError(f"step {self.steps()[-1]} exists, and is not lower")

    def wait(self) -> bool:
        """Waits for the last save; returns whether there was one. Raises FailedSave, once, where it failed."""
        if self._saving is None:
            return False
        with self._failing():
            self._manager.wait_until_finished()
        self._saving = None
        return True

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of every kind, as those of reading
            if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
                raise  # another process is lost; the file system may be sound
            step, self._saving = self._saving, None
            with contextlib.suppress(Exception):
                self._manager.close()
            # Orbax has forgotten the steps that this save would have replaced, and left what it had written of it.
            self.__dict__.pop("_manager", None)
            raise FailedSave(f"{self.directory / str(step)} could not be saved: {_reason(error)}") from error

    def newest(
        self, read: Callable[[int], T], passed_over: Callable[[int, DamagedCheckpoint], object]
    ) -> tuple[int, T] | None:
        """The newest step that `read` does not find damaged, and what it returned; None if there is none.

        `read` calls `info` or `restore` for a step; `passed_over` gets each damaged step and its error.
        """
        for step in reversed(self.steps()):
            try:
                return step, read(step)
            except DamagedCheckpoint as error:
                passed_over(step, error)
        return None

    def set_aside(self, step: int) -> Path:
        """Renames a damaged step, so that no save and no reading meets it again; returns the new path."""
        # It is not deleted: a file system that failed to read may be mended.
        names = (self.directory / f"damaged-{step}-{number}" for number in itertools.count(1))
        target = next(path for path in names if not path.exists())
        (self.directory / str(step)).rename(target)
        self._manager.reload()
        return target

    def info(self, step: int) -> RunInfo:
        """The record of the run in a step, without its arrays.

        Raises DamagedCheckpoint where it is not what was saved, and ValueError where no run of this version wrote it.
        """
        item = "about" if (self.directory / str(step) / "about").exists() else "info"  # "about" up to schema 2
        found = self._read(step, **{item: None})[item]
        if item == "info" and _sha256(found) != self._digest(step)["info"]:
            raise DamagedCheckpoint(f"{self.directory / str(step)}: info is not what was saved")
        return RunInfo.from_json(found)

    def restore(self, step: int, like: Saved) -> Saved:
        """Reads and verifies the arrays of a step, only the items of which `like` holds any.

        `like` holds arrays or ShapeDtypeStructs. Raises ValueError where a saved array has another shape or type, and
        DamagedCheckpoint where the content cannot be read or is not what was saved.
        """
        wanted, where, digest = _present(like), self.directory / str(step), self._digest(step)["arrays"]
        empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), wanted)
        for item, tree in wanted.items():
            expected, saved = _kinds(tree), {name: kind[:2] for name, kind in digest.get(item, {}).items()}
            for name in sorted(expected.keys() | saved.keys()):
                there, here = saved.get(name, "nothing"), expected.get(name, "nothing")
                if there != here:
                    difference = f"{item}{name} was saved as {there}, but {here} is expected"
                    raise ValueError(f"{where}: {difference}; the run has other settings")
        read = self._read(step, **empty)
        for item in wanted:
            for name, found in _digests(read[item]).items():
                if found != digest[item][name]:
                    raise DamagedCheckpoint(f"{where}: {item}{name} is not what was saved")
        return like._replace(**{name: read[name] for name in wanted})

    def _digest(self, step: int) -> dict[str, Any]:
        digest = self._read(step, digest=None)["digest"]
        content = {name: value for name, value in digest.items() if name != "sha256"}
        if _sha256(content) != digest.get("sha256"):
            raise DamagedCheckpoint(f"{self.directory / str(step)}: digest is not what was saved")
        return content

    def _read(self, step: int, **items: Any) -> Any:
        """Reads items of arrays, shaped like the given trees, and items of JSON, given as None."""
        from orbax.checkpoint import args

        kinds = {
            name: args.JsonRestore() if tree is None else args.StandardRestore(tree) for name, tree in items.items()
        }
        try:  # Orbax and its libraries raise every kind of exception on damaged files
            check_tree(self.directory / str(step), data="d")
            return self._manager.restore(step, args=args.Composite(**kinds))
        except Exception as error:
            raise DamagedCheckpoint(f"{self.directory / str(step)} cannot be read: {_reason(error)}") from error

    def close(self) -> None:
        """Ends with `wait`."""
        self.wait()
        if "_manager" in self.__dict__:
            self._manager.close()
            del self._manager
