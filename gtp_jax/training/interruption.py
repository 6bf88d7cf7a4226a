"""Signals that ask a run to end."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Self

# Ctrl-C, a scheduler, a closed terminal; then what schedulers can be asked to send before their time is up.
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


class Interruption:
    """Turns the first of SIGNALS into a number that the loop reads between chunks; a second one ends at once.

    A thread receives them: Python's own handlers would wait for the main thread, which may be in a long computation.
    Outside the main thread, where Python allows no handlers, it does nothing. `say` prints a line.
    """

    def __init__(self, say: Callable[[str], None]):
        self.signal, self._say, self._previous = 0, say, {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._inbox, self._outbox = socket.socketpair()
        self._outbox.setblocking(False)
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has it
        self._previous = {number: signal.signal(number, lambda *_: None) for number in heard}
        self._previous_fd = signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> None:
        while received := self._inbox.recv(1):
            if received[0] not in self._previous:
                continue
            if self.signal:
                os._exit(128 + received[0])
            self.signal = received[0]
            self._say(f"{signal.Signals(self.signal).name}: stopping once all is saved; a second one stops at once")

    def __exit__(self, *_: object) -> None:
        if not self._previous:
            return
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._outbox.close()
        self._thread.join()
        self._inbox.close()
