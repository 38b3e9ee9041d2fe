"""`KernelMM`: the memory manager as a program sees it, whichever body it has: the host library, or a running
kernel. What is written against it runs on both.

    def fill(mm: KernelMM) -> list[int]:
        blocks = []
        while (pfn := mm.alloc_pages(3)) is not None:
            blocks.append(pfn)
        return blocks
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from coronel.mm.call_sites import CallSites
from coronel.mm.host import StressReport
from coronel.mm.leaks import Leak, LeakCount
from coronel.mm.misuse import Break, Broken, MisuseReport
from coronel.mm.objects import ObjectOperation, ObjectResult
from coronel.mm.pages import GFPFlags, PageOperation, PageResult
from coronel.mm.record import Tables
from coronel.mm.tables import TableOperation, TableResult

if TYPE_CHECKING:
    from coronel.mm.walk import Walk


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


class KernelMM(Protocol):
    """A memory manager that somebody runs. Failures are MMErrors with the kernel's words, the same on every
    body; what is refused has changed nothing. Under the policy on_misuse=panic a misuse stops the manager:
    MMError from the host library, KernelPanic, which is one, from a guest.
    """

    def alloc_pages(self, order: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """The first frame of a block of 2^order frames; None when memory is out, MMError for a bad
        argument.
        """

    def free_pages(self, pfn: int, order: int) -> None:
        """Takes a block back. MMError says what was wrong: double free, wrong order, wild, reserved,
        interior.
        """

    def run(self, operations: Iterable[PageOperation]) -> list[PageResult]:
        """Performs many operations in order, those after a failure too, and says what came of each. MMError,
        and none is performed, when the numbers of one do not fit a call.
        """

    def create_cache(self, name: str, size: int, align: int = 8, *, dma: bool = False) -> int:
        """Makes a cache of objects of `size` bytes; its number. MMError when it cannot be."""

    def destroy_cache(self, cache: int) -> None:
        """Ends a cache that create_cache() made; MMError while objects of it are allocated."""

    def cache_alloc(self, cache: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """The address of an object; None when memory is out."""

    def cache_free(self, cache: int, address: int) -> None:
        """Takes an object back. MMError says what was wrong: double, interior, wild, wrong cache."""

    def kmalloc(self, size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """The address of `size` bytes; None when memory is out."""

    def kzalloc(self, size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
        """The same, all zero."""

    def kcalloc(self, count: int, size: int) -> int | None:
        """The same for an array; MMError when its bytes are no size."""

    def kmalloc_array(self, count: int, size: int) -> int | None:
        """The same without the zeroes."""

    def krealloc(self, address: int, size: int) -> int | None:
        """The same bytes with room for `size`; None when memory is out, and nothing has changed. Address 0
        asks for new memory.
        """

    def kfree(self, address: int) -> None:
        """Takes back what kmalloc() or a sister returned; MMError as cache_free()."""

    def kfree_sized(self, address: int, size: int) -> None:
        """The same, and MMError when `size` is not what was asked for last."""

    def ksize(self, address: int) -> int:
        """Bytes that may be used there; MMError as kfree()."""

    def heap_malloc(self, size: int, align: int = 0) -> int | None:
        """The address of a block of the kernel heap, at a multiple of `align` where that is not 0; None when
        memory is out.
        """

    def heap_realloc(self, address: int, size: int) -> int | None:
        """Where the block lies now that it has `size` bytes; None, and nothing changed, when memory is out.
        Address 0 asks for a new block.
        """

    def heap_free(self, address: int) -> None:
        """Takes a block back; MMError says what was wrong with it."""

    def heap_shrink(self) -> int:
        """Gives back pages that the kernel heap has no use for; how many."""

    def run_objects(self, operations: Iterable[ObjectOperation]) -> list[ObjectResult]:
        """As run(), for calls of the floor of objects (`coronel.mm.objects`)."""

    def pgd_alloc(self) -> int | None:
        """An empty tree of page tables: the address of its root; None when memory is out."""

    def pgd_free(self, pgd: int) -> None:
        """Gives back the tree's tables; what they map is the caller's."""

    def map_page(self, pgd: int, virt: int, phys: int, flags: int) -> None:
        """Maps a page, with PTEFlags.HUGE one of 2 MiB. MMError when it cannot be; nothing has changed."""

    def unmap_page(self, pgd: int, virt: int) -> None:
        """Takes away the page of any size that begins there."""

    def virt_to_phys_pgtable(self, pgd: int, virt: int) -> int | None:
        """Where that byte is; None where nothing is mapped, MMError for an address that no CPU takes."""

    def run_tables(self, operations: Iterable[TableOperation]) -> list[TableResult]:
        """As run(), for calls of page tables (`coronel.mm.tables`)."""

    def read_memory(self, address: int, size: int) -> bytes:
        """Bytes at an address that an object was said to be at."""

    def write_memory(self, address: int, data: bytes) -> None:
        """Changes bytes there, from outside."""

    def who(self, address: int) -> dict[str, Any]:
        """Whose an address is, as Python finds it in memory (`coronel.mm.who`); DecodeError where nothing is
        mapped.
        """

    def break_heap(self, wanted: Break) -> Broken:
        """Makes an error in the use of the heap, on purpose. MMError when it makes no sense; under the policy
        `panic` as every misuse.
        """

    def last_misuse(self) -> MisuseReport | None:
        """What the heap reported last, as it stands in memory."""

    def find_leaks(self, held: Iterable[int] = ()) -> LeakCount:
        """Scans for objects that nothing leads to: nothing in the kernel, or in a host machine, and none of
        the addresses in `held`, which the caller knows. MMError in a build without debug_kmemleak.
        """

    def leaks(self) -> list[Leak]:
        """What the last scan reported and is allocated still, as it stands in memory, by address.
        DecodeError in a build without the option.
        """

    def clear_leaks(self) -> int:
        """Says that what was reported is known; how many that were. It is reported no more."""

    def check_memory_leak(self, held: Iterable[int] = ()) -> list[Leak]:
        """find_leaks(), and what it found."""

    def function_at(self, address: int) -> str | None:
        """The ELF name of the function of the manager's program that covers an address."""

    def get_slab_stats(self) -> dict[str, dict[str, int]]:
        """Of each cache by name: objects allocated, cached in magazines and in all, slabs, bytes of an
        object; as Python finds them in memory. Caches of one name are one.
        """

    def get_heap_stats(self) -> dict[str, Any]:
        """The kernel heap: bytes of all ranges, allocated, used with their headers, free; the largest free
        block; blocks, allocations, frees, failures, misuses; how often it grew and shrank; its ranges. As the
        console's `heapinfo`, but as Python finds it in memory.
        """

    def get_call_sites(self) -> CallSites:
        """What lives of the objects of each call that allocated some, as Python finds it in memory.
        DecodeError in a build without debug_slab.
        """

    def shrink(self) -> None:
        """Gives back what caches and the kernel heap hold and nobody uses."""

    def add_memory_range(self, first: int, end: int) -> None:
        """Puts frames [first, end) into service. MMError when it cannot be. A guest can add only what its
        kernel's option hold= kept back, a host machine what lies below its `room_end`.
        """

    def get_memory_info(self) -> MemInfo:
        """Levels now."""

    def get_page_info(self, pfn: int) -> PageInfo:
        """One frame; MMError when the machine has no such frame."""

    def get_buddy_stats(self) -> dict[str, Any]:
        """Free blocks of each order, from the zones' bits, and of each zone that has memory; levels in
        frames; every counter by name.
        """

    def quiesce(self) -> None:
        """Sends home what the CPUs' magazines hold, so that levels, counters and a walk agree."""

    def fail_nth(self, n: int) -> None:
        """Lets the n-th allocation from now on fail, once; 0 ends the plan. While one is armed the magazines
        are out of service.
        """

    def fail_pending(self) -> bool:
        """Whether the failure that was armed is still to come."""

    def fail_site(self) -> str | None:
        """What was refused when the armed failure came, in words; None while it is still to come, or none is
        armed.
        """

    def still(self) -> AbstractContextManager[Tables]:
        """The tables that describe the manager's memory, while nothing changes in it."""

    def walk(self) -> Walk:
        """What Python finds in the manager's memory, without asking it; see `coronel.mm.walker`."""

    def valid(self) -> bool:
        """Whether every invariant holds: by the library's own proof on the host, by Python's walk of a
        guest.
        """

    def stress_test(self, operations: int = 10_000, seed: int = 1) -> StressReport:
        """Random allocations, releases and misuses, the same on every body; everything is given back.
        MMError when it fails.
        """

    def dump_system_state(self) -> str:
        """Everything for people: levels, free blocks, counters, and what is wrong, if anything."""
