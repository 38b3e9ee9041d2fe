"""Rows of a boot. Instructions and bytes are exact; seconds are of this host, QEMU's own start included, and
the smallest of several boots counts: all else that runs here only adds to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coronel.bench.guest import MACHINE, TIMEOUT
from coronel.bench.result import Measured
from coronel.bench.rows import BootCount, BootTime, Row
from coronel.guest import Guest
from coronel.mm.kernel import KernelState

MEMORY = "256M"
RUNS = 5


def seconds(start: str, build: Path) -> float:
    """From QEMU's start to the prompt, once, of the build's `elf` or `iso`."""
    elf, iso = (build / "coronel.elf", None) if start == "elf" else (None, build / "coronel.iso")
    began = time.monotonic()
    with Guest(kernel=elf, iso=iso, memory=MEMORY, timeout=60) as guest:
        guest.wait_ready()
        return time.monotonic() - began


def phases(start: str, build: Path) -> dict[str, float]:
    """Where the seconds of such a boot go, once."""
    elf, iso = (build / "coronel.elf", None) if start == "elf" else (None, build / "coronel.iso")
    guest = Guest(kernel=elf, iso=iso, memory=MEMORY, timeout=60)
    began = time.monotonic()
    try:
        guest.start()
        started = time.monotonic() - began
        guest.wait_ready()
        prompt = time.monotonic() - began
        first = guest.seconds_to_first_byte or 0.0
    finally:
        guest.close()
    return {
        "QEMU's own start": started,
        "firmware and loader, to the first byte": first,
        "the kernel, to the prompt": prompt - started - first,
    }


def _kmain_to_prompt(build: Path) -> float:
    with _exact_machine(build, MEMORY) as guest:
        ready = guest.channel.wait_event("ready")
        return float(ready["prompt_tsc"] - ready["kmain_tsc"])


def _unusable(build: Path, memory: str) -> float:
    """In percent of the RAM: what meminfo does not call total, at the prompt."""
    with _exact_machine(build, memory) as guest:
        guest.wait_ready()
        usable = int(guest.channel.call("meminfo")["MemTotal"]) << 10
        return 100 * (1 - usable / guest.options.memory_bytes)


def _frame_record(build: Path) -> float:
    """Without its part of the record of its 2 MiB block, a sixth of a byte."""
    with _exact_machine(build, MEMORY) as guest:
        guest.wait_ready()
        return float(KernelState(guest, build / "coronel.elf").tables.type("Frame").size)


def _exact_machine(build: Path, memory: str) -> Guest:
    return Guest(**{**MACHINE, "kernel": build / "coronel.elf", "memory": memory}, timeout=TIMEOUT)


COUNTS: dict[str, Callable[[Path], float]] = {
    "kmain_to_prompt": _kmain_to_prompt,
    "unusable_256M": lambda build: _unusable(build, "256M"),
    "unusable_1G": lambda build: _unusable(build, "1G"),
    "frame_record": _frame_record,
}


def measure(rows: Sequence[Row], build: Path) -> dict[Row, Measured]:
    """The rows of `rows` that a boot measures."""
    measured = {}
    for row in rows:
        if isinstance(row.source, BootCount):
            measured[row] = Measured(round(COUNTS[row.source.name](build), 2))
        elif isinstance(row.source, BootTime):
            start = row.source.start
            measured[row] = Measured(round(min(seconds(start, build) for _ in range(RUNS)), 3))
    return measured
