"""Every file of examples/ runs as its reader would run it, from nothing, and leaves nothing behind but runs/."""

import json
import os
import re
import subprocess
import sys

import pytest
from pages import ROOT

FOLDER = ROOT / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NEEDS_OGBENCH = re.compile(r"\bogbench\b")
SHRUNK = {"NUM_UPDATES": 20, "NUM_EPISODES": 1}  # constants of a notebook's first cell of code


def code(name):
    """The text of a script, or the cells of code of a notebook."""
    text = (FOLDER / name).read_text()
    if name.endswith(".py"):
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to run in, with no data yet."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def check_extra(name):
    if NEEDS_OGBENCH.search(code(name)):
        pytest.importorskip("ogbench")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs(name, elsewhere):
    check_extra(name)
    done = subprocess.run([sys.executable, FOLDER / name], capture_output=True, text=True, cwd=elsewhere)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.strip() and {*os.listdir(elsewhere)} <= {"runs"}
    if name in ("own_arrays.py", "own_policy.py"):  # which learn what their data often fail at
        assert "(per seed: 1000 1000)" in done.stdout
    if name == "robot_loop.py":
        assert "the pole stands" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, elsewhere):
    check_extra(name)
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for constant, value in SHRUNK.items():
        first.source, count = re.subn(rf"^{constant} = \S+", f"{constant} = {value}", first.source, flags=re.MULTILINE)
        assert count == 1
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(elsewhere)}}).execute()
    assert not os.listdir(elsewhere)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_holds_the_outputs_of_one_run_and_nothing_of_the_machine(name):
    path = FOLDER / name
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert path.stat().st_size < 300_000
    assert not re.search(r"[\"' ]/(?:home|root|tmp|usr|Users|opt|work)\b", path.read_text())


def test_scripts_are_short_and_every_example_is_in_the_table():
    for name in SCRIPTS:
        assert len(code(name).splitlines()) < 60, name
    listed = re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(SCRIPTS + NOTEBOOKS)
