import re
import shutil
import subprocess
import sys

import jax
import pytest

from gtp_jax.runs import provenance


def test_versions_and_device_name_what_computes_the_numbers():
    versions, device = provenance.versions(), provenance.device()
    assert versions["jax"] == jax.__version__
    assert {"python", "gtp_jax", "flax", "optax", "mujoco", "gymnasium", "minari"} <= set(versions)
    assert device["platform"] == "cpu" and device["count"] == len(jax.devices())
    assert device["cpu"] == provenance.cpu_model() and (device["cpu"] or sys.platform != "linux")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_the_checkouts_own(tmp_path, monkeypatch):
    package = tmp_path / "gtp_jax" / "runs"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert provenance.commit() is None  # no checkout

    def git(*words):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    assert provenance.commit() is None  # no commit yet
    (package / "provenance.py").write_text("")
    git("add", ".")
    git("commit", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit())
    (package / "new.py").write_text("")
    assert re.fullmatch("[0-9a-f]{40}-dirty", provenance.commit())
    # Installed below a checkout that is not its own.
    inner = tmp_path / "site-packages" / "gtp_jax" / "runs"
    inner.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(inner / "provenance.py"))
    assert provenance.commit() is None
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None  # no git
