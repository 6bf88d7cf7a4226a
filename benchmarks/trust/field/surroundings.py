"""Environment variables: what is read in this process, and everything else in a process of its own."""

import contextlib
import ctypes
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from benchmarks import shared
from benchmarks.trust.field.cases import Case, pick, variables
from benchmarks.trust.field.places import DATA, FLAGS, OVERRIDE, SEARCH, Sandbox, expected, ordinary
from gtp_jax import datasets, files
from gtp_jax.datasets import hosted

D4RL = "d4rl/hopper-medium-v2"
MODULES = {
    "field_sound": "import gymnasium",
    "field_prints": "import sys, warnings\nprint('a notice')\nwarnings.warn('old')\nprint('b', file=sys.stderr)",
    "field_raises": "raise ValueError('one line\\nanother')",
    "field_exits": "import sys\nsys.exit(3)",
    "field_asserts": "assert False",
    "field_broken": "def (",
    "field_needs": "import not_installed_anywhere",
}


def prepare(root: Path) -> None:
    """A file as D4RL's, and packages of a user."""
    for name in ("d4rl", "modules"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    with h5py.File(root / "d4rl" / "hopper_medium-v2.hdf5", "w") as file:
        sizes = {"observations": (40, 11), "actions": (40, 3), "rewards": (40,)}
        for name, shape in sizes.items():
            file[name] = rng.uniform(-1, 1, shape).astype("f4")
        file["terminals"], file["timeouts"] = np.zeros(40, bool), np.arange(40) % 20 == 19
    for name, text in MODULES.items():
        (root / "modules" / f"{name}.py").write_text(text)
    sys.path.append(str(root / "modules"))


FOLDERS = ("MINARI_DATASETS_PATH", "HOME", "D4RL_DATASET_DIR")
# fmt: off
PACKAGES = (*MODULES, "os", "no_such_package", "a b", "a-b", "a.b.c", "..", ".x", "x.", "1x", "/etc", "é", "ß.x",
    "x" * 5000, "field_sound.x",
            "gymnasium", "gtp_jax", "antigravity.x", "__main__", "sys.path", "a;b", "a=b", "None", "*", "\udcff",
                "a\nb", "import os", "", " ")
ADDRESSES = ("nonsense", "http://", "http://[::1", "://", "http://x:99999999", "http://x:y",
    "ftp://nowhere.invalid", "http://127.0.0.1:9",
             "socks5://127.0.0.1:1", "http://a@b@c:1", "", " ", "http://\u2100.invalid", "hf://x", "gs://x",
                 "hf://", "x" * 3000, "http://a b:3")
# fmt: on
NETWORK = ("HF_ENDPOINT", "MINARI_REMOTE", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy")


def read_here(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Variables that the package reads whenever it needs them."""
    for number in range(count):
        box = Sandbox(root, number)
        for name, target in (("data", root), ("originals", root / "d4rl")):
            (box.here / name).symlink_to(target)
        (box.home / ".minari").mkdir()
        (box.home / ".minari" / "datasets").symlink_to(root)
        name = pick(rng, (*FOLDERS, *FOLDERS, "GTP_JAX_ENV_PACKAGES", "GTP_JAX_ENV_PACKAGES", pick(rng, NETWORK)))
        if name in FOLDERS:
            good = {"MINARI_DATASETS_PATH": "data", "HOME": "../../../home", "D4RL_DATASET_DIR": "originals"}[name]
            good = pick(rng, (good, f"./{good}/", str(box.here / good), f"new/../{good}", f"link/../{good}"))
            value = good if rng.integers(3) == 0 else box.paths(rng)
        elif name == "GTP_JAX_ENV_PACKAGES":
            value = pick(rng, (",", ", ", ",,")).join(pick(rng, PACKAGES) for _ in range(rng.integers(1, 3)))
        else:
            value = pick(rng, ADDRESSES)
        if "\0" not in value:  # which no environment can hold
            call = partial(_loaded, box, root, name, value)
            yield Case(
                f"variable, {name if name not in NETWORK else 'network'}",
                "dataset|^d4rl/|GTP_JAX_ENV_PACKAGES",
                call,
                (name, value),
            )
        box.remove()


def _loaded(box: Sandbox, root: Path, name: str, value: str) -> bool:
    os.chdir(box.here)
    dataset_id = D4RL if name == "D4RL_DATASET_DIR" else "not/here-v0" if name in NETWORK else DATA
    changes: dict[str, str | None] = {"MINARI_DATASETS_PATH": str(root), "HOME": str(box.home), name: value}
    if name == "HOME":
        changes["MINARI_DATASETS_PATH"] = None
    output, here = io.StringIO(), contextlib.nullcontext()
    network = here if name in NETWORK else mock.patch.object(hosted, "problem_of", lambda _: "there is no network")
    with (
        variables(**changes),
        ordinary(),
        network,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        found = datasets.load(dataset_id, standardise=False)
    place = {"HOME": f"{value}/.minari/datasets", "D4RL_DATASET_DIR": value or "~/.d4rl/datasets"}.get(
        name, value or "~/.minari/datasets"
    )
    target = str(root) if name == "GTP_JAX_ENV_PACKAGES" else expected(box, place)
    meant = target == str(root / "d4rl") if dataset_id == D4RL else target == str(root)
    plain = root / "d4rl" if dataset_id == D4RL else root
    with variables(MINARI_DATASETS_PATH=str(plain), D4RL_DATASET_DIR=str(plain)):
        same = found.fingerprint == datasets.load(dataset_id, env=False).fingerprint
    return meant and same and found.env is not None and not output.getvalue()


# Of another process: each variable and its values; None is one that is not set.
# fmt: off
ELSEWHERE: dict[str, tuple[str | None, ...]] = {
    "HOME": (None, "", "/proc/nonexistent", "relative", "~", "\udcff", "/dev/null", "/proc"),
    "USER": (None, "nobody-here"), "PATH": (None, "", "/proc/nonexistent"), "PWD": ("/proc/nonexistent",),
    "SHELL": (None,), "XDG_CACHE_HOME": ("", "/proc/nonexistent", "relative", "/dev/null", "~/x", "\udcff", "/proc"),
    "XDG_CONFIG_HOME": ("/dev/null",), "TMPDIR": ("", "/proc/nonexistent", "relative", "/dev/null", "/proc", "\udcff"),
    "TMP": ("/dev/null",),
    "JAX_PLATFORMS": ("", "cpu", "CPU", "cuda", "tpu", "gpu,cpu", "cpu,", ",", " cpu", "cpu,cuda", "nonsense",
                      "rocm", "METAL", "\xfc"),
    "JAX_PLATFORM_NAME": ("cpu", "gpu", "nonsense"),
    "JAX_COMPILATION_CACHE_DIR": ("", "/proc/nonexistent/x", "/dev/null/x", "relative", "~", "$NOT_SET/x", "/proc/x",
                                  "x" * 5000, "gs://no/where"),
    "JAX_ENABLE_X64": ("0", "1", "true", "yes", "maybe", "", "2"),
    "JAX_NUM_CPU_DEVICES": ("0", "-1", "abc", "2", "", "1.5"), "JAX_DEFAULT_MATMUL_PRECISION": ("highest", "nonsense"),
    "JAX_DEBUG_NANS": ("1", "x"), "JAX_DISABLE_JIT": ("1",), "JAX_DEFAULT_PRNG_IMPL": ("rbg", "nonsense"),
    "JAX_NUMPY_RANK_PROMOTION": ("raise", "x"), "JAX_NUMPY_DTYPE_PROMOTION": ("strict",),
    "JAX_TRANSFER_GUARD": ("disallow", "x"), "JAX_LOG_COMPILES": ("1",), "JAX_TRACEBACK_FILTERING": ("off", "x"),
    "JAX_ENABLE_CHECKS": ("1",), "JAX_DEFAULT_DEVICE": ("gpu:0", "cpu", "x"), "JAX_THREEFRY_PARTITIONABLE": ("0",),
    "JAX_LOGGING_LEVEL": ("DEBUG", "x"), "JAX_COMPILATION_CACHE_MAX_SIZE": ("-1", "x", "1"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": ("x", "0"),
    "XLA_FLAGS": ("", "nonsense", "--xla_nonsense=1", "--xla_force_host_platform_device_count=2",
                  "--xla_force_host_platform_device_count=x", "@/proc/nonexistent"),
    "XLA_PYTHON_CLIENT_MEM_FRACTION": ("x", "7", ""), "XLA_PYTHON_CLIENT_PREALLOCATE": ("x",),
    "TF_CPP_MIN_LOG_LEVEL": ("x", "0"),
    "GTP_JAX_ENV_PACKAGES": ("nowhere", "os", "field_exits", "field_raises", "field_sound"),
    "MINARI_DATASETS_PATH": ("/proc/nonexistent", "", "/dev/null", "\udcff"), "PYTHONWARNINGS": ("error", "nonsense"),
    "PYTHONIOENCODING": ("ascii", "latin-1:strict", "utf-16"), "PYTHONUTF8": ("0", "1"), "PYTHONOPTIMIZE": ("2",),
    "PYTHONUNBUFFERED": ("1",), "PYTHONDONTWRITEBYTECODE": ("1",), "PYTHONDEVMODE": ("1",), "PYTHONSAFEPATH": ("1",),
    "PYTHONPATH": ("/proc/nonexistent", ":", "\udcff"), "PYTHONNOUSERSITE": ("1",), "PYTHONBREAKPOINT": ("x",),
    "PYTHONPROFILEIMPORTTIME": ("",), "LANG": ("nonsense", "C", "tr_TR.UTF-8"), "LC_ALL": ("C", "POSIX", "nonsense"),
    "TZ": ("nonsense", ":/proc/nonexistent"), "COLUMNS": ("0", "-5", "abc", "1", "99999999", ""), "LINES": ("0", "x"),
    "TERM": ("dumb", "nonsense", ""), "FORCE_COLOR": ("1", ""), "NO_COLOR": ("1",), "OMP_NUM_THREADS": ("x", "-1", "1"),
    "MUJOCO_GL": ("nonsense", "egl", ""), "MPLBACKEND": ("nonsense", "TkAgg", ""),
    "MPLCONFIGDIR": ("/dev/null", "/proc/nonexistent"), "GIT_DIR": ("/proc/nonexistent",),
    "CUDA_VISIBLE_DEVICES": ("x", "-1"), "SLURM_JOB_ID": ("x",), "SLURM_PROCID": ("3",), "OMPI_COMM_WORLD_SIZE": ("x",),
    "HDF5_USE_FILE_LOCKING": ("x", "TRUE"), "HDF5_PLUGIN_PATH": ("/proc/nonexistent",), "ABSL_FLAGS": ("x",),
    "NPY_PROMOTION_STATE": ("x",), "DISPLAY": ("x",),
}
# Those tried in a training, the others in an export, which takes a third of the time.
TRAINED = {"MPLBACKEND", "MPLCONFIGDIR", "GTP_JAX_ENV_PACKAGES", "MINARI_DATASETS_PATH", "PYTHONWARNINGS",
           "JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_NUM_CPU_DEVICES", "JAX_THREEFRY_PARTITIONABLE", "MUJOCO_GL"}
RANDOM = {"JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_THREEFRY_PARTITIONABLE"}  # with which other noise is drawn
# fmt: on


def read_elsewhere(rng: np.random.Generator, count: int, root: Path) -> Iterator[Case]:
    """Variables of an export or a whole run on a recording, each in a process of its own."""
    every = [(name, value) for name, values in ELSEWHERE.items() for value in values]
    for number, place in enumerate(rng.permutation(len(every))[:count]):
        name, value = every[place]
        box = Sandbox(root, number)
        yield Case(
            "variable, another process", "^error: ", partial(_ran, box, name, value, shown := [name, value]), shown
        )
        box.remove()


def _bounded() -> None:
    for capability in (OVERRIDE, SEARCH):
        ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP: permissions hold for the superuser as well


def start(box: Sandbox, words: list[str], changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    """A command in another process, in its box, with other variables."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "PYTHON"))}
    own |= {
        "MINARI_DATASETS_PATH": str(box.root),
        "HOME": str(box.root),
        "JAX_COMPILATION_CACHE_DIR": str(box.root / "compiled"),
        "PYTHONPATH": os.pathsep.join([str(shared.ROOT), str(box.root / "modules")]),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    own |= {name: value for name, value in changes.items() if value is not None}
    for name in [name for name, value in changes.items() if value is None]:
        own.pop(name, None)
    if "PYTHONPATH" in changes:
        own["PYTHONPATH"] = os.pathsep.join([own["PYTHONPATH"], str(shared.ROOT)])
    words = [sys.executable, "-c", "import sys; from gtp_jax.commands import main; sys.exit(main())", *words]
    return subprocess.run(
        words, env=own, cwd=box.here, capture_output=True, text=True, errors="replace", timeout=300, preexec_fn=_bounded
    )


def _ran(box: Sandbox, name: str, value: str | None, shown: list[Any]) -> bool:
    with ordinary():
        before = box.state()
    changes: dict[str, str | None] = {name: value}
    if name in ("XDG_CACHE_HOME", "HOME", "USER") and len(str(value)) % 2:  # also where these alone are left
        changes |= {"JAX_COMPILATION_CACHE_DIR": None, "MINARI_DATASETS_PATH": str(box.root)}
    is_run = name in TRAINED
    words = ["run", "--config=gym.py:hopper-medium", *FLAGS, "--workdir=new"]
    done = start(box, words if is_run else ["export", "--workdir=run", "--out=new.safetensors"], changes)
    errors, new = done.stderr.splitlines(), box.here / "new"
    shown += [done.returncode, errors[-3:]]
    if done.returncode == 2:
        if len(errors) != 1 or new.exists() or (box.here / "new.safetensors").exists():
            return False
        raise ValueError(errors[0])
    after = box.state()
    if (
        done.returncode
        or "Traceback" in done.stderr + done.stdout
        or any(after.get(key) != each for key, each in before.items())
    ):
        return False
    if not is_run:
        return (box.here / "new.safetensors").read_bytes() == (box.root / "run.safetensors").read_bytes()
    rows, plain = (files.read_json(folder / "episodes.json") for folder in (new, box.root / "run"))
    same = name in RANDOM or np.allclose(rows["score"], plain["score"], rtol=1e-3)
    return same and (new / "curves.png").exists() and files.read_json(new / "summary.json")["num_updates"] == 1
