"""Signals are heard at once, even while the main thread computes."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gtp_jax.training.interruption import SIGNALS, Interruption

# One call of C code that runs for minutes and lets other threads run.
BUSY = """
import hashlib
from gtp_jax.training.interruption import Interruption
with Interruption(lambda text: print(text, flush=True)):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_a_second_signal_ends_at_once(number, code):
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    assert f"{number.name}: stopping once all is saved" in child.stdout.readline()
    child.send_signal(number)
    try:
        assert child.wait(timeout=10) == code
    finally:
        child.kill()
        child.stdout.close()


def test_the_first_signal_is_a_number_and_the_handlers_come_back():
    before, said = [signal.getsignal(number) for number in SIGNALS], []
    with Interruption(said.append) as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.signal == signal.SIGTERM
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    """A run under nohup survives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption(print) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert stop.signal == 0 and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone():
    """`gtp_jax.train` may be called there."""

    def run():
        with Interruption(print) as stop:
            return stop.signal

    with ThreadPoolExecutor() as pool:
        assert pool.submit(run).result() == 0
