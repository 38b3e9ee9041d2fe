"""What the heap says of the last misuse, out of raw memory, and errors made on purpose to compare it with.

report = last_misuse(tables)     # MisuseReport, or None when there was none
report.error, report.name, hex(report.address)
"""

from __future__ import annotations

from dataclasses import dataclass

from coronel.mm.layout import Struct
from coronel.mm.record import Tables

KMALLOC, KERNEL_HEAP = 0, 240  # `cache` of a break: HeapBreak::kKmalloc, kKernelHeap
SITES, OBJECTS = 8, 64  # HeapBreak::kSites, kObjects


@dataclass(frozen=True)
class HeapCall:
    """A call of the heap; `site`, an address behind it, is 0 where the profile records none."""

    site: int
    cpu: int
    ns: int


@dataclass(frozen=True)
class MisuseReport:
    """All that is known of one misuse."""

    number: int  # the machine's n-th
    error: str  # "double_free"
    keeper: str  # who has the memory: nobody, cache, large, kernel_heap
    name: str  # "kmalloc-64"; empty: nobody
    address: int
    object: int  # 0: none is known
    requested: int
    told: int
    given_to: str
    allocated: HeapCall
    freed: HeapCall
    caught: HeapCall


@dataclass(frozen=True)
class Break:
    """An error to make; mm/heap_break.hpp says what the numbers are."""

    kind: str
    cache: int = KMALLOC
    size: int = 64
    object: int = 0
    offset: int = 0
    site: int = 0

    def __str__(self) -> str:
        cache = {KMALLOC: "kmalloc", KERNEL_HEAP: "heap"}.get(self.cache, str(self.cache))
        return f"{self.kind} {cache} {self.size} {self.object} {self.offset} {self.site}"


@dataclass(frozen=True)
class Broken:
    """What was done: the object that was misused, the address that was freed wrongly or written to, and what
    the heap answered; empty when it noticed nothing.
    """

    object: int
    address: int
    why: str


def last_misuse(tables: Tables) -> MisuseReport | None:
    """The last misuse of the heap; None when there was none."""
    found = tables.read("MisuseReport", tables.manager()["misuse"])
    if found["number"] == 0:
        return None
    return MisuseReport(
        number=int(found["number"]),
        error=str(found["error"]),
        keeper=str(found["keeper"]),
        name=str(found["keeper_name"]),
        address=int(found["address"]),
        object=int(found["object"]),
        requested=int(found["requested"]),
        told=int(found["told"]),
        given_to=str(found["given_to"]),
        allocated=_call(found["allocated"]),
        freed=_call(found["freed"]),
        caught=_call(found["caught"]),
    )


def _call(record: Struct) -> HeapCall:
    return HeapCall(int(record["site"]), int(record["cpu"]), int(record["ns"]))
