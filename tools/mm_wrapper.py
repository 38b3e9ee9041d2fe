"""KOS's Python face of the memory manager, over the host library: the names a KOS user knows, and real
numbers.

    import mm_wrapper

    mm = mm_wrapper.get_kernel_mm()
    pfn = mm.alloc_pages(2, mm_wrapper.GFPFlags.KERNEL)    # a frame number, or None when memory is out
    mm.free_pages(pfn, 2)
    print(mm.get_memory_info())

Only what the memory manager can do is here; names come with the floors that carry them. There is no mock:
where the library is missing, SetupError says how to build it. The same calls on a running kernel are its
shell's commands; see `coronel.guest`.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from coronel.errors import DecodeError, MMError
from coronel.memory import PAGE_SIZE
from coronel.mm.host import HostMachine, StressReport
from coronel.mm.magazines import read_caches
from coronel.mm.zones import Physical, frame_at

__all__ = [
    "GFPFlags",
    "KernelMM",
    "MMError",
    "MemInfo",
    "PageInfo",
    "StressReport",
    "alloc_pages",
    "dump_system_state",
    "free_pages",
    "get_buddy_stats",
    "get_kernel_mm",
    "get_memory_info",
    "get_page_info",
    "stress_test",
]

DEFAULT_MEMORY = "256M"


class GFPFlags(enum.IntFlag):
    """What kind of memory, and how much may be done to get it."""

    KERNEL = 1


@dataclass(frozen=True)
class MemInfo:
    """Levels of memory, in bytes."""

    total: int  # given to the frame allocator
    free: int  # in the zones and in the CPUs' magazines
    cached: int  # of these, in the magazines
    used: int
    present: int  # what the machine has
    reserved: int  # present, never handed out


@dataclass(frozen=True)
class PageInfo:
    """One frame."""

    pfn: int
    address: int  # physical
    # absent, reserved, free, allocated (first frame of a block), cached (that of a free block which is in a
    # CPU's magazine), inside (the rest of either)
    state: str
    order: int  # of the block that it heads, else 0
    references: int
    mappings: int
    flags: int


class KernelMM:
    """A memory manager over a machine of its own, 256 MiB unless told otherwise. Usable as a context
    manager.
    """

    def __init__(self, machine: HostMachine | None = None) -> None:
        self.machine = machine or HostMachine(DEFAULT_MEMORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.close()

    def alloc_pages(self, order: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """The first frame of a block of 2^order frames; None when memory is out, MMError for a bad
        argument.
        """
        return self.machine.alloc_pages(order, int(gfp_flags))

    def free_pages(self, pfn: int, order: int) -> None:
        """Takes a block back. MMError says what was wrong: double free, wrong order, wild, reserved,
        interior.
        """
        self.machine.free_pages(pfn, order)

    def get_memory_info(self) -> MemInfo:
        """Levels now."""
        tables = self.machine.tables
        physical = Physical.of(tables)
        zones = physical.zones(tables)
        present = int(physical.map["present_frames"])
        managed = sum(int(zone.lists["managed_frames"]) for zone in zones)
        cached = sum(cache.frames for cache in read_caches(tables, physical))
        free = sum(int(zone.lists["free_frames"]) for zone in zones) + cached
        return MemInfo(
            total=managed * PAGE_SIZE,
            free=free * PAGE_SIZE,
            cached=cached * PAGE_SIZE,
            used=(managed - free) * PAGE_SIZE,
            present=present * PAGE_SIZE,
            reserved=(present - managed) * PAGE_SIZE,
        )

    def get_page_info(self, pfn: int) -> PageInfo:
        """One frame; MMError when the machine has no such frame."""
        tables = self.machine.tables
        try:
            one = frame_at(tables, Physical.of(tables), pfn)
        except DecodeError as error:
            raise MMError(str(error)) from None
        frame = one.frame
        numbers = {name: int(frame[name]) for name in ("order", "references", "mappings", "flags")}
        return PageInfo(pfn, pfn * PAGE_SIZE, one.state_name, **numbers)

    def get_buddy_stats(self) -> dict[str, Any]:
        """Free blocks of each order, from the zones' bits, and of each zone that has memory; levels in
        frames; every counter by name.
        """
        walk = self.machine.walk()
        return {
            "free_blocks": list(walk.free_blocks),
            "zone_free_blocks": {
                zone.name: list(blocks)
                for zone, blocks in zip(walk.zones, walk.zone_free_blocks, strict=True)
                if zone.populated
            },
            "free_frames": walk.available,
            "cached_frames": walk.cached,
            "managed_frames": walk.managed,
            "largest_free_order": max(
                (n for n, blocks in enumerate(walk.free_blocks) if blocks), default=None
            ),
            "allocated_blocks": len(walk.allocated_blocks),
            **walk.counters,
        }

    def stress_test(self, operations: int = 10_000, seed: int = 1) -> StressReport:
        """Random allocations, releases and misuses; everything is given back. MMError when it fails."""
        report = self.machine.stress(operations, seed, hold=False)
        if not self.machine.valid():
            raise MMError("the memory manager's invariants do not hold after the stress test")
        return report

    def dump_system_state(self) -> str:
        """Everything for people: levels, free blocks, counters, and what is wrong, if anything."""
        walk = self.machine.walk()
        counters = [f"{name}: {value}" for name, value in walk.counters.items()]
        return "\n".join([walk.summary(), *counters])


@functools.cache
def get_kernel_mm() -> KernelMM:
    """The process's own memory manager, made when it is first asked for."""
    return KernelMM()


def alloc_pages(order: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().alloc_pages(order, gfp_flags)


def free_pages(pfn: int, order: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().free_pages(pfn, order)


def get_memory_info() -> MemInfo:
    """As KernelMM's."""
    return get_kernel_mm().get_memory_info()


def get_page_info(pfn: int) -> PageInfo:
    """As KernelMM's."""
    return get_kernel_mm().get_page_info(pfn)


def get_buddy_stats() -> dict[str, Any]:
    """As KernelMM's."""
    return get_kernel_mm().get_buddy_stats()


def stress_test(operations: int = 10_000, seed: int = 1) -> StressReport:
    """As KernelMM's."""
    return get_kernel_mm().stress_test(operations, seed)


def dump_system_state() -> str:
    """As KernelMM's."""
    return get_kernel_mm().dump_system_state()
