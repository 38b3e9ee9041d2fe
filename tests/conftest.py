"""What all tests share."""

from __future__ import annotations

import os

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
