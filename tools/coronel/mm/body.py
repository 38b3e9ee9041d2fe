"""`Body`: what the bodies of KernelMM have in common, which is all but how the manager is called."""

from __future__ import annotations

import errno
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from coronel.artifact import Artifact
from coronel.build.symbols import call_namer
from coronel.errors import DecodeError, MMError
from coronel.memory import PAGE_SIZE
from coronel.mm.call_sites import CallSites, call_sites
from coronel.mm.heap import walk_heap
from coronel.mm.heap_view import heapinfo
from coronel.mm.host import StressReport
from coronel.mm.kernel_mm import MemInfo, PageInfo
from coronel.mm.leaks import Leak, LeakCount, leaks
from coronel.mm.magazines import read_caches
from coronel.mm.misuse import MisuseReport, last_misuse
from coronel.mm.objects import ObjectOperation, ObjectResult, checked_objects, operation
from coronel.mm.pages import GFPFlags, PageOperation, PageResult, allocation, checked, release
from coronel.mm.record import Tables
from coronel.mm.slabs import levels, read_heap
from coronel.mm.tables import (
    TableOperation,
    TableResult,
    checked_tables,
    table_operation,
)
from coronel.mm.tracks import NameCaller
from coronel.mm.who import Answer, who
from coronel.mm.zones import Physical, frame_at

if TYPE_CHECKING:
    from coronel.mm.walk import Walk


class Readable(Protocol):
    """Where a manager's state can be read: HostMachine, KernelState."""

    def still(self) -> AbstractContextManager[Tables]:
        """The tables, while nothing changes."""

    def walk(self, *, contents: bool = True) -> Walk:
        """Everything, and what is wrong with it."""


