"""Writes a run's metrics and checkpoints while it trains.

A checkpoint exists only if every row up to it does, so that a run which resumes from it lacks none. If a write fails,
the run logs the error, keeps training and retries with the next rows and the next checkpoint.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.parallel import hosts
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, RunInfo, Saved
from gtp_jax.runs.directory import differences
from gtp_jax.runs.loggers import MetricsLog


class Saving:
    """The metrics and the checkpoints of one run."""

    def __init__(self, directory: Path | None, metrics: MetricsLog | None, say: Callable[[str], None]):
        """Without a `directory` nothing is written. Only the run's first process has `metrics`; `say` prints a line."""
        self._directory, self._metrics, self._say = directory, metrics, say
        self._checkpoints = None if directory is None else Checkpoints(directory / "checkpoints")
        self._trouble = ""  # as it was last logged

    def restore(self, like: Saved, info: RunInfo) -> tuple[int, RunInfo, Saved] | None:
        """The newest sound checkpoint: its step, its info and its arrays, shaped `like` these; None if there is none.

        Rows after it are dropped, and damaged steps are set aside. Raises ValueError, naming every difference, where
        the checkpoint is of other data or settings than `info`.
        """
        checkpoints = self._checkpoints
        if checkpoints is None:
            return None

        def content(info: RunInfo) -> dict[str, Any]:
            return info.settings.flat() | {"dataset": f"{info.settings.dataset} of content {info.fingerprint}"}

        def read(step: int) -> tuple[RunInfo, Saved]:
            there = checkpoints.info(step)
            if different := differences(content(there), content(info)):
                another = f"{self._directory} holds checkpoints of another run; choose another directory (--workdir)"
                raise ValueError(f"{another}. {'; '.join(different)}")
            return there, checkpoints.restore(step, like)

        def set_aside(step: int, error: DamagedCheckpoint) -> None:
            self._say(f"passing over a damaged checkpoint: {error}")
            if hosts.first():
                self._say(f"it is kept as {checkpoints.set_aside(step)}")

        some = bool(checkpoints.steps())
        found = checkpoints.newest(read, set_aside)
        if self._metrics is not None:
            self._metrics.start(found[0] if found else 0)
        if found is None:
            if some:
                self._say("no sound checkpoint is left: training starts again")
            return None
        step, (there, saved) = found
        if changed := differences(there.versions, info.versions):
            self._say("other versions than the checkpoint's, so that last bits may differ: " + "; ".join(changed))
        return step, there, saved

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the rows of one step, of metrics [S]; rows that cannot be written wait for the next ones."""
        if self._metrics is not None:
            with self._enduring():
                self._metrics.write(step, values)

    def publish(self, draw: Callable[[list[dict]], object]) -> None:
        """Brings metrics.csv up to date, and passes the rows to `draw`."""
        if self._metrics is not None:
            with self._enduring():
                draw(self._metrics.publish())

    def save(self, step: int, saved: Saved, info: RunInfo) -> None:
        """Saves in the background. A failure is logged, and the next save retries."""
        checkpoints = self._checkpoints
        if checkpoints is None or hosts.agree(self._metrics is not None and bool(self._metrics.waiting)):
            return  # rows up to this step are missing
        for attempt in (checkpoints.wait, lambda: checkpoints.save(step, saved, info)):
            with self._enduring():
                attempt()

    def holds(self, step: int) -> bool:
        """Waits for the last save and returns whether it is that of `step`; logs an error if it is not."""
        if self._checkpoints is None:
            return True
        with self._enduring():
            self._checkpoints.wait()
        last = max(self._checkpoints.steps(), default=0)
        if last != step:
            self._say(
                f"error: the state after {step:,} updates is not saved. Once the disk takes it, the same command "
                f"resumes after {last:,}: --workdir={self._directory}"
            )
        return last == step

    def close(self) -> None:
        """Waits for the last save, whatever ended the run, and closes the metrics."""
        for each in filter(None, (self._checkpoints, self._metrics)):
            with self._enduring():
                each.close()

    @contextlib.contextmanager
    def _enduring(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            trouble = str(error) if isinstance(error, FailedSave) else f"{self._directory} cannot be written: {error}"
            if trouble != self._trouble:  # not again and again
                self._say(f"error: {trouble}")
            self._trouble = trouble
