"""The processes of a pool that collects data."""

import multiprocessing
import os
import signal
import tempfile
import threading
from pathlib import Path


def enter(folder: Path) -> None:
    """Makes a process of a pool end with its parent, and work in a new folder of its own below `folder`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.chdir(tempfile.mkdtemp(dir=folder))  # where MuJoCo writes its warnings to MUJOCO_LOG.TXT