class Body(ABC):
    """A KernelMM over some `_state`, less the calls."""

    @property
    @abstractmethod
    def _state(self) -> Readable: ...

    @abstractmethod
    def _perform(self, operations: list[PageOperation]) -> list[PageResult]: ...

    @abstractmethod
    def _stress(self, operations: int, seed: int) -> StressReport: ...

    @abstractmethod
    def valid(self) -> bool:
        """As KernelMM's."""

    def still(self) -> AbstractContextManager[Tables]:
        """As KernelMM's."""
        return self._state.still()

    def alloc_pages(self, order: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """As KernelMM's."""
        wanted = allocation(order, gfp_flags)
        value, why = self.run([wanted])[0]
        if value == -errno.ENOMEM:
            return None
        if value < 0:
            raise MMError(f"{why}: {wanted}", -value)
        return value

    def free_pages(self, pfn: int, order: int) -> None:
        """As KernelMM's."""
        wanted = release(pfn, order)
        value, why = self.run([wanted])[0]
        if value < 0:
            raise MMError(f"{why}: {wanted}", -value)

    def run(self, operations: Iterable[PageOperation]) -> list[PageResult]:
        """As KernelMM's."""
        return self._perform(checked(operations))

    @abstractmethod
    def _perform_objects(self, operations: list[ObjectOperation]) -> list[ObjectResult]: ...

    def run_objects(self, operations: Iterable[ObjectOperation]) -> list[ObjectResult]:
        """As KernelMM's."""
        return self._perform_objects(checked_objects(operations))

    def cache_alloc(self, cache: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """As KernelMM's."""
        return self._address(operation("cache_alloc", cache, gfp_flags))

    def cache_free(self, cache: int, address: int) -> None:
        """As KernelMM's."""
        self._number(operation("cache_free", cache, address))

    def kmalloc(self, size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """As KernelMM's."""
        return self._address(operation("kmalloc", size, gfp_flags))

    def kzalloc(self, size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """As KernelMM's."""
        return self._address(operation("kzalloc", size, gfp_flags))

    def kcalloc(self, count: int, size: int) -> int | None:
        """As KernelMM's."""
        return self._address(operation("kcalloc", count, size))

    def kmalloc_array(self, count: int, size: int) -> int | None:
        """As KernelMM's."""
        return self._address(operation("kmalloc_array", count, size))

    def krealloc(self, address: int, size: int) -> int | None:
        """As KernelMM's."""
        return self._address(operation("krealloc", address, size))

    def kfree(self, address: int) -> None:
        """As KernelMM's."""
        self._number(operation("kfree", address))

    def kfree_sized(self, address: int, size: int) -> None:
        """As KernelMM's."""
        self._number(operation("kfree_sized", address, size))

    def ksize(self, address: int) -> int:
        """As KernelMM's."""
        return self._number(operation("ksize", address))

    def heap_malloc(self, size: int, align: int = 0) -> int | None:
        """As KernelMM's."""
        return self._address(operation("heap_malloc", size, align))

    def heap_realloc(self, address: int, size: int) -> int | None:
        """As KernelMM's."""
        return self._address(operation("heap_realloc", address, size))

    def heap_free(self, address: int) -> None:
        """As KernelMM's."""
        self._number(operation("heap_free", address))

    def heap_shrink(self) -> int:
        """As KernelMM's."""
        return self._number(operation("heap_shrink", 0))

    def _number(self, one: ObjectOperation) -> int:
        value, why = self.run_objects([one])[0]
        if why:
            raise MMError(f"{why}: {one}", -value)
        return value

    def _address(self, one: ObjectOperation) -> int | None:
        value, why = self.run_objects([one])[0]
        if why and value == -errno.ENOMEM:
            return None
        if why:
            raise MMError(f"{why}: {one}", -value)
        return value

    def who(self, address: int) -> Answer:
        """As KernelMM's."""
        with self._state.still() as tables:
            return who(tables, address, self.name_call)

    def last_misuse(self) -> MisuseReport | None:
        """As KernelMM's."""
        with self._state.still() as tables:
            return last_misuse(tables)

    @abstractmethod
    def find_leaks(self, held: Iterable[int] = ()) -> LeakCount:
        """As KernelMM's."""

    def leaks(self) -> list[Leak]:
        """As KernelMM's."""
        with self._state.still() as tables:
            return leaks(tables)

    def check_memory_leak(self, held: Iterable[int] = ()) -> list[Leak]:
        """As KernelMM's."""
        self.find_leaks(held)
        return self.leaks()

    @property
    @abstractmethod
    def _code(self) -> tuple[Artifact, int]:
        """The program, and how far from its own addresses it runs."""

    @functools.cached_property
    def name_call(self) -> NameCaller:
        """Puts an address that a call returns to into words, as the console."""
        return call_namer(*self._code)

    def function_at(self, address: int) -> str | None:
        """As KernelMM's."""
        program, slide = self._code
        found = program.function_at(address - slide)
        return found.name if found else None

    @abstractmethod
    def _perform_tables(self, operations: list[TableOperation]) -> list[TableResult]: ...

    def run_tables(self, operations: Iterable[TableOperation]) -> list[TableResult]:
        """As KernelMM's."""
        return self._perform_tables(checked_tables(operations))

    def _table(self, name: str, *numbers: int) -> int:
        one = table_operation(name, *numbers)
        value, why = self.run_tables([one])[0]
        if why:
            raise MMError(f"{why}: {name} {str(one)[1:]}".rstrip(), -value)
        return value

    def pgd_alloc(self) -> int | None:
        """As KernelMM's."""
        try:
            return self._table("pgd_alloc")
        except MMError as error:
            if error.errno == errno.ENOMEM:
                return None
            raise

    def pgd_free(self, pgd: int) -> None:
        """As KernelMM's."""
        self._table("pgd_free", pgd)

    def map_page(self, pgd: int, virt: int, phys: int, flags: int) -> None:
        """As KernelMM's."""
        self._table("map_page", pgd, virt, phys, flags)

    def unmap_page(self, pgd: int, virt: int) -> None:
        """As KernelMM's."""
        try:
            self._table("unmap_page", pgd, virt)
        except MMError as error:
            if error.errno == errno.EINVAL:
                raise MMError(f"{error}: no pgd, or inside of a page", errno.EINVAL) from None
            raise

    def virt_to_phys_pgtable(self, pgd: int, virt: int) -> int | None:
        """As KernelMM's."""
        try:
            return self._table("virt_to_phys", pgd, virt)
        except MMError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def get_slab_stats(self) -> dict[str, dict[str, int]]:
        """As KernelMM's."""
        found: dict[str, dict[str, int]] = {}
        with self._state.still() as tables:
            for cache in read_heap(tables).caches:
                now = levels(tables, cache)
                entry = found.setdefault(cache.name, {})
                counts = {
                    "allocated": now.active,
                    "cached": now.cached,
                    "objects": now.objects + now.guarded,
                    "slabs": now.slabs,
                }
                for name, count in counts.items():
                    entry[name] = entry.get(name, 0) + count
                entry["object_bytes"] = int(cache.record["object_bytes"])
        return found

    def get_heap_stats(self) -> dict[str, Any]:
        """As KernelMM's."""
        with self._state.still() as tables:
            return heapinfo(walk_heap(tables))

    def get_call_sites(self) -> CallSites:
        """As KernelMM's."""
        with self._state.still() as tables:
            return call_sites(tables)

    def walk(self) -> Walk:
        """As KernelMM's."""
        return self._state.walk()

    def get_memory_info(self) -> MemInfo:
        """As KernelMM's."""
        with self._state.still() as tables:
            physical = Physical.of(tables)
            zones = physical.zones(tables)
            cached = sum(cache.frames for cache in read_caches(tables, physical))
        present = int(physical.map["present_frames"])
        managed = sum(int(zone.lists["managed_frames"]) for zone in zones)
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
        """As KernelMM's."""
        with self._state.still() as tables:
            try:
                one = frame_at(tables, Physical.of(tables), pfn)
            except DecodeError as error:
                raise MMError(str(error)) from None
        frame = one.frame
        numbers = {name: int(frame[name]) for name in ("order", "references", "mappings", "flags")}
        return PageInfo(pfn, pfn * PAGE_SIZE, one.state_name, **numbers)

    def get_buddy_stats(self) -> dict[str, Any]:
        """As KernelMM's."""
        walk = self.walk()
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
        """As KernelMM's."""
        report = self._stress(operations, seed)
        if not self.valid():
            raise MMError("the memory manager's invariants do not hold after the stress test")
        return report

    def dump_system_state(self) -> str:
        """As KernelMM's."""
        walk = self.walk()
        counters = [f"{name}: {value}" for name, value in walk.counters.items()]
        return "\n".join([walk.summary(), *counters])
