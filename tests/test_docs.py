"""Every code block of the documentation runs, unless it names its need, and links and paths lead somewhere.

The `python` blocks of a page share a namespace, and the `bash` blocks a copy of the tree, where runs are SHRUNK.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pages import PAGES, ROOT, TEXTS, anchors, blocks, prose

SHRUNK = """
num_updates=20 log_every=10 checkpoint_every=10 batch_size=16 cpu_devices=1 dataset=gtp/antmaze/umaze-5k-v0
policy.hidden=(8,) critic.hidden=(8,) eval.every=20 eval.num_episodes=1 eval.progress_episodes=1 eval.num_envs=1
"""
# A run that starts from another one has to make more updates than that one.
SHIM = """#!/bin/sh
more=
case "$*" in *continue_from*) more=--config.num_updates=40 ;; esac
case "$1" in
{run}) exec {start} "$@" {overrides} $more ;;
*) exec {start} "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree that blocks may write to, with its own data and compiled programs, in which runs are small."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("gtp_jax", "examples", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "bin").mkdir()
    overrides = " ".join(f"'--config.{setting}'" for setting in SHRUNK.split())
    command = f"{sys.executable} -c 'import sys; from gtp_jax.commands import main; sys.exit(main())'"
    for name, run, start in (("python", "experiments/run.py", sys.executable), ("gtp-jax", "run", command)):
        (folder / "bin" / name).write_text(SHIM.format(run=run, start=start, overrides=overrides))
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture
def at_home(tree, monkeypatch):
    """In the tree, as a user with an activated environment."""
    monkeypatch.chdir(tree)
    monkeypatch.syspath_prepend(tree)
    monkeypatch.setenv("PATH", str(tree / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(tree))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tree / "minari"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tree / "compiled"))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # 20 updates take less time to run than to compile


def run(page: str, text: str) -> None:
    """Runs the blocks of a page where we are; raises what the first bad one raises."""
    scope = {"__name__": "__page__"}
    for block in filter(lambda block: block.runs, blocks(text)):
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), scope)
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True)
            assert done.returncode == 0, f"{page}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"


WITH_CODE = [page for page, text in TEXTS.items() if any(block.runs for block in blocks(text))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_every_code_block_runs(page, at_home):
    if page == "docs/ogbench.md":
        pytest.importorskip("ogbench")  # which Python 3.13 and newer cannot install
    run(page, TEXTS[page])


def test_no_block_escapes(at_home):
    """A block has a language and no excuse of its own, no fence is left over, and a failing block fails its page."""
    for page, text in TEXTS.items():
        assert sum(line.lstrip().startswith("```") for line in text.splitlines()) == 2 * len(blocks(text)), page
    assert {"README.md", "docs/python.md", "docs/losses.md", "docs/adding-a-policy.md"} <= {*WITH_CODE}
    run("page", '```bash title="needs a GPU"\nfalse\n```\n```text\nno code\n```\n')
    for error, text, message in (
        (ValueError, "text\n```\npython x.py\n```\n", "line 2: a block of language ''"),
        (ValueError, '```bash title="takes long"\nsleep 9\n```\n', "'takes long' is neither a file nor one of"),
        (ZeroDivisionError, "```python\nx = 0\n```\n```python\n1 / x\n```\n", "division"),
        (AssertionError, "```bash\nfalse | true\n```\n", "page:2"),
    ):
        with pytest.raises(error, match=message):
            run("page", text)


@pytest.mark.parametrize("page", PAGES)
def test_links_anchors_and_paths_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\((?!https?:)([^)\s#]*)#?([^)\s]*)\)", prose(TEXTS[page])):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"
    by_hand = re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", "", TEXTS[page], flags=re.DOTALL)
    names = r"(?<![\w./])(?:(?:benchmarks|examples|experiments|gtp_jax)/[\w./-]*\.\w+|test_\w+\.py)"
    for path in re.findall(names, by_hand):
        found = ROOT / ("tests" if path.startswith("test_") else "") / path
        assert found.exists() or found.name == "one_jump.py", path


def test_the_pictures_of_the_method_are_of_the_true_map():
    """The denoiser is the posterior mean by quadrature, and the map is consistent (eq. 6)."""
    figures = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    x_0 = np.linspace(-2.5, 2.5, 20_001)
    prior = sum(np.exp(-0.5 * ((x_0 - mode) / figures["STD"]) ** 2) for mode in (-1, 1))
    for x_t, t in ((0.3, 0.5), (-1.4, 1.0), (0.05, 0.2)):
        mean = np.average(x_0, weights=prior * np.exp(-0.5 * ((x_t - x_0) / t) ** 2))
        assert float(figures["denoiser"](jnp.array(x_t), jnp.array(t))) == pytest.approx(mean, abs=1e-4)
    x, true_map = jnp.array([-1.2, 0.1, 0.36]), figures["true_map"]
    np.testing.assert_allclose(true_map(true_map(x, 1.7, 0.6), 0.6, 0.1), true_map(x, 1.7, 0.1), atol=1e-3)
    assert np.ptp(true_map(x, 1.7, 0.1)) > 1  # it moves
