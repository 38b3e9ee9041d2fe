"""Objects that nobody can reach: what the last scan of the guarded profile has said, out of raw memory.
Needs nothing but Python: GDB's commands use it too.

for leak in leaks(tables):
    hex(leak.address), leak.size, leak.name, hex(leak.allocated.site)
"""

from __future__ import annotations

from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.mm.misuse import HeapCall
from coronel.mm.record import Tables
from coronel.mm.tracks import Tracked, tracked

OPTION = "debug_kmemleak"


@dataclass(frozen=True)
class LeakCount:
    """What a scan has seen."""

    objects: int  # that were judged
    leaks: int
    leaked_bytes: int
    words: int  # that were looked at


@dataclass(frozen=True)
class Leak:
    """An object that no pointer leads to."""

    address: int
    size: int  # asked for
    keeper: str  # cache, large
    name: str  # "kmalloc-64"
    allocated: HeapCall
    callers: tuple[int, ...]  # what the calls before allocated.site return to, the nearest first


def leaks(tables: Tables) -> list[Leak]:
    """Those that the last scan reported, that are allocated still and not known, by address. DecodeError for
    a build without the option.
    """
    if not tables.option(OPTION):
        raise DecodeError(f"this build keeps no track of leaks: {OPTION} is off; `make guarded` sets it")
    found = [_leak(one) for one in tracked(tables) if str(one.track["leak"]) == "reported"]
    return sorted(found, key=lambda leak: leak.address)


def _leak(one: Tracked) -> Leak:
    call = one.track["allocated"]
    allocated = HeapCall(int(call["site"]), int(call["cpu"]), int(call["ns"]))
    callers: list[int] = []
    for distance in one.track["callers"]:
        if distance == 0:
            break
        callers.append(allocated.site + (distance - (1 << 32) if distance >> 31 else distance))
    return Leak(one.address, one.size, one.keeper, one.name, allocated, tuple(callers))
