"""What a run writes while it trains, and what happens where a write fails.

Two promises: a checkpoint exists only if every row up to it does, so that a run which resumes from it lacks none; and
if a write fails, the run logs the error, keeps training and retries with the next rows and the next checkpoint.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from gtp_jax.parallel import hosts
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, RunInfo, Saved
from gtp_jax.runs.directory import differences
from gtp_jax.runs.loggers import MetricsLog


class Saving:
    """The metrics and the checkpoints of one run."""

    def __init__(self, directory: Path, metrics: MetricsLog | None, say: Callable[[str], None]):
        """Touches nothing yet.

        Args:
          directory: of the run.
          metrics: where rows go; None in a process that is not the run's first.
          say: prints a line.
        """
        self._directory, self._metrics, self._say = directory, metrics, say
        self._checkpoints = Checkpoints(directory / "checkpoints")
        self._trouble = ""  # as it was last logged

    def restore(self, like: Saved, info: RunInfo) -> tuple[int, RunInfo, Saved] | None:
        """The newest sound checkpoint: its step, its info and its arrays; None if there is none.

        Rows past it are dropped, and damaged steps are set aside.

        Args:
          like: pytrees of arrays with the expected shapes and types.
          info: of this run.

        Raises:
          ValueError: where the checkpoint is of other data or settings; every difference is named.
        """

        def read(step: int) -> tuple[RunInfo, Saved]:
            there = self._checkpoints.info(step)
            different = differences(*(each.settings.flat() | {"dataset": _data(each)} for each in (there, info)))
            if different:
                raise ValueError(
                    f"{self._directory} holds checkpoints of another run; choose another directory (--workdir). "
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
        changed = differences(there.versions, info.versions)
        if changed:
            self._say("other versions than the checkpoint's, so that last bits may differ: " + "; ".join(changed))
        return step, there, saved

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the rows of one step, of metrics [S]; rows that cannot be written wait for the next ones."""
        if self._metrics is not None:
            with self._enduring(self._metrics.path):
                self._metrics.write(step, values)

    def publish(self, draw: Callable[[list[dict]], object]) -> None:
        """Brings the copies of the rows up to date, and passes the rows to `draw`."""
        if self._metrics is not None:
            with self._enduring(self._directory):
                draw(self._metrics.publish())

    def save(self, step: int, saved: Saved, info: RunInfo) -> None:
        """Saves in the background. A failure is logged, and the next save is another attempt."""
        if hosts.agree(self._metrics is not None and bool(self._metrics.waiting)):
            return
        for attempt in (self._checkpoints.wait, lambda: self._checkpoints.save(step, saved, info)):
            try:
                attempt()
            except FailedSave as error:
                self._complain(str(error))

    def holds(self, step: int) -> bool:
        """Waits for the last save and returns whether it is that of `step`; logs an error if it is not."""
        try:
            self._checkpoints.wait()
        except FailedSave as error:
            self._complain(str(error))
        last = max(self._checkpoints.steps(), default=0)
        if last != step:
            self._say(
                f"error: the state after {step:,} updates is not saved. Once the disk takes it, the same command "
                f"resumes after {last:,}: --workdir={self._directory}"
            )
        return last == step

    def close(self) -> None:
        """Waits for the last save, whatever ended the run, and closes the metrics."""
        with self._enduring(self._directory):
            self._checkpoints.close()
        if self._metrics is not None:
            with self._enduring(self._directory):
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


class NoSaving:
    """In place of `Saving` where a run has no directory: nothing is written."""

    def restore(self, like: Saved, info: RunInfo) -> None:
        """None: there is no checkpoint."""

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Drops the rows."""

    def publish(self, draw: Callable[[list[dict]], object]) -> None:
        """Draws nothing."""

    def save(self, step: int, saved: Saved, info: RunInfo) -> None:
        """Saves nothing."""

    def holds(self, step: int) -> bool:
        """True: nothing was to be saved."""
        return True

    def close(self) -> None:
        """Has nothing to close."""


def _data(info: RunInfo) -> str:
    return f"{info.settings.dataset} of content {info.fingerprint}"
