"""Writes a run's metrics to metrics.jsonl, CSV, TensorBoard and Weights & Biases, each step once, also after a crash.

A resumed run truncates metrics.jsonl and writes the others anew from its rows; the server of Weights & Biases gets
those that it does not hold yet.
"""

import csv
import importlib.util
import io
import itertools
import json
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.config.groups import LogSettings
from gtp_jax.config.settings import Settings
from gtp_jax.runs.metrics import append_rows, read_rows, to_rows, truncate_after

Steps = Mapping[int, Mapping[str, Mapping[str, float]]]  # {step: {"seed=3,eta=0.3": {metric: value}}}


def check_extras(log: LogSettings) -> None:
    """Raises ValueError, naming setting and cure, where a package is missing that the settings need."""
    for name, package in {"tensorboard": "tensorboardX", "wandb": "wandb"}.items():
        if getattr(log, name) and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"log.{name} = {getattr(log, name)!r} needs the package {package}, which is not installed: "
                f'pip install {package}, or install gtp_jax with its extra "{name}"'
            )


class MetricsLog:
    """The metrics of a run's S trials in its directory."""

    def __init__(self, directory: Path, labels: Sequence[Mapping[str, Any]], settings: Settings):
        """Opens the loggers of `settings.log`, without writing a row. Raises ValueError where `WandB` does."""
        self.path, self._labels = directory / "metrics.jsonl", tuple(labels)
        self.waiting: list[dict[str, Any]] = []  # rows that could not be written yet
        self._mirrors: list[TensorBoard | WandB] = []
        if settings.log.tensorboard:
            self._mirrors.append(TensorBoard(directory / "tensorboard"))
        if settings.log.wandb:
            self._mirrors.append(WandB(directory, settings.log.wandb, settings.to_json()))

    def start(self, step: int, awaited: bool = False) -> bool:
        """Drops the rows after `step`, that of a restored checkpoint, and writes the others everywhere.

        With `awaited`, rows of `step` itself may lack: returns whether they do. Then those of only some trials go, too.
        """
        lack = awaited and sum(row["step"] == step for row in read_rows(self.path)) < len(self._labels)
        truncate_after(self.path, step - lack)
        self._mirror(self.publish())
        return lack

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the rows of one step, of metrics [S], and those that wait; where that raises OSError, all wait."""
        self.waiting += to_rows(step, self._labels, values)
        append_rows(self.path, self.waiting)
        rows, self.waiting = self.waiting, []
        self._mirror(rows)

    def publish(self) -> list[dict[str, Any]]:
        """Writes the rows of metrics.jsonl to metrics.csv, a cell empty for no finite number, and returns them."""
        rows = read_rows(self.path)
        if rows:
            text = io.StringIO()
            table = csv.DictWriter(text, list(dict.fromkeys(itertools.chain(*rows))), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            with files.replacing(self.path.with_suffix(".csv")) as file:
                file.write(text.getvalue().encode())
        return rows

    def _mirror(self, rows: Iterable[Mapping[str, Any]]) -> None:
        steps: dict[int, dict[str, dict[str, float]]] = {}
        names = tuple(self._labels[0])
        for row in rows:
            trial = ",".join(f"{name}={row[name]:g}" for name in names)
            values = {k: float("nan") if v is None else v for k, v in row.items() if k not in ("step", *names)}
            steps.setdefault(row["step"], {})[trial] = values
        for mirror in self._mirrors:
            mirror.write(steps)

    def close(self) -> None:
        """Brings metrics.csv up to date, and waits until every row is sent."""
        self.publish()
        for mirror in self._mirrors:
            mirror.close()


class TensorBoard:
    """Event files, a folder for each trial, so that TensorBoard draws their curves over one another."""

    def __init__(self, directory: Path):
        if directory.exists():  # from an earlier start, whose rows are written again
            shutil.rmtree(directory)
        self._directory, self._writers = directory, {}

    def write(self, steps: Steps) -> None:
        """Writes the metrics of all `steps`."""
        from tensorboardX import SummaryWriter

        for step, trials in steps.items():
            for name, values in trials.items():
                if name not in self._writers:
                    self._writers[name] = SummaryWriter(str(self._directory / name), flush_secs=10)
                for metric, value in values.items():
                    self._writers[name].add_scalar(metric, value, step)

    def close(self) -> None:
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()


class WandB:
    """One run of Weights & Biases, its metrics named `policy/loss/seed=0`; wandb.json remembers which one it is."""

    def __init__(self, directory: Path, project: str, config: Mapping[str, Any]):
        """Starts or continues the run. Raises ValueError where that fails, as without a login."""
        import wandb

        path = directory / "wandb.json"
        identity = json.loads(path.read_text())["id"] if path.exists() else secrets.token_hex(4)
        for offline in directory.glob(f"wandb/offline-run-*-{identity}*"):  # whose rows are sent again
            shutil.rmtree(offline)
        try:
            quiet, names = wandb.Settings(console="off"), {"project": project, "name": directory.name, "id": identity}
            self._run = wandb.init(**names, resume="allow", dir=directory, config=dict(config), settings=quiet)
        except wandb.Error as error:
            raise ValueError(
                f"log.wandb = {project!r}: {error} To keep the metrics here and send them later, set WANDB_MODE=offline"
            ) from error
        files.write_json(path, {"id": identity})
        self._next = self._run.step  # the first one that the server does not hold

    def write(self, steps: Steps) -> None:
        """Sends the metrics of the steps that the server does not hold."""
        for step, trials in steps.items():
            if step >= self._next:
                values = {f"{metric}/{name}": v for name, row in trials.items() for metric, v in row.items()}
                self._run.log(values, step=step, commit=True)

    def close(self) -> None:
        """Waits until everything is sent."""
        self._run.finish()
