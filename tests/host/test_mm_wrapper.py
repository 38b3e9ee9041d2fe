"""KOS's Python face: the names, the shapes and real numbers behind them."""

from __future__ import annotations

import pytest

import mm_wrapper
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM


@pytest.fixture
def mm(library: HostLibrary) -> HostKernelMM:
    """16 MiB, 64 frames of it reserved."""
    return mm_wrapper.get_kernel_mm(HostMachine([(0, 4096)], [(0, 64)], library=library))


def test_memory_info_adds_up(mm: HostKernelMM) -> None:
    before = mm.get_memory_info()
    assert (before.present, before.reserved, before.used) == (4096 * 4096, 64 * 4096, 0)
    assert before.total == before.free == (4096 - 64) * 4096
    assert before.cached == 0
    mm.alloc_pages(5)
    after = mm.get_memory_info()
    assert (after.used, before.free - after.free) == (32 * 4096, 32 * 4096)


def test_what_a_magazine_holds_is_free(mm: HostKernelMM) -> None:
    """The kernel's MemFree: a request for one frame fetches several, and the others are still there."""
    pfn = mm.alloc_pages(0)
    assert pfn is not None
    info, stats, walk = mm.get_memory_info(), mm.get_buddy_stats(), mm.machine.walk()
    assert info.used == 4096
    assert info.cached == stats["cached_frames"] * 4096 == walk.cached * 4096 > 0
    assert info.free == stats["free_frames"] * 4096 == walk.available * 4096
    held = [block for magazine in walk.magazines for block in magazine.blocks]
    assert len(held) == walk.cached
    assert {mm.get_page_info(block).state for block in held} == {"cached"}
    mm.free_pages(pfn, 0)
    page = mm.get_page_info(pfn)
    assert (page.state, page.order, page.references) == ("cached", 0, 0)
    mm.machine.quiesce()
    assert mm.get_page_info(pfn).state == "free"
    assert (mm.get_memory_info().cached, mm.get_memory_info().used) == (0, 0)


def test_pages_are_what_they_are(mm: HostKernelMM) -> None:
    pfn = mm.alloc_pages(2, mm_wrapper.GFPFlags.KERNEL)
    assert pfn is not None
    head, inside = mm.get_page_info(pfn), mm.get_page_info(pfn + 3)
    assert (head.state, head.order, head.references, head.address) == ("allocated", 2, 1, pfn * 4096)
    assert (inside.state, inside.order, inside.references) == ("inside", 0, 0)
    assert mm.get_page_info(5).state == "reserved"
    with pytest.raises(mm_wrapper.MMError, match="not present"):
        mm.get_page_info(1 << 30)


def test_misuse_and_exhaustion(mm: HostKernelMM) -> None:
    pfn = mm.alloc_pages(0)
    assert pfn is not None
    mm.free_pages(pfn, 0)
    with pytest.raises(mm_wrapper.MMError, match="double free"):
        mm.free_pages(pfn, 0)
    with pytest.raises(mm_wrapper.MMError, match="invalid argument"):
        mm.alloc_pages(12)
    assert mm.alloc_pages(11) is not None
    assert mm.alloc_pages(11) is None


def test_buddy_stats_are_the_walks(mm: HostKernelMM) -> None:
    mm.alloc_pages(0)
    stats = mm.get_buddy_stats()
    in_zones = sum(blocks << order for order, blocks in enumerate(stats["free_blocks"]))
    assert stats["free_frames"] == in_zones + stats["cached_frames"] == 4031
    assert stats["zone_free_blocks"] == {"DMA": stats["free_blocks"]}
    assert (stats["managed_frames"], stats["allocated_blocks"], stats["frame_allocations"]) == (4032, 1, 1)
    assert stats["largest_free_order"] == 11


def test_stress_gives_everything_back(mm: HostKernelMM) -> None:
    report = mm.stress_test(2000, seed=5)
    assert report.operations == 2000
    assert mm.get_memory_info().used == 0


def test_the_dump_shows_levels_and_counters(mm: HostKernelMM) -> None:
    text = mm.dump_system_state()
    assert "4096 frames present, 4032 managed, 4032 free" in text
    assert "frame_allocations: 0" in text


def test_module_functions_share_one_manager() -> None:
    assert mm_wrapper.get_kernel_mm() is mm_wrapper.get_kernel_mm()
    used = mm_wrapper.get_memory_info().used
    pfn = mm_wrapper.alloc_pages(1)
    assert pfn is not None
    assert mm_wrapper.get_memory_info().used == used + 2 * 4096
    assert mm_wrapper.get_page_info(pfn).state == "allocated"
    assert mm_wrapper.get_buddy_stats()["allocated_blocks"] == 1
    mm_wrapper.free_pages(pfn, 1)
    assert mm_wrapper.stress_test(100).operations == 100
    assert "frames present" in mm_wrapper.dump_system_state()
