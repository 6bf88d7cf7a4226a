"""What a run makes of its metrics and evaluations for people and programs: pictures, episodes.json and summary.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_jax import files
from gtp_jax.config import trials
from gtp_jax.config.settings import describe
from gtp_jax.datasets import Dataset
from gtp_jax.envs.evaluation import Episodes
from gtp_jax.runs import plots, provenance, scores
from gtp_jax.runs.metrics import columns


class Results:
    """The results of all lanes of a run, in its directory."""

    def __init__(self, settings: Mapping[str, Any], workdir: Path, dataset: Dataset):
        self.settings, self.workdir, self.dataset = settings, workdir, dataset
        self.lanes = trials.lanes(settings)
        self.labels = [lane.label() for lane in self.lanes]
        self.title = f"{dataset.id}, {describe(settings)}"

    def score(self, episodes: Episodes) -> np.ndarray:
        """Each episode's score [S, E]."""
        return scores.of_episodes(self.dataset.id, episodes.returns, episodes.success if self.dataset.maze else None)

    def curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Draws curves.png from the rows of metrics.jsonl."""
        groups = {trials.describe(values): places for values, places in trials.combinations(self.lanes)}
        metrics = columns(rows, self.labels)
        plots.curves(metrics, self.workdir / "curves.png", groups=groups, title=self.title)

    def maze(self, episodes: Episodes, share: slice) -> None:
        """Draws maze.png, where there is a maze: the ways of this process's `share` of the lanes."""
        maze = self.dataset.maze
        if maze:
            success = episodes.success[share]
            plots.maze(
                maze.maze_map,
                [list(zip(*pair, strict=True)) for pair in zip(episodes.positions, success, strict=True)],
                self.workdir / "maze.png",
                cell_size=maze.cell_size,
                start=maze.start_xy,
                goal=maze.goal_xy,
                success_radius=maze.success_radius,
                goal_noise=maze.position_noise,
                titles=[
                    f"{', '.join(f'{k} {v:g}' for k, v in label.items())}: {100 * np.mean(ok):.0f} %"
                    for label, ok in zip(self.labels[share], success, strict=True)
                ],
                title=self.title,
            )

    def summary(self, episodes: Episodes, about: Mapping[str, Any]) -> dict[str, Any]:
        """What summary.json holds: the scores, what they are scores of, and `about` of the run that made them."""
        settings, success = self.settings, episodes.success if self.dataset.maze else None
        return files.plain(
            {
                "dataset": self.dataset.id,
                "fingerprint": self.dataset.fingerprint,
                "behaviour": self.dataset.summary,
                "env": self.dataset.summary["environment"],
                "algorithm": describe(settings),
                "seeds": [lane.seed for lane in self.lanes[: settings["num_seeds"]]],
                "num_updates": settings["num_updates"],
                "eval_episodes": settings["eval"]["num_episodes"],
                "num_steps": settings["policy"]["num_steps"],
                "temperature": settings["policy"]["temperature"],
                "matmul_precision": settings["matmul_precision"],
                **scores.table(trials.combinations(self.lanes), self.score(episodes), success),
                **about,
                "versions": provenance.versions(),
                "commit": provenance.commit(),
            }
        )

    def write(self, episodes: Episodes, summary: Mapping[str, Any]) -> None:
        """Writes episodes.json, and summary.json last, so that its presence means that the run is finished."""
        success = episodes.success if self.dataset.maze else None
        of_episodes = {"lanes": self.labels, "score": self.score(episodes), "success": success}
        files.write_json(self.workdir / "episodes.json", of_episodes)
        files.write_json(self.workdir / "summary.json", summary)
