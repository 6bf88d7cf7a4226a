"""What of a run lies on the disk while it trains, and what happens where the disk refuses.

Two promises: a checkpoint is there only if every row up to it is, so that a run which goes on from it lacks none; and a
disk that refuses ends no training, but is said, and tried again with the next rows and the next checkpoint.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.parallel import hosts
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, Saved
from gtp_jax.runs.directory import differences
from gtp_jax.runs.loggers import Metrics


class Storage:
    """The metrics and the checkpoints of one run."""

    def __init__(self, workdir: Path, metrics: Metrics | None, say: Callable[[str], None]):
        """Touches nothing yet.

        Args:
          workdir: the run's directory.
          metrics: where rows go; None in a process that is not the run's first.
          say: prints a line.
        """
        self._workdir, self._metrics, self._say = workdir, metrics, say
        self._checkpoints = Checkpoints(workdir / "checkpoints")
        self._trouble = ""  # as it was last said

    def restore(self, like: Saved, about: Mapping[str, Any]) -> tuple[int, dict[str, Any], Saved] | None:
        """The newest sound checkpoint: its step, what it says of itself, its arrays; None if there is none.

        Rows past it are dropped, and damaged steps are set aside.

        Args:
          like: pytrees of arrays with the expected shapes and types.
          about: what a checkpoint of this run would say of itself.

        Raises:
          ValueError: where the checkpoint is of other data or settings; every difference is named.
        """

        def read(step: int) -> tuple[dict[str, Any], Saved]:
            there = self._checkpoints.about(step)
            different = differences(*({**each["settings"], "dataset": _data(each)} for each in (there, about)))
            if different:
                raise ValueError(
                    f"{self._workdir} holds checkpoints of another run; choose another --workdir. "
                    + "; ".join(different)
                )
            return there, self._checkpoints.restore(step, like)

        def set_aside(step: int, error: DamagedCheckpoint) -> None:
            self._say(f"passing over a damaged checkpoint: {error}")
            if hosts.first():
                self._say(f"it is kept as {self._checkpoints.set_aside(step)}")

        some = bool(self._checkpoints.steps())
        found = self._checkpoints.newest(read, set_aside)
        if some and found is None:
            self._say("no sound checkpoint is left: training starts again")
        if self._metrics is not None:
            self._metrics.start(found[0] if found else 0)
        if found is None:
            return None
        step, (there, saved) = found
        changed = differences(there["versions"], about["versions"])
        if changed:
            self._say("other versions than the checkpoint's, so that last bits may differ: " + "; ".join(changed))
        return step, there, saved

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the rows of one step, of metrics [S]; while the disk refuses, they wait for the next ones."""
        if self._metrics is not None:
            with self._enduring(self._metrics.path):
                self._metrics.write(step, values)

    def publish(self, draw: Callable[[list[dict]], object]) -> None:
        """Brings what repeats the rows up to date, and lets `draw` have them."""
        if self._metrics is not None:
            with self._enduring(self._workdir):
                draw(self._metrics.publish())

    def save(self, step: int, saved: Saved, about: dict[str, Any]) -> None:
        """Saves in the background. A failure is said, and the next save is another attempt."""
        if hosts.agree(self._metrics is not None and bool(self._metrics.waiting)):
            return
        for attempt in (self._checkpoints.wait, lambda: self._checkpoints.save(step, saved, about)):
            try:
                attempt()
            except FailedSave as error:
                self._complain(str(error))

    def holds(self, step: int) -> bool:
        """Waits for the last save; whether it is that of `step`. Says so if it is not."""
        try:
            self._checkpoints.wait()
        except FailedSave as error:
            self._complain(str(error))
        last = max(self._checkpoints.steps(), default=0)
        if last != step:
            self._say(
                f"error: the state after {step:,} updates is not saved. Once the disk takes it, the same command goes "
                f"on after {last:,}: --workdir={self._workdir}"
            )
        return last == step

    def close(self) -> None:
        """Waits for the last save, whatever ended the run, and ends the metrics."""
        with self._enduring(self._workdir):
            self._checkpoints.close()
        if self._metrics is not None:
            with self._enduring(self._workdir):
                self._metrics.close()

    @contextlib.contextmanager
    def _enduring(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._complain(f"{path} cannot be written: {error}")

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:  # not again and again
            self._say(f"error: {trouble}")
        self._trouble = trouble


def _data(about: Mapping[str, Any]) -> str:
    return f"{about['settings']['dataset']} of content {about['fingerprint']}"
