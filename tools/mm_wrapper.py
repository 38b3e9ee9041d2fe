"""KOS's Python face of the memory manager: the names a KOS user knows, and real numbers.

    import mm_wrapper

    mm = mm_wrapper.get_kernel_mm()                        # over the host library, in this process
    pfn = mm.alloc_pages(2, mm_wrapper.GFPFlags.KERNEL)    # a frame number, or None when memory is out
    mm.free_pages(pfn, 2)
    print(mm.get_memory_info())

    with coronel.guest.Guest(cmdline="on_misuse=refuse") as guest:
        mm = mm_wrapper.get_kernel_mm(guest)               # the same, over a kernel that runs

Only what the memory manager can do is here; names come with the floors that carry them. There is no mock:
where the library is missing, SetupError says how to build it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from coronel.errors import MMError
from coronel.mm.call_sites import CallSites
from coronel.mm.host import HostMachine, StressReport
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM, MemInfo, PageInfo
from coronel.mm.leaks import Leak
from coronel.mm.pages import GFPFlags
from coronel.mm.tables import PTEFlags

if TYPE_CHECKING:
    from coronel.guest import Guest
    from coronel.mm.guest_mm import GuestKernelMM

__all__ = [
    "CallSites",
    "GFPFlags",
    "KernelMM",
    "Leak",
    "MMError",
    "MemInfo",
    "PTEFlags",
    "PageInfo",
    "StressReport",
    "add_memory_range",
    "alloc_pages",
    "cache_alloc",
    "cache_free",
    "check_memory_leak",
    "create_cache",
    "destroy_cache",
    "dump_system_state",
    "free_pages",
    "get_buddy_stats",
    "get_call_sites",
    "get_heap_stats",
    "get_kernel_mm",
    "get_memory_info",
    "get_page_info",
    "get_slab_stats",
    "heap_free",
    "heap_malloc",
    "heap_realloc",
    "kcalloc",
    "kfree",
    "kfree_sized",
    "kmalloc",
    "kmalloc_array",
    "krealloc",
    "ksize",
    "kzalloc",
    "map_page",
    "pgd_alloc",
    "pgd_free",
    "stress_test",
    "unmap_page",
    "virt_to_phys_pgtable",
]

DEFAULT_MEMORY = "256M"  # of the process's own machine
DEFAULT_ROOM = 1 << 30  # bytes: how far memory can be added to it


@functools.cache
def _own() -> HostKernelMM:
    return HostKernelMM(HostMachine(DEFAULT_MEMORY, room_end=DEFAULT_ROOM))


@overload
def get_kernel_mm(over: None = None) -> HostKernelMM: ...
@overload
def get_kernel_mm(over: HostMachine) -> HostKernelMM: ...
@overload
def get_kernel_mm(over: Guest) -> GuestKernelMM: ...
def get_kernel_mm(over: HostMachine | Guest | None = None) -> KernelMM:
    """The memory manager of a host machine, or of the kernel in a guest. Without either the process's own
    one: 256 MiB, made when it is first asked for, to which memory can be added up to 1 GiB.
    """
    if over is None:
        return _own()
    if isinstance(over, HostMachine):
        return HostKernelMM(over)
    from coronel.mm.guest_mm import GuestKernelMM  # noqa: PLC0415  # QEMU's side, which few need

    return GuestKernelMM(over)


def alloc_pages(order: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().alloc_pages(order, gfp_flags)


def free_pages(pfn: int, order: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().free_pages(pfn, order)


def create_cache(name: str, size: int, align: int = 8) -> int:
    """As KernelMM's."""
    return get_kernel_mm().create_cache(name, size, align)


def destroy_cache(cache: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().destroy_cache(cache)


def cache_alloc(cache: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().cache_alloc(cache, gfp_flags)


def cache_free(cache: int, address: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().cache_free(cache, address)


def kmalloc(size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().kmalloc(size, gfp_flags)


def kzalloc(size: int, gfp_flags: int = GFPFlags.KERNEL) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().kzalloc(size, gfp_flags)


def kcalloc(count: int, size: int) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().kcalloc(count, size)


def kmalloc_array(count: int, size: int) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().kmalloc_array(count, size)


def krealloc(address: int, size: int) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().krealloc(address, size)


def kfree(address: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().kfree(address)


def kfree_sized(address: int, size: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().kfree_sized(address, size)


def ksize(address: int) -> int:
    """As KernelMM's."""
    return get_kernel_mm().ksize(address)


def heap_malloc(size: int, align: int = 0) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().heap_malloc(size, align)


def heap_realloc(address: int, size: int) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().heap_realloc(address, size)


def heap_free(address: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().heap_free(address)


def pgd_alloc() -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().pgd_alloc()


def pgd_free(pgd: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().pgd_free(pgd)


def map_page(pgd: int, virt: int, phys: int, flags: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().map_page(pgd, virt, phys, flags)


def unmap_page(pgd: int, virt: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().unmap_page(pgd, virt)


def virt_to_phys_pgtable(pgd: int, virt: int) -> int | None:
    """As KernelMM's."""
    return get_kernel_mm().virt_to_phys_pgtable(pgd, virt)


def get_slab_stats() -> dict[str, dict[str, int]]:
    """As KernelMM's."""
    return get_kernel_mm().get_slab_stats()


def get_call_sites() -> CallSites:
    """As KernelMM's."""
    return get_kernel_mm().get_call_sites()


def get_heap_stats() -> dict[str, Any]:
    """As KernelMM's."""
    return get_kernel_mm().get_heap_stats()


def add_memory_range(first: int, end: int) -> None:
    """As KernelMM's."""
    get_kernel_mm().add_memory_range(first, end)


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


def check_memory_leak(held: Iterable[int] = ()) -> list[Leak]:
    """As KernelMM's."""
    return get_kernel_mm().check_memory_leak(held)


def dump_system_state() -> str:
    """As KernelMM's."""
    return get_kernel_mm().dump_system_state()
