"""A pytest plugin for `make coverage`: when a guest closes, what its kernel counted is added up.

Every process of pytest-xdist saves what its own guests counted, beside the kernel; `coverage` joins them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from coronel.artifact import Artifact
from coronel.build.gcov import Counters
from coronel.errors import CoronelError
from coronel.guest import Guest

SUFFIX = ".counts"
_COUNTED = pytest.StashKey[tuple[Counters, Path]]()


def pytest_configure(config: pytest.Config) -> None:
    """Looks over the shoulder of every guest of this process."""
    folder = Path(config.option.coronel_build or config.rootpath / "build") / config.option.coronel_profile
    counters = Counters(Artifact.open(folder / "coronel.elf"))
    config.stash[_COUNTED] = (counters, folder)
    close = Guest.close

    def counted_close(guest: Guest) -> None:
        with suppress(CoronelError):  # it was never started, or is closed already
            counters.add(guest.ram)
        close(guest)

    Guest.close = counted_close  # type: ignore[assignment, method-assign]
    config.add_cleanup(lambda: setattr(Guest, "close", close))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Saves the sums."""
    counters, folder = config.stash[_COUNTED]
    if any(counters.values):
        counters.save(folder / f"{os.getpid()}{SUFFIX}")
