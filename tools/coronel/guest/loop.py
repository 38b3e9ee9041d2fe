"""One thread per process that does all waiting: QMP, serial ports and child processes of every guest.

It never ends before the process does. That matters: PR_SET_PDEATHSIG fires when the *thread* that started
QEMU ends, so QEMU is always started from this one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An asyncio loop in a thread of its own, and two ways into it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="coronel-guests")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """The result of `work`; TimeoutError, and `work` cancelled, when it takes longer than `timeout`
        seconds.
        """
        assert threading.current_thread() is not self._thread, "the loop cannot wait for itself"
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, run in the loop's thread."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # travels to the caller
                future.set_exception(error)

        self.loop.call_soon_threadsafe(body)
        return future.result()


_current: LoopThread | None = None
_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """This process's one loop."""
    global _current  # noqa: PLW0603  # one per process is the point
    with _lock:
        if _current is None:
            _current = LoopThread()
        return _current


def _forget_in_child() -> None:
    global _current, _lock  # noqa: PLW0603  # the thread did not survive the fork
    _current = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_in_child)
