"""Prints every table of README.md and docs/ from the committed results, and writes them between their markers.

    python benchmarks/tables.py [--only=umaze,...] [--write]

A table NAME goes between the comments `<!-- NAME -->` and `<!-- /NAME -->`, on whichever page has them; tables.md holds
their wording. Cells that were not run are named so.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import shared
from benchmarks.family.flow_map_study import CHOSEN_ON, MEMBERS
from benchmarks.scores import guidance, published, suite, umaze
from benchmarks.scores.cells import Cells, by_place, interval, markdown, origin
from benchmarks.speed import tables as speed_tables
from benchmarks.templates import Rows, fill, result, source
from gtp_jax.config.tasks import TASKS
from gtp_jax.datasets.builtin.d4rl_antmaze import D4RL_ANTMAZE
from gtp_jax.datasets.builtin.ids import COLLECTIONS


def suite_cells(tasks: Sequence[str] = suite.ORDER, methods: Sequence[str] = tuple(suite.METHODS)) -> Cells:
    """The suite's cells of some tasks and methods."""
    found = by_place(shared.load_cells(suite.RESULTS).values())
    return {(task, method): each for (task, method), each in found.items() if task in tasks and method in methods}


def u_maze(*cells: Mapping[str, Any]) -> str:
    """Cells of U-Maze at every K and temperature."""
    rows, shown, first = {}, [], cells[0]["summary"]
    for cell in cells:
        for each in sorted(cell["evaluations"], key=lambda each: -each["temperature"]):
            name = f"{cell['method']} | {each['temperature']:g}"
            rows.setdefault(name, {"k": {}})["k"][str(each["num_steps"])] = interval(each["score"])
            shown.append(cell | {"summary": cell["summary"] | {"temperature": each["temperature"]}})
    behaviour = first["behaviour"]
    facts = {"dataset": first["dataset"], "transitions": behaviour["transitions"], "origin": origin(shown)}
    facts["behaviour"] = 100 * behaviour["behaviour_success"]
    return fill("umaze", rows, facts)


def mazes(*methods: str) -> str:
    """AntMaze's cells of the suite, of some of its methods."""
    names = [f"antmaze-{task}" for task in guidance.TASKS]
    return markdown(suite_cells(names, methods), names, methods)


def tuning(rows: Mapping[str, Any]) -> str:
    """The cells of the guidance study, of some of its rows."""
    every = shared.load_cells(guidance.RESULTS).values()
    cells = {(each["task"], each["method"]): each for each in every if each["method"] in rows}
    return markdown(cells, [task for task in guidance.TASKS if any(task == key[0] for key in cells)], list(rows))


def critics() -> str:
    """What the critics of the guidance study know."""
    every = shared.load_cells(guidance.RESULTS).values()
    return fill("critics", {f"{e['task']} | {e['method']}": e["diagnostics"] for e in every if e["diagnostics"]}, {})


def behaviour() -> str:
    """A row for each locomotion dataset."""
    found, tasks = result("scores/behaviour"), {task.builtin: task for task in TASKS.values()}
    for each in found["rows"]:
        family, name = each["dataset"].removesuffix("-v0").split("/")[1:]
        files = COLLECTIONS[family][name].controllers
        each["steps"] = ", ".join(f"{int(file.partition('_')[2].removesuffix('.npz')):,}" for file in files)
        each["spread"] = ", ".join(f"{value:.0f}" for value in each["quarters"])
        each["published"] = tasks[each["dataset"]].scores["BC"]
    return fill("behaviour", {each["dataset"]: each for each in found["rows"]}, found)


def ogbench_data() -> str:
    """What cube-single-play holds, by the parts of an action and an observation."""
    found = result("scores/ogbench_data")
    shown = {
        name: {key: ", ".join(f"{value:.2f}" for value in each) for key, each in row.items()}
        for name, row in found["rows"].items()
    }
    solved = ", ".join(f"{name} in {100 * share:.1f} %" for name, share in found["solved"].items())
    return fill("ogbench_data", shown, found | {"solved": solved})


def ogbench_speed() -> str:
    """How fast each collection is beside the environment and the oracle alone."""
    found = result("scores/ogbench_data")
    return fill("ogbench_speed", {name: each for name, each in found["speeds"].items()}, found)


