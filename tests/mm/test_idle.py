"""What the heap holds after a peak: 47 MiB of live objects, then none, on both bodies."""

from __future__ import annotations

import random

import pytest

from coronel.bench.held import machine
from coronel.mm.idle import after_a_peak
from coronel.pytest_plugin import Build

HELD = 2 << 20  # bytes that one CPU may hold after the releases alone
SHRUNK = 64 << 10


@pytest.mark.parametrize("order", ["random", "as allocated"])
@pytest.mark.parametrize("body", ["host", "guest"])
def test_little_is_held_when_nothing_is_live(
    body: str, order: str, artifact: Build, coronel_seed: int
) -> None:
    with machine(body, artifact.sibling("release").elf.parent) as mm:
        found = after_a_peak(mm, random.Random(coronel_seed), shuffled=order == "random")
        assert found.live >= found.asked
        assert (found.released <= HELD, found.shrunk <= SHRUNK) == (True, True), found
        mm.walk().check()
