"""Many command lines in one process: what each prints and how it ends, without starting Python anew for each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

_DRIVER = """
import json, os, runpy, sys, tempfile
import absl.app, ml_collections, rich.console
import gtp_jax.datasets.loading, gtp_jax.evaluation, gtp_jax.plots, gtp_jax.scores, gtp_jax.serving, gtp_jax.settings

script, cases = sys.argv[1], json.loads(sys.stdin.read())
for words in cases:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            sys.argv = [script, *words]
            try:
                runpy.run_path(script, run_name="__main__")
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 1
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        print(json.dumps([status, output.read().decode(errors="replace")]), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str

    @property
    def refused(self) -> bool:
        """Whether it was refused as promised: exit code 2 and one line."""
        return self.code == 2 and self.output.startswith("error: ") and self.output.count("\n") == 1


def commands(script: Path, cases: list[list[str]], cwd: Path, env: dict[str, str]) -> list[Ended]:
    """Runs a script of experiments/ once for each list of words."""
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(script)],
        input=json.dumps(cases),
        cwd=cwd,
        env=env | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=True,
    )
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]
