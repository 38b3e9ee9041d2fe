"""Rows of what is held when nothing is live: bytes, counted in memory, on both bodies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coronel.bench.result import Measured
from coronel.bench.rows import Held, Row
from coronel.guest import Guest
from coronel.mm import idle
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM

SEED = 1
TIMEOUT = 60.0  # of one command
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}


@contextmanager
def machine(body: str, build: Path) -> Iterator[KernelMM]:
    """One of a single CPU with room for the peak, "host" or "guest", of a build."""
    if body == "guest":
        elf = build / "coronel.elf"
        with Guest(kernel=elf, memory=f"{idle.MEMORY_MIB}M", timeout=TIMEOUT) as guest:
            yield GuestKernelMM(guest)
        return
    with HostKernelMM(HostMachine(f"{idle.MEMORY_MIB}M", library=HostLibrary.at(build))) as mm:
        yield mm


def measure(rows: Sequence[Row], build: Path) -> dict[Row, Measured]:
    """The rows of `rows` that say what is held."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, Held)]
    found: dict[str, idle.Held] = {}
    for body in dict.fromkeys(source.body for _, source in wanted):
        with machine(body, build) as mm:
            found[body] = idle.after_a_peak(mm, random.Random(SEED))
    return {
        row: Measured(round(getattr(found[source.body], source.moment) / UNITS[row.unit], 2))
        for row, source in wanted
    }
