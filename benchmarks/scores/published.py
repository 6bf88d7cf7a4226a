"""Scores that others published, beside ours on the same task; published.json tells where its numbers come from.

A result of ours takes part by its name in READERS, or as a cell of guidance_table. A published task has the name of
OGBench's or D4RL's data without the version, and joins whatever data are for that task: the original files, and those
made here of any size and seed.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import shared
from benchmarks.scores import d4rl_data, ogbench_tour
from benchmarks.scores.cells import interval
from gtp_jax.config.presets import preset
from gtp_jax.config.tasks import VARIANT

FOUND = shared.read(Path(__file__).with_suffix(".json"))
METHODS, TASKS = FOUND["methods"], FOUND["tasks"]
PAPERS = ", ".join(dict.fromkeys(about["paper"] for about in METHODS.values()))
HEADER = ["task", "method", "score", "network", "updates", "data", "source"]
DEFAULT_TASKS = {"antmaze": 1, "cube": 2, "scene": 2, "puzzle": 4}  # that OGBench's "singletask" alone means

Cells = list[dict[str, Any]]


def task_of(dataset: str) -> str:
    """The task that an id's data are for: `cube-single-play-singletask-task2`, `antmaze-umaze`; else the id's stem."""
    name = VARIANT.sub("", dataset)
    for prefix, kept in {"gtp/ogbench/": "", "ogbench/": "", "gtp/d4rl-antmaze/": "antmaze-", "d4rl/": ""}.items():
        if name.startswith(prefix):
            return kept + name.removeprefix(prefix)
    return name


def _tour(found: dict[str, Any]) -> Cells:
    facts = found | {"network": ogbench_tour.SIZES["policy.hidden"]}
    return [each for method, row in found["rows"].items() for each in _by_steps(facts | row | {"method": method})]


def _by_steps(found: dict[str, Any]) -> Cells:
    return [found | {"num_steps": num_steps, "score": score} for num_steps, score in found["scores"].items()]


def _clone(found: dict[str, Any]) -> Cells:
    return [found | found["clone"] | {"method": "gtp-bc", "network": preset(d4rl_data.CLONE).policy.hidden}]


# What gives cells of dataset, method, num_steps, score (as scores.summarise returns it), network, num_updates, commit.
READERS: dict[str, Callable[[dict[str, Any]], Cells]] = {
    "ogbench_tour": _tour,
    "d4rl_data": _clone,
}


def ours(folder: Path) -> Cells:
    """The cells of the results that are there; `file` is where each stands."""
    there = {path: read for name, read in READERS.items() if (path := folder / f"{name}.json").exists()}
    there |= dict.fromkeys(sorted(folder.glob("guidance_table/*.json")), _by_steps)
    return [each | {"file": path.name} for path, read in there.items() for each in read(shared.read(path))]


def beside(folder: Path = shared.RESULTS / "scores") -> list[list[str]]:
    """Rows of HEADER, task by task: ours, then the published ones; a line break parts a value from its remark."""
    tasks: dict[str, list[list[str]]] = {}
    for each in ours(folder):
        task = task_of(each["dataset"])
        tasks.setdefault(task, []).append(_own(task, each))
    nothing = ["nothing published in the source used here", *[""] * (len(HEADER) - 2)]
    return [
        row
        for task, own in tasks.items()
        for row in own + ([_published(task, method) for method in TASKS.get(task, ())] or [[task, *nothing]])
    ]


def _own(task: str, cell: dict[str, Any]) -> list[str]:
    depth, widths = len(cell["network"]), " or ".join(map(str, dict.fromkeys(cell["network"])))
    seeds = " ".join("diverged" if value is None else f"{value:.0f}" for value in cell["score"]["per_seed"])
    origin = {
        "gtp/ogbench/": "\nmade again here, not OGBench's files",
        "gtp/": "\ncollected here, not the original files",
    }
    made = next((text for start, text in origin.items() if cell["dataset"].startswith(start)), "")
    whose = "its authors' code, run here" if "peer_commit" in cell else "this project"
    source = f"{whose}\n{cell['file']}, commit {cell['commit'][:10]}"
    score, network = f"{interval(cell['score'])}\n{seeds}", f"{depth} x {widths}"
    return [
        task,
        f"{cell['method']}, K = {cell['num_steps']}",
        score,
        network,
        f"{cell['num_updates']:,}",
        cell["dataset"] + made,
        source,
    ]


def _published(task: str, method: str) -> list[str]:
    row, about = TASKS[task][method], METHODS[method]
    score, data = f"{_score(row)}\n{row['seeds']} seeds", "OGBench's own" if "singletask" in task else "D4RL's own"
    network, updates = about["network"], f"{row['updates']:,}"
    return [task, f"{method}\n{about['what']}", score, network, updates, data, f"published\n{about['paper']}"]


def _score(row: dict[str, float] | None) -> str:
    return f"{row['mean']:.1f} ± {row['std']:.1f}" if row else "-"


def matrix(tasks: Iterable[str] = TASKS) -> list[list[str]]:
    """The published scores alone, a row for each task; the first row is the header."""
    header = ["data", "updates", *(f"{name}, {about['network']}" for name, about in METHODS.items())]
    rows = [[name, " or ".join(dict.fromkeys(f"{row['updates']:,}" for row in TASKS[name].values()))] for name in tasks]
    return [header, *(row + [_score(TASKS[row[0]].get(method)) for method in METHODS] for row in rows)]


def markdown() -> str:
    """The published scores of the default tasks of OGBench's data."""
    names = [name for name in TASKS if name.endswith(f"-task{DEFAULT_TASKS[name.partition('-')[0]]}")]
    header, *rows = matrix(names)
    rows = [header, ["---"] * len(header), *([f"`{name}-v0`", *rest] for name, *rest in rows)]
    what = "; ".join(f"`{name}`: {about['what']}" for name, about in METHODS.items())
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"{FOUND['unit'].capitalize()}; {what}. {PAPERS}."])
