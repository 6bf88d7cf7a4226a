"""The command line: help, version, mistakes, and collecting; the other commands have files of their own."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from runs import ROOT, benchmark

import gtp_jax
from gtp_jax.commands import COMMANDS, main
from gtp_jax.runs import provenance

PROGRAM = """
import contextlib, runpy, sys, time
from gtp_jax.commands import COMMANDS, main
for words in (["--version"], ["--help"], *([name, "--help"] for name in COMMANDS if name != "run")):
    with contextlib.suppress(SystemExit):
        main(words)
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
heavy = "jax flax orbax gymnasium minari mujoco matplotlib".split()
print(time.process_time(), *set(heavy) & set(sys.modules))
"""


def test_help_and_version_are_quick():
    """CPU time, which a busy machine does not change, and no import that takes seconds when it is cold."""
    scripts = [str(path) for path in (ROOT / "experiments").glob("*.py") if path.stem != "run"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *scripts], text=True, capture_output=True, check=True)
    seconds, *heavy = done.stdout.splitlines()[-1].split()
    assert float(seconds) < 3 and not heavy
    assert f"gtp_jax {gtp_jax.__version__}" in done.stdout and "--workdir" in done.stdout and "TASK" in done.stdout
    assert all(f"usage: gtp-jax {name}" in done.stdout for name in COMMANDS if name != "run")


def test_all_of_the_version_is_what_a_report_of_a_fault_needs(capsys):
    assert main(["--version", "--all"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert told["gtp_jax"] == gtp_jax.__version__ and told["platform"] == jax.default_backend()
    assert told["count"] == str(jax.device_count()) and told["commit"] == str(provenance.commit())
    assert {"jax", "jaxlib", "system", "kind", "cpu", "host_cores"} <= told.keys()


MISTAKES = {
    "--version --every": "--version --every: it takes nothing, or --all for devices too",
    "evalute": "there is no command 'evalute'; .*did you mean 'evaluate'",
    "evaluate": "the following arguments are required: --workdir",
    "evaluate --workdir=nowhere": "nowhere.*does not exist; is nowhere the directory of a run",
    "evaluate --workdir=x --num_steps=0,1": "--num_steps: '0' must be a whole number at least 1",
    "evaluate --workdir=x --num_steps=two": "--num_steps: 'two'",
    "evaluate --workdir=x --temperature=-1": "--temperature: '-1' must be a number at least 0",
    "evaluate --workdir=x --temperature=1,nan": "--temperature: 'nan'",
    "evaluate --workdir=x --episodes=1e3": "--episodes: '1e3' must be a whole number at least 1",
    "evaluate --workdir=x --episode=3": "unrecognized arguments: --episode=3; did you mean --episodes",
    f"evaluate --workdir=x --seed={'9' * 5000}": "--seed: '9999",
    "evaluate --workdir=": "--workdir: path '' is empty",
    "evaluate --workdir=x --output=$NOT_SET/y": "--output: .*the environment has no NOT_SET",
    "collect antmaze/umaze --root=/dev/null/x": "umaze-v0: /dev/null/x/gtp/antmaze cannot be written",
    "export --workdir=x --out=/proc/x.stablehlo": "/proc cannot be written",
    "export --workdir=x": "the following arguments are required: --out",
    "collect antmaze/umase": "umase.*did you mean 'gtp/antmaze/umaze-v0'",
    "collect antmaze/umaze --transitions=0": "transitions must be at least 1",
    "merge --out=x": "the following arguments are required: RUN",
    "merge --out=. x": r"\. exists; choose another --out",
    "merge --out=n/e/w/.. x": r"n/e/w/\.\. exists; choose another --out",
    "diagnose --workdir=x --repeats=1": "--repeats: '1' must be a whole number at least 2",
}


@pytest.mark.parametrize("line", MISTAKES, ids=lambda line: line[:60])
def test_mistakes_are_one_line(tmp_path, monkeypatch, refused, line):
    monkeypatch.chdir(tmp_path)
    error = refused(*line.split())
    assert re.search(MISTAKES[line], error), error


def test_a_benchmark_refuses_where_it_cannot_write(capsys):
    with pytest.raises(SystemExit) as end:
        benchmark("shared").parse("", ["--results=/dev/null/x"], results=Path("."))
    assert end.value.code == 2 and "--results: /dev/null/x cannot be written" in capsys.readouterr().err


def test_a_dataset_is_collected_once(capsys, tmp_path):
    words = ["collect", "antmaze/umaze", "--transitions=60", "--seed=3", f"--root={tmp_path}", "--workers=1"]
    folder, written = tmp_path / "gtp/antmaze/umaze-60-seed3-v0", []
    for _ in range(2):
        assert main(words) == 0 and capsys.readouterr().out.splitlines()[-1] == str(folder)
        written.append(max(path.stat().st_mtime_ns for path in folder.rglob("*")))
    assert written[0] == written[1]
