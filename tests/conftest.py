"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def pseudo_terminals() -> None:
    """Skips where no terminal can be made: a /dev that was put together by hand often lacks it."""
    try:
        ends = os.openpty()
    except OSError as error:
        pytest.skip(f"this machine gives no pseudo-terminals: {error}")
    for end in ends:
        os.close(end)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """What ends a program ends those that the test starts: a run in the background, or under nohup, ignores
    some of it, and so would they.
    """
    ignored = [
        number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
