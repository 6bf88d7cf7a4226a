"""The report of the suite: one HTML page that needs nothing else, and a Markdown table.

python benchmarks/report.py [--results=benchmarks/results/suite] [--write]

With --write the page goes to docs/report.html and the table into docs/results.md. Cells that nobody ran say so.
"""

import argparse
import html
from pathlib import Path
from typing import Any

from report_pictures import Cells, curves, latency, tasks_of
from report_tables import aggregates, by_place, markdown, origin, published_table, scores_table, updates
from suite import RESULTS, ROOT, ROWS, load
from table import insert

PAGE, MARKDOWN = ROOT / "docs" / "report.html", ROOT / "docs" / "results.md"
MEANING = {
    "gtp-bc": "GTP that clones the data: no value",
    "gtp": "GTP with the paper's weights, exp(eta max(0, A) / std(A)), from a twin critic",
    "gtp-condition": "GTP that is told which examples did better than others in their place, and acts as a better one",
    "gtp-outcome": "GTP weighted by the same",
    "gtp-subgoal": "two GTPs: one says where to be 20 steps later, told which examples did better, one walks that way",
    "gtp-subgoal-bc": "the same two, neither told anything: no value",
    "diffusion-ql": "diffusion (5 steps) with a Q term, as Diffusion-QL",
    "consistency-ac": "consistency (2 steps) with a Q term, as Consistency-AC",
    "iql-flow": "flow matching (5 steps) with IQL's critic and weights",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; max-width: 26rem; }
td.best { font-weight: 600; } td.none { color: #888; }
small, td small { color: #666; display: block; font-weight: 400; white-space: nowrap; }
th, td:first-child { white-space: nowrap; } dt { font-weight: 600; } dd { margin: 0 0 .3rem 1.5rem; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
code { font-size: .8rem; overflow-wrap: anywhere; } details { margin: .5rem 0; }
.note { background: #f4f4f0; padding: .8rem 1rem; border-left: 4px solid #999; }
"""


def meanings() -> str:
    """What each row is, in words."""
    return "".join(f"<dt>{row}</dt><dd>{html.escape(MEANING[row])}</dd>" for row in ROWS)


def commands(cells: Cells) -> str:
    """How to repeat each cell, and which data it had."""
    parts = []
    for task in tasks_of(cells):
        for row in ROWS:
            if (task, row) in cells:
                each = cells[task, row]
                summary = each["summary"]
                facts = (
                    f"{summary['algorithm']}; learning rate {each['learning_rate']}; {summary['dataset']}, fingerprint "
                    f"{summary['fingerprint'][:16]}; commit {str(summary['commit'])[:10]}; "
                    f"{summary['timing']['finished']}"
                )
                parts.append(
                    f"<details><summary>{task}, {row}</summary><p>{html.escape(facts)}</p>"
                    f"<p><code>{html.escape(each['run'])}</code></p></details>"
                )
    return "\n".join(parts)


def page(found: list[dict[str, Any]]) -> str:
    """The whole page."""
    cells = by_place(found)
    tasks = tasks_of(cells)
    hosted = by_place(found, "hosted")
    hosted_part = (
        f"<p>{html.escape(origin(hosted.values()))}</p>{scores_table(hosted)}"
        if hosted
        else "<p>Not run: no hosted data were at hand.</p>"
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>gtp_jax: the suite</title><style>{STYLE}</style>
<h1>gtp_jax: the suite</h1>
<p>Offline reinforcement learning with generative policies: each column is a method, each row a task; one network, data
path and evaluation for all of them. Every score is that of the last checkpoint, never of the best one.</p>
<p class="note"><b>Not comparable.</b> The first table is on <em>embedded</em> data, which this project collects
itself (ids that begin with <code>gtp/</code>), after {updates(cells)} updates. The second one is on D4RL's data after
one or two million. A score of one says nothing about a score of the other; each is to be read along its own rows.</p>
<h2>The methods</h2>
<dl>{meanings()}</dl>
<h2>Scores on embedded data</h2>
<p>Success rate in per cent for AntMaze, D4RL's normalised return for the others; below, the 95 % interval and the
seeds. Bold: the highest mean. {html.escape(origin(cells.values()))}</p>
{scores_table(cells)}
<h2>Published scores on D4RL's own data</h2>
<p>From arXiv 2510.11499, tables 1 and 2: GTP with K = 5; the others as quoted there. BC: arXiv 2110.06169, table 1.</p>
{published_table(tasks)}
<h2>Scores on hosted data</h2>
{hosted_part}
<h2>All tasks together</h2>
<p>Each row beside cloning, over the tasks that both have. Stratified bootstrap over seeds, 95 %; the chance is that of
a seed of the row to score above one of cloning, ties counted half.</p>
{aggregates(cells)}
<h2>Learning curves</h2>
{curves(cells)}
<h2>Score against latency</h2>
{latency(cells)}
<h2>How to repeat it</h2>
<p>All of it, from nothing: <code>python benchmarks/suite.py --results=runs/again</code>, then
<code>python benchmarks/report.py --results=runs/again --write</code>; a cell whose file is there is not run again. The
five seeds of U-Maze are those of <code>python benchmarks/umaze.py</code>, the behaviour's scores of
<code>python benchmarks/behaviour.py</code>. One by one:</p>
{commands(cells)}
</html>
"""


def main(argv: list[str] | None = None) -> None:
    """Prints the table and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="below the repository's root")
    parser.add_argument("--write", action="store_true", help="docs/report.html, and the table into docs/results.md")
    arguments = parser.parse_args(argv)
    found = load(ROOT / arguments.results)
    if not found:
        parser.error(f"--results={arguments.results} holds no cell")
    table = markdown(by_place(found))
    print(table)
    if arguments.write:
        PAGE.write_text(page(found))
        MARKDOWN.write_text(insert(MARKDOWN.read_text(), "suite", table))


if __name__ == "__main__":
    main()
