"""What users install: a wheel built from this tree, in an environment of its own, used from elsewhere."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import sys
import gtp_jax
from pathlib import Path
from gtp_jax.datasets.builtin.ids import COLLECTIONS
folder = Path(gtp_jax.__file__).resolve().parent
heavy = {"flax", "gymnasium", "gymnasium_robotics", "matplotlib", "minari", "mujoco", "optax", "orbax"}
each = [name for family in COLLECTIONS.values() for one in family.values() for name in one.controllers]
needed = ["py.typed", "config/tasks.json", *(f"datasets/builtin/controllers/{name}" for name in each)]
print(folder, sorted(heavy & set(sys.modules)), [name for name in needed if not (folder / name).is_file()], sep="\\n")
"""


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_holds_the_package_alone_and_works_installed(tmp_path):
    # setuptools writes build/ and an egg-info beside the sources: build a copy.
    source, programs, elsewhere = tmp_path / "source", tmp_path / "venv" / "bin", tmp_path / "elsewhere"
    for folder in (source / "tests", elsewhere):
        folder.mkdir(parents=True)
    (source / "tests" / "__init__.py").touch()
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "gtp_jax", source / "gtp_jax", ignore=shutil.ignore_patterns("__pycache__"))
    pip, alone = (sys.executable, "-m", "pip"), ("-q", "--no-deps", "--no-index")
    run(*pip, "wheel", *alone, "--no-build-isolation", "-w", source / "dist", source)
    (wheel,) = (source / "dist").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gtp_jax"}
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "gtp_jax").rglob("*.py")} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    run(*pip, "--python", programs / "python", "install", *alone, wheel)
    # The dependencies come from this environment by PYTHONPATH, which reads no .pth file: an editable install of the
    # tree is out of sight; and so is an installed wheel, behind the new one.
    paths = [sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})]
    paths += dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
    folder, loaded, missing = run(programs / "python", "-c", PROBE, cwd=elsewhere, env=env).splitlines()
    assert Path(folder).is_relative_to((tmp_path / "venv").resolve()) and loaded == "[]" and missing == "[]"
    name, version = run(programs / "gtp-jax", "--version", cwd=elsewhere, env=env).splitlines()[0].split()
    assert wheel.name.startswith(f"{name}-{version}-")
