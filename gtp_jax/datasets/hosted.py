"""Downloading hosted Minari datasets, or an error at once that states why not and what to do."""

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from gtp_jax import files
from gtp_jax.datasets.builtin import ids
from gtp_jax.datasets.folder import install
from gtp_jax.names import nearest

CONNECT_SECONDS = 2.0  # a hub's own client gives up after 20 seconds to more than a minute


class DatasetUnavailable(FileNotFoundError):
    """A dataset is not on this machine and could not be downloaded.

    `builtin` is the id of the built-in dataset of the same name, whose data are others; None where there is none.
    """

    def __init__(self, message: str, builtin: str | None = None):
        super().__init__(message)
        self.builtin = builtin


def unavailable(dataset_id: str, root: Path, problem: str) -> DatasetUnavailable:
    """The error of a hosted Minari dataset that is not below a root, and why it cannot be downloaded."""
    builtin, near = ids.stand_in(dataset_id), nearest(dataset_id, ids.ids())
    instead = "No built-in dataset stands in for it" + (f"; did you mean {near!r}?" if near else "")
    if builtin:
        instead = f"Without a download, the built-in dataset {builtin} can be used instead"
    says = (
        f"dataset {dataset_id} is not in {root / dataset_id}, and {problem}. To get it: `minari download {dataset_id}`"
    )
    return DatasetUnavailable(f"{says} where there is a network, then copy it there. {instead}", builtin)


def download(dataset_id: str, root: Path) -> Path:
    """Downloads a hosted dataset into a Minari root, unless it is there, and returns its folder.

    Raises DatasetUnavailable where there is no network, within 3 seconds, and where the download fails.
    """
    try:
        if files.exists(root / dataset_id / "data"):
            return root / dataset_id
    except OSError as error:
        raise unavailable(dataset_id, root, f"that folder cannot be read ({error.strerror})") from None
    if (problem := problem_of(_endpoint())) is not None:
        raise unavailable(dataset_id, root, problem)

    def build(temporary: Path) -> None:
        # A child, since Minari takes its folder from the environment of the process.
        command = [sys.executable, "-c", "import sys, minari; minari.download_dataset(sys.argv[1])", dataset_id]
        variables = {**os.environ, "MINARI_DATASETS_PATH": str(temporary)}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables)
        if done.returncode:
            lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
            raise unavailable(dataset_id, root, f"the download failed: {lines[-1]}")

    return install(root, dataset_id, build)


def _endpoint() -> str:
    """The address of Minari's remote."""
    from minari.storage.remotes import DEFAULT_REMOTE

    if os.environ.get("MINARI_REMOTE", DEFAULT_REMOTE).startswith("hf://"):
        from huggingface_hub import constants

        return constants.ENDPOINT
    return "https://storage.googleapis.com"


def problem_of(endpoint: str) -> str | None:
    """Why an address cannot be reached, itself or the proxy in front of it, found out in seconds; None if it can."""
    proxies = urllib.request.getproxies()
    try:
        host = urlsplit(endpoint).hostname or endpoint
        name = None if urllib.request.proxy_bypass(host) else urlsplit(endpoint).scheme
        proxy = name and proxies.get(name, proxies.get("all"))
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else urlsplit(endpoint)
        port = address.port or (80 if address.scheme == "http" else 443)
    except ValueError as error:
        return f"the address {endpoint!r:.100}, or that of the proxy in front of it, is none ({error!s:.200})"
    return _unreachable(address.hostname or host, port)


def _unreachable(host: str, port: int) -> str | None:
    """Why no connection can be made, found out within CONNECT_SECONDS; None if it can."""
    problems: list[str | None] = [f"{host:.100} did not answer within {CONNECT_SECONDS:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            problems.append(None)
        except socket.gaierror:
            problems.append(f"the name {host:.100} does not resolve (no network?)")
        except OSError as error:
            problems.append(f"{host:.100} cannot be reached ({error})")

    # Resolving a name knows no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return problems[-1]
