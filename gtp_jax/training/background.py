"""Work beside the training loop, without a trace in the order of what the loop writes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Background:
    """Runs one piece of work at a time in a thread; what is to be done after it waits, in order.

    So a loop may go on while an evaluation runs, and its log and checkpoints are those of a loop that waited for it.
    All that waits runs in the thread that calls `settle`, since files and messages between processes need an order.
    """

    def __init__(self, enabled: bool = True):
        """Without `enabled`, everything is done at once, where it is asked for."""
        self._pool = ThreadPoolExecutor(max_workers=1) if enabled else None
        self._work: Future | None = None
        self._waiting: list[Callable[[], Any]] = []

    def start(self, work: Callable[[], Any], then: Callable[[Any], Any]) -> None:
        """Starts `work`, when the work before it is settled; `then` gets its result."""
        self.settle()
        if self._pool is None:
            then(work())
            return
        self._work = future = self._pool.submit(work)
        self._waiting.append(lambda: then(future.result()))

    def after(self, action: Callable[[], Any]) -> None:
        """Does `action` now, or once the work under way is settled."""
        if self._work is None:
            action()
        else:
            self._waiting.append(action)

    def busy(self) -> bool:
        """Whether work is under way that has not ended."""
        return self._work is not None and not self._work.done()

    def settle(self) -> None:
        """Waits for the work under way, and does what waited for it; raises what they raise."""
        waiting, self._work, self._waiting = self._waiting, None, []
        for action in waiting:
            action()

    def close(self) -> None:
        """Waits for the work under way and drops what waits for it."""
        if self._pool is not None:
            self._pool.shutdown()
