"""A run's results: summary.json, episodes.json and the pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.config import trials
from gtp_jax.config.settings import Settings, describe
from gtp_jax.datasets import Dataset
from gtp_jax.envs.evaluation import Episodes
from gtp_jax.runs import plots, provenance, scores
from gtp_jax.runs.metrics import columns


class Results:
    """The results of all trials of a run, in its directory."""

    def __init__(self, settings: Settings, directory: Path | None, dataset: Dataset):
        """Without a directory nothing can be written or drawn."""
        self.settings, self.directory, self.dataset = settings, directory, dataset
        self.trials = trials.trials(settings)
        self.labels = [trial.label() for trial in self.trials]
        self.title = f"{dataset.id}, {describe(settings)}"
        self.scale = scores.scale(dataset.env) if dataset.env else None

    def score(self, episodes: Episodes) -> np.ndarray:
        """Each episode's score [S, E]."""
        assert self.scale is not None
        return scores.of_episodes(self.scale, episodes.returns, episodes.success)

    def _success(self, episodes: Episodes) -> np.ndarray | None:
        return episodes.success if self.scale and self.scale.by_success else None

    def curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Draws curves.png from the rows of metrics.jsonl."""
        assert self.directory is not None
        groups = {trials.name_values(values): indices for values, indices in trials.combinations(self.trials)}
        plots.curves(
            columns(rows, self.labels),
            self.directory / "curves.png",
            groups=groups,
            title=self.title,
            score=self.scale and self.scale.name or "",
        )

    def summary(self, episodes: Episodes | None, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The content of summary.json: the scores, None without episodes, what was trained, and `facts` of the run."""
        settings, table = self.settings, {"score": None}
        if episodes is not None:
            success, combinations = self._success(episodes), trials.combinations(self.trials)
            table = scores.score_table(combinations, self.score(episodes), success)
        return files.plain(
            {
                "dataset": self.dataset.id,
                "fingerprint": self.dataset.fingerprint,
                "behaviour": self.dataset.summary,
                "env": self.dataset.summary["environment"],
                "algorithm": describe(settings),
                "seeds": [trial.seed for trial in self.trials[: settings.num_seeds]],
                "num_updates": settings.num_updates,
                "score_of": self.scale and self.scale.name,
                "eval_episodes": 0 if episodes is None else settings.eval.num_episodes,
                "num_steps": settings.policy.num_steps,
                "temperature": settings.policy.temperature,
                "matmul_precision": settings.matmul_precision,
                **table,
                **facts,
                "versions": provenance.versions(),
                "commit": provenance.commit(),
            }
        )

    def write(self, episodes: Episodes | None, summary: Mapping[str, Any], share: slice) -> None:
        """Writes maze.png, episodes.json, and summary.json last: its presence means that the run is finished.

        The `episodes` are the last ones of all trials; the paths of `share`, this process's trials, are drawn.
        """
        if self.directory is None:
            return
        if episodes is not None:
            self._maze(episodes, share, self.directory / "maze.png")
            outcomes = {"trials": self.labels, "score": self.score(episodes), "success": self._success(episodes)}
            files.write_json(self.directory / "episodes.json", outcomes)
        files.write_json(self.directory / "summary.json", summary)

    def _maze(self, episodes: Episodes, share: slice, path: Path) -> None:
        if self.dataset.maze is None:
            return
        success = episodes.success[share]
        trajectories = [list(zip(*pair, strict=True)) for pair in zip(episodes.positions, success, strict=True)]
        titles = [
            f"{', '.join(f'{name} {value:g}' for name, value in label.items())}: {100 * np.mean(reached):.0f} %"
            for label, reached in zip(self.labels[share], success, strict=True)
        ]
        plots.maze(self.dataset.maze, trajectories, path, titles=titles, title=self.title)
