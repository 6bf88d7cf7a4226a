"""A run's metrics as they are written: metrics.jsonl, and for other readers CSV, TensorBoard and Weights & Biases.

metrics.jsonl is the record, and what a resumed run truncates. The others repeat its rows: metrics.csv and TensorBoard's
files are written anew at every start, and so is what Weights & Biases keeps offline; to its server go the rows that it
does not hold yet. So no step stands twice in any of them, and none is missing after a crash.
"""

import importlib.util
import json
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows, truncate_after, write_csv

FLUSH_SECONDS = 10  # that a reader of event files waits at most

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}  # by the setting, and extra, that needs them


def check(settings: Mapping[str, Any]) -> None:
    """Raises ValueError, naming setting and cure, where `settings` (the part "log") need a package that is missing."""
    for name, package in _PACKAGES.items():
        if settings[name] and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"log.{name} = {settings[name]!r} needs the package {package}, which is not installed: "
                f'pip install {package}, or install gtp_jax with its extra "{name}"'
            )


def _name(label: Mapping[str, Any]) -> str:
    """`seed=3,eta=0.3`."""
    return ",".join(f"{key}={value:g}" for key, value in label.items())


def _metrics(row: Mapping[str, Any], label: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float("nan") if value is None else value
        for name, value in row.items()
        if name != "step" and name not in label
    }


class Metrics:
    """The metrics of a run's trainings in its directory."""

    def __init__(
        self, workdir: Path, labels: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], about: Mapping[str, Any]
    ):
        """Opens what the settings ask for, without writing a row.

        Args:
          workdir: the run's directory.
          labels: what names each of the S trainings, `{"seed": 3, "eta": 0.3}`.
          settings: the part "log" of a run's settings.
          about: the run's settings, for Weights & Biases to show.

        Raises:
          ValueError: where Weights & Biases refuses.
        """
        self.path, self._csv, self._labels = workdir / "metrics.jsonl", workdir / "metrics.csv", tuple(labels)
        self.waiting: list[dict] = []  # rows that the disk did not take yet
        self._mirrors: list[TensorBoard | WandB] = []
        if settings["tensorboard"]:
            self._mirrors.append(TensorBoard(workdir / "tensorboard"))
        if settings["wandb"]:
            self._mirrors.append(WandB(workdir, settings["wandb"], about))

    def start(self, step: int) -> None:
        """Goes on after `step` of a restored checkpoint: rows past it are dropped, the others stand everywhere."""
        truncate_after(self.path, step)
        self._mirror(self.publish())

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the rows of one step, of metrics [S], and those that wait.

        Raises:
          OSError: where the disk refuses; rows that metrics.jsonl does not hold then wait for the next ones.
        """
        self.waiting += to_rows(step, self._labels, values)
        append_rows(self.path, self.waiting)
        rows, self.waiting = self.waiting, []
        self._mirror(rows)

    def publish(self) -> list[dict]:
        """Brings metrics.csv up to the rows of metrics.jsonl, and returns them."""
        rows = read_rows(self.path)
        if rows:
            write_csv(self._csv, rows)
        return rows

    def _mirror(self, rows: Iterable[Mapping[str, Any]]) -> None:
        steps: dict[int, dict[str, dict[str, float]]] = {}
        labels = {tuple(label.values()): label for label in self._labels}
        for row in rows:
            label = labels[tuple(row[name] for name in self._labels[0])]
            steps.setdefault(row["step"], {})[_name(label)] = _metrics(row, label)
        for mirror in self._mirrors:
            mirror.write(steps)

    def close(self) -> None:
        """Brings metrics.csv up to date, and waits for what is under way elsewhere."""
        self.publish()
        for mirror in self._mirrors:
            mirror.close()


class TensorBoard:
    """Event files, a folder for each training, so that TensorBoard draws their curves over one another."""

    def __init__(self, directory: Path):
        """Removes the files of an earlier start, whose rows are written again."""
        from tensorboardX import SummaryWriter

        if directory.exists():
            shutil.rmtree(directory)
        self._make, self._directory = SummaryWriter, directory
        self._writers: dict[str, Any] = {}

    def write(self, steps: Mapping[int, Mapping[str, Mapping[str, float]]]) -> None:
        """Writes {step: {training: {metric: value}}}."""
        for step, trainings in steps.items():
            for name, values in trainings.items():
                if name not in self._writers:
                    self._writers[name] = self._make(str(self._directory / name), flush_secs=FLUSH_SECONDS)
                for metric, value in values.items():
                    self._writers[name].add_scalar(metric, value, step)

    def close(self) -> None:
        """Writes what is under way and closes the files."""
        for writer in self._writers.values():
            writer.close()


class WandB:
    """One run of Weights & Biases, its metrics named `policy/loss/seed=0`; wandb.json remembers which one it is."""

    def __init__(self, workdir: Path, project: str, about: Mapping[str, Any]):
        """Starts the run or goes on with it. Raises ValueError where Weights & Biases refuses, say without a login."""
        import wandb

        path = workdir / "wandb.json"
        identity = json.loads(path.read_text())["id"] if path.exists() else secrets.token_hex(4)
        for offline in workdir.glob(f"wandb/offline-run-*-{identity}*"):  # whose rows are sent again
            shutil.rmtree(offline)
        try:
            self._run = wandb.init(
                project=project,
                name=workdir.name,
                id=identity,
                resume="allow",
                dir=workdir,
                config=dict(about),
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            raise ValueError(
                f"log.wandb = {project!r}: {error} To keep the metrics here and send them later, set WANDB_MODE=offline"
            ) from error
        files.write_json(path, {"id": identity})
        self._next = self._run.step  # the first one that the server does not hold

    def write(self, steps: Mapping[int, Mapping[str, Mapping[str, float]]]) -> None:
        """Sends {step: {training: {metric: value}}}, but for the steps that the server holds."""
        for step, trainings in steps.items():
            if step >= self._next:
                values = {f"{metric}/{name}": v for name, row in trainings.items() for metric, v in row.items()}
                self._run.log(values, step=step, commit=True)

    def close(self) -> None:
        """Waits until everything is sent."""
        self._run.finish()