def ogbench_tour() -> str:
    """The clone and the guided policy of OGBench's point maze, at every K."""
    found = result("scores/ogbench_tour")
    for row in found["rows"].values():
        row["k"] = {k: interval(score) for k, score in row["scores"].items()}
    return fill("ogbench_tour", found["rows"], found | {"behaviour": 100 * found["behaviour"]})


def _guidance_cells() -> dict[str, dict[str, Any]]:
    """The cells of guidance_table by name, with their scores as text."""
    cells = shared.load_cells(shared.RESULTS / "scores" / "guidance_table")
    for each in cells.values():
        each["k"] = dict.fromkeys("125", "-") | {k: interval(score) for k, score in each["scores"].items()}
    return cells


def first_screen() -> str:
    """README's table: cloning, guidance and a peer on one task, all by one command."""
    every = _guidance_cells()
    cells = {method: every[f"cube-single-noisy_{method}_20000"] for method in ("gtp-bc", "gtp-q", "fql")}
    first = cells["gtp-bc"]
    cells["fql"]["k"] |= dict.fromkeys("25", "acts in one step")
    whole = first | {"command": re.sub("--methods=\\S+", f"--methods={','.join(cells)}", first["command"])}
    whole["command"] += " --peers=fql=PATH"
    speed = result("speed/peers")["sizes"]["3 x 256"]
    facts = {name: ratio["median"] for name, ratio in speed["times_the_rate_of"]["gtp-q"].items()}
    own = next(each for each in speed["programs"] if each["program"] == "gtp-q")
    facts["published"] = published.TASKS[published.task_of(first["dataset"])]["fql-actor"]
    facts |= {"source": source(whole, *cells.values()), "milliseconds": own["cpu_milliseconds"]["median"]}
    return fill("first_screen", cells, whole | facts)


def guidance_table() -> str:
    """Cloning and guidance where cloning cannot succeed, at every K."""
    first, *others = sorted(_guidance_cells().values(), key=lambda each: each["num_updates"])
    whole = first | {"command": re.sub(r" --(tasks|methods|num_updates|num_seeds|peers)=\S+", "", first["command"])}
    place = "{0}` | {num_updates:,} | {num_seeds} | `{method}"
    rows = {place.format(published.task_of(each["dataset"]), **each): each for each in (first, *others)}
    return fill("guidance_table", rows, whole | {"source": source(whole, *others)})


def d4rl_data() -> str:
    """What the built-in data under D4RL's protocol hold, how fast they are made, and the score of their clone."""
    found = result("scores/d4rl_data")
    for name, row in found["rows"].items():
        collection = D4RL_ANTMAZE[name]
        free, starts, goals = collection.maze.free_cells, collection.starts, collection.goals
        row["starts"] = f"any of {len(free)} free cells" if starts else "(1, 1)"
        row["goals"] = "any other free cell" if goals == free else " ".join(map(str, goals))
        row |= {"arrived": 100 * row["arrived"], "passed": 100 * row["passed"], "share": 100 * row["speed"]["share"]}
    facts = {"transitions": min(row["transitions"] for row in found["rows"].values())}
    facts |= {"seeds": len(found["clone"]["seeds"]), "score": interval(found["clone"]["score"])}
    return fill("d4rl_data", found["rows"], found | facts)


def study(folder: str, start: str = "") -> Rows:
    """The cells of a study whose names begin so, by row, the policy classes before the ablations."""
    every = shared.load_cells(shared.RESULTS / "family" / folder)
    cells = {key.removeprefix(start): each for key, each in every.items() if key.startswith(start)}
    return {row: cells[row] for row in [*MEMBERS, *sorted(cells.keys() - MEMBERS)] if row in cells}


def two_dimensions(task: str) -> str:
    """Median energy distance over the seeds at each K; at K = 5, the share off every mode."""
    cells, rows = study("flow_map_study", f"{task}-"), {}
    for row, cell in cells.items():
        found = cell["num_steps"]
        off = 100 * np.median(found.get("5", found[max(found, key=int)])["off_every_mode"])
        rows[row] = {"k": {k: np.median(each["energy_distance"]) for k, each in found.items()}, "off": off}
    return fill("two_dimensions", rows, cells["gtp"] | {"source": source(cells["gtp"], *cells.values())})


