"""Training from Python, and what the command `gtp-jax run` does once it has read its flags."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from gtp_jax import datasets, files
from gtp_jax.config import trials
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings, describe, is_cloning
from gtp_jax.datasets import Dataset
from gtp_jax.parallel import hosts
from gtp_jax.parallel.seeds import choose_devices
from gtp_jax.runs import directory as directories
from gtp_jax.runs import scores
from gtp_jax.runs.loggers import check_extras
from gtp_jax.runs.terminal import Terminal
from gtp_jax.serving.arguments import refuse_forked
from gtp_jax.serving.policy import LoadedPolicy, load_policy
from gtp_jax.training.loop import Progress, Training
from gtp_jax.training.playing import EvaluationFailed


class TrainResult(NamedTuple):
    """A finished training."""

    summary: dict[str, Any]  # the content of summary.json
    policy: LoadedPolicy  # of the last update

    def __repr__(self) -> str:
        return f"TrainResult({self.summary.get('score', self.summary.get('sweep'))}, {self.policy!r})"


class Outcome(NamedTuple):
    """How a run ended. `summary` is None, and `exit_code` not 0, where it ended early."""

    summary: dict[str, Any] | None
    exit_code: int
    policy: Callable[[], LoadedPolicy]


def train(
    settings: Settings | str,
    changes: Mapping[str, Any] | None = None,
    *,
    dataset: Dataset | str | None = None,
    directory: str | Path | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
) -> TrainResult:
    """Trains and evaluates a policy, as the command `gtp-jax run` does.

    Args:
      settings: of the run, or a preset's name such as "antmaze:umaze,gtp-bc" (`gtp_jax.config.presets.preset`).
      changes: settings that differ, by dotted name: `{"num_updates": 1000, "policy.num_steps": 2}`.
      dataset: an id or a loaded dataset in place of the settings' own. The transforms of a loaded one are kept.
      directory: where the run writes and resumes, as --workdir; without one nothing is written.
      progress: called after each chunk of updates with the number of updates done and the chunk's metrics, [S] each;
        "score" is among them where the policies were evaluated.
      quiet: whether nothing is printed.

    Raises:
      ValueError: for settings or data that do not go together, before any update.
      KeyboardInterrupt: where a signal ended the training; with a directory the same call resumes.
      EvaluationFailed: where environment or policy raised in an evaluation, before which the state is saved; its
        `policy` is the trained one.
      OSError: where the last state could not be saved.
    """
    refuse_forked()
    if not isinstance(settings, str | Settings):
        why = "must be a preset's name or gtp_jax.Settings; data go into dataset="
        raise ValueError(f"settings {why}; got {type(settings).__name__}")
    settings = (preset(settings) if isinstance(settings, str) else settings).replace(changes or {})
    if isinstance(dataset, str):
        settings, dataset = settings.replace({"dataset": dataset}), None
    if dataset is not None:
        if not isinstance(dataset, Dataset):
            why = "must be an id, or what gtp_jax.datasets.load or from_arrays returned"
            raise ValueError(f"dataset {why}; got {type(dataset).__name__}")
        transforms = {name: name for name in ("reward", "observation", "standardise")} | {"episodes": "episodes_used"}
        kept = {f"data.{name}": dataset.summary[key] for name, key in transforms.items() if key in dataset.summary}
        settings = settings.replace({"dataset": dataset.id} | kept)
    terminal = Terminal(Console(quiet=True)) if quiet else Terminal()
    outcome = run(settings, dataset, None if directory is None else files.user_path(directory), terminal, progress)
    if outcome.summary is not None:
        return TrainResult(outcome.summary, outcome.policy())
    if outcome.exit_code == directories.UNSAVED:
        why = f"the last state could not be saved in {directory}"
        raise OSError(f"{why}; once the disk takes it, train again to resume")
    raise KeyboardInterrupt("training was stopped" + ("" if directory is None else "; the same call resumes"))


def run(
    settings: Settings,
    dataset: Dataset | None,
    directory: Path | None,
    terminal: Terminal,
    progress: Progress | None = None,
) -> Outcome:
    """Runs complete settings: loads the data unless they are given, trains, evaluates and writes.

    Raises ValueError for settings that do not fit the data, the devices or what the directory holds.
    """
    check_extras(settings.log)
    if dataset is None:
        data = settings.data
        kinds = {"reward": data.reward, "observation": data.observation, "episodes": data.episodes}
        datasets.check_dataset(settings.dataset, batch_size=settings.batch_size, **kinds)
    first, nothing = hosts.first(), contextlib.nullcontext()
    with directories.claim(directory) if directory is not None and first else nothing as warning:
        if warning:
            terminal.say(f"warning: {warning}")
        if directory is not None:
            settings = directories.resume_settings(directory, settings)
            if summary := directories.finished(directory, settings):
                if dataset is not None:
                    own = {"fingerprint": dataset.fingerprint, "env": dataset.summary["environment"]}
                    own["score_of"] = dataset.env and scores.scale(dataset.env).name
                    directories.check_same(directory, summary, **own)
                terminal.say(f"{directory} holds the finished run, which is read back")
                return Outcome(summary, 0, lambda: load_policy(directory))
        every = trials.trials(settings)
        choose_devices(len(every[hosts.share(every)]), settings.devices)  # may raise, before the data are loaded
        training = Training(settings, directory, dataset or load_dataset(settings, terminal), terminal, progress)
        lost = hosts.lost(directory) if directory is not None and jax.process_count() > 1 else nothing
        try:
            if directory is not None and first:
                files.write_json(directory / "config.json", settings.to_json())
                terminal.log = directory / "run.log"
            terminal.facts("gtp_jax", _facts(training))
            with lost, jax.default_matmul_precision(settings.matmul_precision):
                summary, code = training.run()
        except EvaluationFailed as error:
            error.policy = training.policy()
            again = f". Once that is mended, the same command evaluates again: --workdir={directory}"
            terminal.say(f"error: {error}" + again * (directory is not None))
            raise
        except OSError as error:
            if directory is None:  # nothing of this run's failed to be written
                raise
            terminal.say(f"error: {error}. Once that is mended, the same command resumes: --workdir={directory}")
            return Outcome(None, directories.UNSAVED, training.policy)
        finally:
            training.close()
    return Outcome(summary, code, training.policy)


def load_dataset(settings: Settings, terminal: Terminal) -> Dataset:
    """Loads the dataset of the settings, with a progress bar where it is collected first."""
    started, bar = time.perf_counter(), None
    with contextlib.ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                terminal.say(f"collecting {settings.dataset}, once: {total:,} transitions")
                bar = stack.enter_context(terminal.progress("collecting", total, "transitions"))
            bar.update(done, done / (time.perf_counter() - started))

        env = settings.eval.num_episodes > 0
        return datasets.load(settings.dataset, **dataclasses.asdict(settings.data), env=env, progress=progress)


def _evaluation(training: Training) -> str:
    if training.evaluator is None:
        return "none, " + (
            "the data have no environment" if training.settings.eval.num_episodes else "eval.num_episodes = 0"
        )
    assert training.results.scale is not None
    when = "beside the updates, on the CPU" if training.beside else "between updates"
    return f"{training.dataset.summary['environment']}, {when}; score: {training.results.scale.name}"


def _facts(training: Training) -> dict[str, str]:
    """What is run, on what, for a person to read before it starts."""
    settings, dataset, combinations = training.settings, training.dataset, trials.combinations(training.trials)
    behaviour, devices = dataset.summary.get("behaviour_success"), training.engine.devices
    number, mean_return = (dataset.summary.get(name) for name in ("episodes", "mean_return"))
    reached = f", {100 * behaviour:.1f} % of the episodes reach the goal" if behaviour is not None else ""
    if behaviour is None and number is not None and mean_return is not None:
        reached = f", mean return {mean_return:.4g} of {number:,} episodes"
    used = f"{', '.join(map(str, devices))} ({devices[0].device_kind})"
    facts = {
        "method": describe(settings) + (" (no critic)" if is_cloning(settings) else ""),
        "data": f"{dataset.id}: {len(dataset.batch.reward):,} transitions{reached}",
        "seeds": ", ".join(map(str, dict.fromkeys(trial.seed for trial in training.trials))),
        "updates": f"{settings.num_updates:,} of batch {settings.batch_size}",
        "devices": f"{used}, matrix products in {settings.matmul_precision}",
        "evaluation": _evaluation(training),
        "directory": str(training.directory or "none: nothing is written"),
    }
    if len(combinations) > 1:
        facts["sweep"] = "; ".join(trials.name_values(values) for values, _ in combinations)
    return facts
