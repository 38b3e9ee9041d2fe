"""Rows of a guest under -icount, where the time-stamp counter counts instructions exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coronel.bench.result import Measured
from coronel.bench.rows import CpuTime, Fragmentation, GuestCase, GuestRate, Row
from coronel.errors import ValidationError
from coronel.guest import Guest

MACHINE: dict[str, Any] = {"memory": "1G", "cpus": 1, "cpu": "qemu64,+rdrand", "icount": 0}
TIMEOUT = 600.0  # of one command: a loaded host is slow
_FRAGMENTATION = "fragmentation"
TIMED_RUNS = 5  # the fastest counts: all else that runs on the host only adds to it


def machine(elf: Path, **other: Any) -> Guest:
    """The machine that figures are taken on, not started."""
    return Guest(**{"kernel": elf, **MACHINE, **other}, timeout=TIMEOUT)


def exact(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a measuring command. ValidationError when its ticks are no instructions."""
    if answer["unit"] != "instructions":
        raise ValidationError(
            f"the guest counts {answer['unit']}, not instructions: was it started without icount?"
        )
    return answer


def run_case(guest: Guest, case: GuestCase, rounds: int = 0) -> dict[str, Any]:
    """What the kernel says of one case, which begins with empty magazines: operations, ticks, each."""
    guest.channel.call("quiesce")
    words = [f"rounds={rounds}"] if rounds else []
    (found,) = exact(guest.channel.call("bench", case.set, case.case, *words))["cases"]
    return dict(found)


def measure(rows: Sequence[Row], elf: Path) -> dict[Row, Measured]:
    """The rows of `rows` that a guest measures."""
    cases = [row for row in rows if isinstance(row.source, GuestCase)]
    points = [row for row in rows if isinstance(row.source, Fragmentation)]
    if not cases and not points:
        return {}
    measured = {}
    with machine(elf) as guest:
        guest.wait_ready()
        for row in cases:
            assert isinstance(row.source, GuestCase)
            found = run_case(guest, row.source)
            measured[row] = Measured(round(found["ticks"] / found["operations"], 1))
        if points:
            blocks = guest.channel.call("bench", _FRAGMENTATION)
        for row in points:
            assert isinstance(row.source, Fragmentation)
            found = blocks[row.source.point]
            measured[row] = Measured(round(100 * found["free_2mib"] / found["possible"], 1))
    return measured


def measure_cpus(rows: Sequence[Row], elf: Path) -> dict[Row, Measured]:
    """The rows of `rows` that take as many CPUs as this host has, at least two."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, CpuTime)]
    if not wanted:
        return {}
    most = max(source.cpus for _, source in wanted)
    fastest: dict[int, float] = {}
    with machine(elf, cpus=most, icount=None) as guest:
        guest.wait_ready()
        for _ in range(TIMED_RUNS):
            for row in guest.channel.call("bench", "cpus"):
                each = row["ns"] / row["pairs"]
                fastest[row["cpus"]] = min(each, fastest.get(row["cpus"], each))
    return {
        row: Measured(round(fastest[source.cpus] / (fastest[1] if source.measure == "ratio" else 1), 2))
        for row, source in wanted
    }


def measure_rates(rows: Sequence[Row], elf: Path) -> dict[Row, Measured]:
    """The rows of `rows` that are operations a second, by the guest's clock."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, GuestRate)]
    if not wanted:
        return {}
    measured = {}
    with machine(elf, icount=None) as guest:
        guest.wait_ready()
        for row, source in wanted:
            measured[row] = Measured(float(round(max(_rate(guest, source) for _ in range(TIMED_RUNS)))))
    return measured


def _rate(guest: Guest, source: GuestRate) -> float:
    words = [f"rounds={source.rounds}", "clock=ns"]
    (found,) = guest.channel.call("bench", source.set, source.case, *words)["cases"]
    return 1e9 * float(found["operations"]) / float(found["ticks"])
