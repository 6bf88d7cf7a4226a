"""What users install: a wheel built from this tree, in an environment of its own, imported from elsewhere."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import sys
import gtp_jax
from pathlib import Path

from gtp_jax.datasets.builtin.ids import TASKS

heavy = {"flax", "gymnasium", "gymnasium_robotics", "matplotlib", "minari", "mujoco", "optax", "orbax"}
folder = Path(gtp_jax.__file__).resolve().parent
print(folder)
print(gtp_jax.__version__)
print(sorted(heavy & set(sys.modules)))
tasks = [task for family in TASKS.values() for task in family.values()]
needed = ["py.typed", *(f"datasets/controllers/{name}" for task in tasks for name in task.controllers)]
print([name for name in needed if not (folder / name).is_file()])
"""


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # setuptools writes build/ and an egg-info beside the sources: build a copy.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "gtp_jax", source / "gtp_jax", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index")
    run(*pip, "-w", source / "dist", source)
    (built,) = (source / "dist").iterdir()
    return built


def test_the_wheel_holds_the_package_alone(wheel):
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gtp_jax"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "gtp_jax").rglob("*.py")}
    assert sources <= set(names)
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_works_installed_and_imports_cheaply(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # The dependencies come from this environment by PYTHONPATH, which reads no .pth file: an editable install of the
    # tree is out of sight.
    paths = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
    folder, version, loaded, missing = run(python, "-c", PROBE, cwd=elsewhere, env=env).splitlines()
    assert Path(folder).is_relative_to((tmp_path / "venv").resolve())
    assert f"gtp_jax-{version}-" in wheel.name
    assert loaded == "[]" and missing == "[]"