def chosen() -> str:
    """Median energy distance over the seeds at each K on the densities that settings are chosen on."""
    rows: dict[str, Any] = {}
    for task in CHOSEN_ON:
        for row, cell in (cells := study("flow_map_study", f"{task}-")).items():
            found = {k: np.median(each["energy_distance"]) for k, each in cell["num_steps"].items()}
            rows.setdefault(row, {})[task] = found
    return fill("chosen", rows, cells["gtp"] | {"source": source(cells["gtp"], *cells.values())})


def umaze_study() -> str:
    """Mean score at each K, the half-width of its widest interval, and what samples on held-out data are like."""
    cells, rows = study("umaze_study"), {}
    for row, cell in cells.items():
        widest = max(np.ptp(each["score"]["ci95"]) / 2 for each in cell["evaluations"])
        found = {
            name: {k: 1000 * np.mean(each) for k, each in by_steps.items()}
            for name, by_steps in cell["held_out"].items()
        }
        scores = {str(each["num_steps"]): each["score"]["mean"] for each in cell["evaluations"]}
        rows[row] = {"k": scores, "widest": widest} | found
    return fill("umaze_study", rows, {"origin": origin(cells.values())})


def measured() -> str:
    """Kills, damages and bad inputs."""
    names = ("soak", "damages", "bad_inputs", "field_inputs")
    soak, damages, inputs, field = (result(f"trust/{name}") for name in names)
    counts = {name: dict.fromkeys(("silent", "lost", "unnamed"), 0) | damages[name] for name in ("resume", "act")}
    for each in counts.values():
        each["lost"] += each["unnamed"]
    kills = ", ".join(f"{number} {what}" for what, number in soak["hit"].items())
    facts = {"soak": soak, "damages": damages, "inputs": inputs, "field": field, "kills": kills, **counts}
    return fill("measured", inputs["flipped_bytes"], facts)


TABLES: dict[str, Callable[[], str]] = {
    "umaze": lambda: u_maze(*(suite_cells()["antmaze-umaze", method] for method in umaze.METHODS)),
    "first_command": lambda: u_maze(shared.read(shared.RESULTS / "scores" / "first_command.json")),
    "suite": lambda: markdown(suite_cells()),
    "report": lambda: mazes(*(method for method in suite.METHODS if method.startswith("gtp"))),
    "levels": lambda: tuning(guidance.ENCODINGS),
    "tuning": lambda: tuning(guidance.ROWS),
    "published": published.markdown,
    "density": lambda: two_dimensions("density"),
    "goals": lambda: two_dimensions("goals"),
    **{
        each.__name__: each
        for each in (
            critics,
            behaviour,
            ogbench_data,
            ogbench_speed,
            ogbench_tour,
            first_screen,
            guidance_table,
            d4rl_data,
            chosen,
            umaze_study,
            measured,
        )
    },
    **speed_tables.TABLES,
}


def pages() -> list[Path]:
    """The pages that may hold tables."""
    return [shared.ROOT / "README.md", *sorted((shared.ROOT / "docs").rglob("*.md"))]


def insert(page: str, name: str, text: str) -> str:
    """The page with a table between its two comments; ValueError unless they stand there once each."""
    if page.count(f"<!-- {name} -->\n") != 1 or page.count(f"<!-- /{name} -->") != 1:
        raise ValueError(f"the page must hold <!-- {name} --> and <!-- /{name} -->, once each")
    head, opening, rest = page.partition(f"<!-- {name} -->\n")
    _, closing, tail = rest.partition(f"<!-- /{name} -->")
    return f"{head}{opening}{text}\n{closing}{tail}"


def main(argv: list[str] | None = None) -> None:
    """Prints the tables, and writes them where asked."""
    arguments = shared.parse(__doc__, argv, only=TABLES, write=False)
    for name in arguments.only:
        text, found = TABLES[name](), [page for page in pages() if f"<!-- {name} -->" in page.read_text()]
        print(f"{name}: {', '.join(page.name for page in found) or 'on no page'}\n\n{text}\n")
        for page in found if arguments.write else ():
            page.write_text(insert(page.read_text(), name, text))


if __name__ == "__main__":
    main()
