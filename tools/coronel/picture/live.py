"""`watch`: shows a guest that runs, again and again, until Ctrl-C or its end, and leaves nothing behind.

The guest is not stopped: what is shown is read from its memory while it changes. The whole terminal is used,
on its second screen where it has one: every picture is written over the last one, so nothing flickers, and
what was there before comes back.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live

from coronel.errors import CoronelError
from coronel.guest import Cause, Guest
from coronel.mm.source import run_commands

SLICE = 0.1  # seconds until the guest's end is noticed
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Workload:
    """Console lines that a guest runs while somebody watches it. `error` is what became of a refused one."""

    def __init__(self, guest: Guest, lines: Sequence[str]) -> None:
        self.error: CoronelError | None = None
        self._guest = guest
        self._lines = list(lines)
        # Nobody waits for it: it ends with the guest, whose end ends every wait.
        self._thread = threading.Thread(target=self._run, daemon=True, name="coronel-workload")

    def start(self) -> None:
        """Begins; once."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether lines are still being run."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            run_commands(self._guest, self._lines)
        except CoronelError as error:
            self.error = error


def watch(
    guest: Guest, lines: Sequence[str], interval: float, draw: Callable[[], RenderableType], console: Console
) -> None:
    """Shows `draw()` every `interval` seconds while the guest runs `lines` and after.

    Returns after Ctrl-C, and when the guest was switched off; raises what ended it otherwise, and MMError for
    a line that it refused.
    """
    workload = Workload(guest, lines)
    with suppress(KeyboardInterrupt), _terminated_in_order(), _shown(console) as show:
        workload.start()
        due = time.monotonic()
        while not _over(guest, workload):
            show(draw())
            due = max(due + interval, time.monotonic())
            while (left := due - time.monotonic()) > 0 and guest.ending is None and workload.error is None:
                time.sleep(min(left, SLICE))


def _over(guest: Guest, workload: Workload) -> bool:
    """Whether there is nothing more to see; raises when that is a failure."""
    ending = guest.ending
    if ending is not None and ending.cause in (Cause.poweroff, Cause.quit):
        return True
    failure = guest.failure("something to watch")
    if failure is not None:
        raise failure
    # Its own end is how `poweroff` ends: the guest says which it was, a moment later.
    if workload.error is not None and not _ends_now(guest):
        raise workload.error
    return False


def _ends_now(guest: Guest) -> bool:
    return guest.ending is not None or guest.channel.event("poweroff") is not None


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """A function that shows; one picture below the other where there is no terminal."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as live:
        yield lambda picture: live.update(picture, refresh=True)


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """Turns the signals that end a program into its end by way of every `finally`: the terminal comes back,
    and QEMU ends.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = [(number, signal.signal(number, end)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
