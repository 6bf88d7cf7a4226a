"""The documentation does what it says: every code block of every page runs, unless it is marked with what it needs.

The `python` blocks of a page run one after the other in one namespace, and the `bash` blocks in a copy of the tree,
where `python experiments/run.py` gets the overrides SHRUNK appended: a tiny network, few updates.
"""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pages import PAGES, ROOT, TEXTS, blocks

SHRUNK = {
    "num_updates": 20,
    "log_every": 10,
    "checkpoint_every": 10,
    "batch_size": 16,
    "cpu_devices": 1,
    "dataset": "gtp/antmaze/umaze-5k-v0",
    "policy.hidden": "(8,)",
    "critic.hidden": "(8,)",
    "eval.every": 20,
    "eval.num_episodes": 1,
    "eval.progress_episodes": 1,
    "eval.num_envs": 1,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree that blocks may write to, with its own data and compiled programs and a shrinking `python`."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("gtp_jax", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("benchmarks", "docs", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    overrides = " ".join(f"'--config.{name}={value}'" for name, value in SHRUNK.items())
    python.write_text(
        # A run that goes on from another one has to make more updates than that one.
        f'#!/bin/sh\nmore=\ncase "$*" in *continue_from*) more=--config.num_updates=40 ;; esac\n'
        f'case "$1" in\nexperiments/run.py) exec {sys.executable} "$@" {overrides} $more ;;\n'
        f'*) exec {sys.executable} "$@" ;;\nesac\n'
    )
    python.chmod(0o755)
    return folder


@pytest.fixture
def at_home(tree, monkeypatch):
    """In the tree, as a user with an activated environment."""
    monkeypatch.chdir(tree)
    for name, value in {
        "PATH": f"{tree / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tree),
        "MINARI_DATASETS_PATH": str(tree / "minari"),
        "JAX_COMPILATION_CACHE_DIR": str(tree / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # programs of 20 updates take less time to run than to compile
    }.items():
        monkeypatch.setenv(name, value)
    return tree


def run(page: str, text: str) -> int:
    """Runs the blocks of a page where we are, and returns how many; raises what the first bad one raises."""
    scope, count = {"__name__": "__page__"}, 0
    for block in blocks(text):
        if not block.runs:
            continue
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), scope)
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True)
            assert done.returncode == 0, f"{page}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"
        count += 1
    return count


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_runs(page, at_home):
    assert run(page, TEXTS[page]) == sum(block.runs for block in blocks(TEXTS[page]))


def test_every_page_is_looked_at():
    """No fence is left over when the blocks are taken out, and pages that show code are among those that run."""
    for page, text in TEXTS.items():
        assert sum(line.lstrip().startswith("```") for line in text.splitlines()) == 2 * len(blocks(text)), page
    with_code = {page for page, text in TEXTS.items() if any(block.runs for block in blocks(text))}
    assert {"README.md", "docs/tour.md", "docs/losses.md", "docs/adding-a-policy.md"} <= with_code


def test_a_block_without_language_or_with_an_excuse_of_its_own_is_refused():
    with pytest.raises(ValueError, match="line 2: a block of language ''"):
        blocks("text\n```\npython x.py\n```\n")
    with pytest.raises(ValueError, match="'takes too long' is neither a file nor one of"):
        blocks('```bash title="takes too long"\nsleep 1000\n```\n')


def test_blocks_of_a_page_share_a_namespace_and_fail_loudly(at_home):
    assert run("page", "```python\nx = 1\n```\n```python\nassert x == 1\n```\n") == 2
    assert run("page", '```bash title="needs a GPU"\nfalse\n```\n```text\nno code\n```\n') == 0
    with pytest.raises(ZeroDivisionError):
        run("page", "```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="page:2"):
        run("page", "```bash\nfalse | true\n```\n")


def test_the_pictures_of_the_method_are_of_the_true_map():
    """The denoiser is the posterior mean by quadrature, and the map is consistent (eq. 6)."""
    figures = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    x_0 = np.linspace(-2.5, 2.5, 20_001)
    prior = sum(np.exp(-0.5 * ((x_0 - mode) / figures["STD"]) ** 2) for mode in (-1, 1))
    for x_t, t in ((0.3, 0.5), (-1.4, 1.0), (0.05, 0.2)):
        posterior = prior * np.exp(-0.5 * ((x_t - x_0) / t) ** 2)
        mean = np.sum(x_0 * posterior) / np.sum(posterior)
        assert float(figures["denoiser"](jnp.array(x_t), jnp.array(t))) == pytest.approx(mean, abs=1e-4)
    x, true_map = jnp.array([-1.2, 0.1, 0.36]), figures["true_map"]
    np.testing.assert_allclose(true_map(true_map(x, 1.7, 0.6), 0.6, 0.1), true_map(x, 1.7, 0.1), atol=1e-3)
    assert np.ptp(true_map(x, 1.7, 0.1)) > 1  # it moves
