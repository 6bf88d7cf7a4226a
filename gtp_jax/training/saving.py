"""Writes a run's metrics and checkpoints while it trains.

A checkpoint is saved only after every row before its step, and, where the step is evaluated, before the evaluation: it
holds what the rows of its own step need beside the scores, so that a run which resumes from it lacks none. If a write
fails, the run logs the error, keeps training and retries with the next rows and the next checkpoint.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax.parallel import hosts
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, FailedSave, RunInfo, Saved
from gtp_jax.runs.directory import differences
from gtp_jax.runs.loggers import MetricsLog
from gtp_jax.runs.metrics import mean_scores


class Saving:
    """The metrics and the checkpoints of one run."""

    def __init__(self, directory: Path | None, metrics: MetricsLog | None, say: Callable[[str], None]):
        """Without a `directory` nothing is written. Only the run's first process has `metrics`; `say` prints a line."""
        self._directory, self._metrics, self._say = directory, metrics, say
        self._checkpoints = None if directory is None else Checkpoints(directory / "checkpoints")
        self._trouble: set[str] = set()  # what fails, so that it is not said again and again

    def restore(self, like: Saved, info: RunInfo) -> tuple[int, RunInfo, Saved] | None:
        """The newest sound checkpoint: its step, its info and its arrays, shaped `like` these; None if there is none.

        Its info has `unwritten` where the rows of its own step lack. Rows after it are dropped, and damaged steps are
        set aside. Raises ValueError, naming every difference, where the checkpoint is of other data or settings.
        """
        checkpoints = self._checkpoints
        if checkpoints is None:
            return None

        def content(info: RunInfo) -> dict[str, Any]:
            data = f"{info.settings.dataset} of content {info.fingerprint}"
            bounds = {"action_low": info.action_low, "action_high": info.action_high}
            return info.settings.flat() | {"dataset": data, "environment": info.environment} | bounds

        def read(step: int) -> tuple[RunInfo, Saved]:
            there = checkpoints.info(step)
            now = info if there.environment and info.environment else info._replace(environment=there.environment)
            if different := differences(content(there), content(now)):
                another = f"{self._directory} holds checkpoints of another run; choose another directory (--workdir)"
                raise ValueError(f"{another}. {'; '.join(different)}")
            return there, checkpoints.restore(step, like)

        def set_aside(step: int, error: DamagedCheckpoint) -> None:
            self._say(f"passing over a damaged checkpoint: {error}")
            if hosts.first():
                self._say(f"it is kept as {checkpoints.set_aside(step)}")

        some = bool(checkpoints.steps())
        found = checkpoints.newest(read, set_aside)
        step, (there, saved) = found or (0, (info, like))
        lack = self._metrics is not None and self._metrics.start(step, there.unwritten is not None)
        checkpoints.scores |= mean_scores(checkpoints.directory.with_name("metrics.jsonl"))
        if found is None:
            if some:
                self._say("no sound checkpoint is left: training starts again")
            return None
        if changed := differences(there.versions, info.versions):
            self._say("other versions than the checkpoint's, so that last bits may differ: " + "; ".join(changed))
        return step, there if hosts.agree(lack) else there._replace(unwritten=None), saved

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the rows of one step, of metrics [S]; rows that cannot be written wait for the next ones."""
        if self._checkpoints is not None and "score" in values:
            self._checkpoints.scores[step] = float(values["score"].mean())
        if (metrics := self._metrics) is not None:
            self._try("rows", lambda: metrics.write(step, values))

    def publish(self, draw: Callable[[list[dict]], object]) -> None:
        """Brings metrics.csv up to date, and passes the rows to `draw`."""
        if (metrics := self._metrics) is not None:
            self._try("tables", lambda: draw(metrics.publish()))

    def save(self, step: int, saved: Saved, info: RunInfo) -> None:
        """Saves in the background, unless the step is saved. A failure is logged, and the next save retries."""
        checkpoints = self._checkpoints
        if checkpoints is None or self._rows_wait():
            return
        self.wait()

        def begin() -> bool:
            if step not in checkpoints.steps():
                checkpoints.save(step, saved, info)
            return False  # since only the end of the save tells

        self._try("checkpoints", begin)

    def _rows_wait(self) -> bool:
        """Whether rows could not be written yet, on any process."""
        return bool(hosts.agree(self._metrics is not None and bool(self._metrics.waiting)))

    def wait(self) -> None:
        """Waits for the last save."""
        if self._checkpoints is not None:
            self._try("checkpoints", self._checkpoints.wait)

    def holds(self, step: int) -> bool:
        """Waits for the last save and returns whether all up to `step` is written; logs an error if it is not."""
        if self._checkpoints is None:
            return True
        self.wait()
        last, rows_wait = max(self._checkpoints.steps(), default=0), self._rows_wait()
        if last != step or rows_wait:
            self._say(
                f"error: {'a row' if last == step else 'the state'} after {step:,} updates is not saved. Once the disk "
                f"takes it, the same command resumes after {last:,}: --workdir={self._directory}"
            )
        return last == step and not rows_wait

    def close(self) -> None:
        """Waits for the last save, whatever ended the run, and closes the metrics."""
        for each in filter(None, (self._checkpoints, self._metrics)):
            self._try("end", each.close)

    def _try(self, what: str, action: Callable[[], object]) -> None:
        """Calls `action`, which returns False where it did nothing; an OSError is said, until the like succeeds."""
        try:
            if action() is not False:
                self._trouble.discard(what)
        except OSError as error:
            if what not in self._trouble:
                failed = isinstance(error, FailedSave)
                self._say(f"error: {error}" if failed else f"error: {self._directory} cannot be written: {error}")
            self._trouble.add(what)
