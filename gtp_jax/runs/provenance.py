"""Time, versions, commit and machine, as results record them."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = "gtp_jax jax jaxlib flax optax orbax-checkpoint numpy mujoco gymnasium gymnasium-robotics minari"


def now() -> str:
    """The time in UTC, `2030-01-31T12:00:00+00:00`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages in use; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES.split():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """The commit of the source checkout, with "-dirty" where its code differs; None if it runs from elsewhere."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's checkout, whose commit would say nothing.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        revision = git("rev-parse", "HEAD")
        return revision + ("-dirty" if git("status", "--porcelain", "--", "gtp_jax", "experiments") else "")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, no commit yet, or a repository it distrusts
        return None


def cpu_model() -> str:
    """The model name of the host's CPU, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def device() -> dict[str, Any]:
    """What JAX computes on: platform ("cpu", "gpu", "tpu"), kind (the model's name), count; the host and its cores."""
    import jax

    first, count = jax.devices()[0], len(jax.devices())
    found = {"platform": first.platform, "kind": first.device_kind, "count": count}
    return found | {"cpu": cpu_model(), "host_cores": os.cpu_count()}
