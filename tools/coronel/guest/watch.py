"""The one way to wait for a guest: for a condition, the guest's end, and a deadline, all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """Guards everything a guest's ports and monitor bring in, and wakes who waits for it.

    Whoever changes that state does it under `lock` and calls `changed()`. `failure` says what is wrong with
    the guest, or None; `expired` turns a deadline into an exception, after asking the guest what keeps it.
    Both may themselves take as long as they need: they are called without the lock.
    """

    def __init__(
        self, failure: Callable[[str], Exception | None], expired: Callable[[str, float], Exception]
    ) -> None:
        self.lock = threading.Condition(threading.RLock())
        self._interruption: Exception | None = None
        self.grace_until = 0.0  # a failure is about to be known in full: deadlines wait for it
        self._failure = failure
        self._expired = expired

    def changed(self) -> None:
        """Makes every waiter look again."""
        with self.lock:
            self.lock.notify_all()

    def interrupt(self, error: Exception) -> None:
        """Something other than the guest went wrong: whoever waits gets `error`."""
        with self.lock:
            self._interruption = error
            self.lock.notify_all()

    def poll(self, probe: Callable[[], T | None], what: str, timeout: float) -> T | None:
        """The first value of `probe` that is not None, or None after `timeout` seconds.

        Raises when the guest fails first. A value that is already there wins over a failure, so what a guest
        said before it ended can still be read.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self.lock:
                value = probe()
                if value is not None:
                    return value
            failure = self._interruption or self._failure(what)
            if failure is not None:
                raise failure
            with self.lock:
                value = probe()  # what came while the failure was looked for
                if value is not None:
                    return value
                remaining = max(deadline, self.grace_until) - time.monotonic()
                if remaining <= 0:
                    return None
                self.lock.wait(
                    min(remaining, 0.1)
                )  # bounded: not every probe looks at what changed() announces

    def wait(self, probe: Callable[[], T | None], what: str, timeout: float) -> T:
        """Like `poll`, but a deadline that passes is an exception that says what the guest was doing."""
        value = self.poll(probe, what, timeout)
        if value is None:
            raise self.expire(what, timeout)
        return value

    def expire(self, what: str, timeout: float) -> Exception:
        """The exception for `what` not having come within `timeout` seconds."""
        return self._expired(what, timeout)
