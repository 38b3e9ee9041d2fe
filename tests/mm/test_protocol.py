"""KernelMM: one protocol, and two bodies that answer alike, word for word."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mm_wrapper
from coronel.errors import GuestError, KernelPanic
from coronel.guest import Guest
from coronel.mm.guest_mm import MOST_OPERATIONS, GuestKernelMM
from coronel.mm.host import HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.pages import allocation, release
from mm_wrapper import GFPFlags, MMError

Act = Callable[[KernelMM, int], Any]

# What is wrong with each, given a block of order 2: the words are the kernel's, the rest is Python's.
WRONG: dict[str, tuple[Act, str]] = {
    "another order": (lambda mm, pfn: mm.free_pages(pfn, 1),
                      "freed with another order than it was allocated with: frame {0:#x}, order 1"),
    "interior": (lambda mm, pfn: mm.free_pages(pfn + 1, 0),
                 "free of the inside of a block: frame {1:#x}, order 0"),
    "wild": (lambda mm, _: mm.free_pages(1 << 30, 2),
             "free of a frame that does not exist: frame 0x40000000, order 2"),
    "wilder": (lambda mm, _: mm.free_pages((1 << 64) - 1, 2),
               "free of a frame that does not exist: frame 0xffffffffffffffff, order 2"),
    "reserved": (lambda mm, _: mm.free_pages(0, 0), "free of a reserved frame: frame 0x0, order 0"),
    "double": (lambda mm, pfn: [mm.free_pages(pfn, 2) for _ in range(2)],  # type: ignore[func-returns-value]
               "double free: frame {0:#x}, order 2"),
    "free of an order": (lambda mm, pfn: mm.free_pages(pfn, 12), "invalid argument: frame {0:#x}, order 12"),
    "order": (lambda mm, _: mm.alloc_pages(12), "invalid argument: order 12, gfp_flags 0x1"),
    "no flags": (lambda mm, _: mm.alloc_pages(0, 0), "invalid argument: order 0, gfp_flags 0x0"),
    "two zones": (lambda mm, _: mm.alloc_pages(0, GFPFlags.DMA | GFPFlags.HIGHMEM),
                  "invalid argument: order 0, gfp_flags 0x18"),
    "unknown flags": (lambda mm, _: mm.alloc_pages(0, 32), "invalid argument: order 0, gfp_flags 0x20"),
    "negative": (lambda mm, _: mm.alloc_pages(-1), "invalid argument: order -1"),
    "too large": (lambda mm, _: mm.alloc_pages(0, 1 << 32), "invalid argument: gfp_flags 4294967296"),
    "negative frame": (lambda mm, _: mm.free_pages(-1, 0), "invalid argument: pfn -1"),
    "frame too large": (lambda mm, _: mm.free_pages(1 << 64, 0),
                        "invalid argument: pfn 18446744073709551616"),
    "add nothing": (lambda mm, _: mm.add_memory_range(8192, 8192),
                    "invalid argument: frames [0x2000, 0x2000)"),
    "add backwards": (lambda mm, _: mm.add_memory_range(8193, 8192),
                      "invalid argument: frames [0x2001, 0x2000)"),
    "add what is there": (lambda mm, _: mm.add_memory_range(0, 256), "already present: frames [0x0, 0x100)"),
    "add too much": (lambda mm, _: mm.add_memory_range(1 << 51, (1 << 51) + 8),
                     "too big for its buffer or table: frames [0x8000000000000, 0x8000000000008)"),
    "fail in the past": (lambda mm, _: mm.fail_nth(-1), "invalid argument: n -1"),
    "no such frame": (lambda mm, _: mm.get_page_info(1 << 30),
                      "frame 1073741824 is not present: the frame array has no record of it"),
    "a seed that is none": (lambda mm, _: mm.stress_test(10, -1), "invalid argument: seed -1"),
}  # fmt: skip


def test_what_is_wrong_is_said_in_the_same_words_and_changes_nothing(mm: KernelMM) -> None:
    for name, (act, text) in WRONG.items():
        pfn = mm.alloc_pages(2)
        assert pfn is not None
        info = mm.get_memory_info()
        with pytest.raises(MMError) as caught:
            act(mm, pfn)
        assert str(caught.value) == text.format(pfn, pfn + 1), name
        assert not isinstance(caught.value, GuestError), name
        if name == "double":
            assert mm.alloc_pages(2) == pfn, "the block that was freed last is handed out first"
        assert mm.get_memory_info() == info, name
        mm.free_pages(pfn, 2)
    assert mm.valid()


def test_out_of_memory_is_none(mm: KernelMM) -> None:
    taken = []
    while (pfn := mm.alloc_pages(11, GFPFlags.HIGHMEM)) is not None:
        taken.append(pfn)
    assert len(taken) > 2
    assert mm.run([allocation(11)])[0] == (-errno.ENOMEM, "out of memory")
    for pfn in taken:
        mm.free_pages(pfn, 11)
    assert mm.get_memory_info().used == 0


def test_many_operations_are_as_many_calls(mm: KernelMM) -> None:
    count = 3 * MOST_OPERATIONS + 1  # more than one record, or one line, can hold
    blocks = [value for value, why in mm.run([allocation(0)] * count) if not why]
    assert len(set(blocks)) == count
    results = mm.run([release(pfn, n % 2) for n, pfn in enumerate(blocks)])
    wrong = (-errno.EINVAL, "freed with another order than it was allocated with")
    assert results == [(0, ""), wrong] * (count // 2) + [(0, "")]
    assert mm.get_memory_info().used == 4096 * (count // 2)
    with pytest.raises(MMError, match="invalid argument: order -1"):
        mm.run([release(blocks[1], 0), allocation(-1)])
    assert mm.get_page_info(blocks[1]).state == "allocated", "none of them was performed"
    assert mm.run([]) == []


def test_kinds_of_failure_with_one_errno_keep_their_words(mm: KernelMM) -> None:
    pfn = mm.alloc_pages(1)
    assert pfn is not None
    operations = [release(pfn, 0), release(pfn + 1, 0), release(0, 0), release(1 << 20, 0), allocation(12),
                  release(pfn, 1), release(pfn, 1), release(pfn, 0)]  # fmt: skip
    assert [why for _, why in mm.run(operations)] == [
        "freed with another order than it was allocated with",
        "free of the inside of a block",
        "free of a reserved frame",
        "free of a frame that does not exist",
        "invalid argument",
        "",
        "double free",
        "double free",
    ]


def test_added_memory_serves(body: Any) -> None:
    mm, (first, end) = body.mm, body.room
    before = mm.get_memory_info()
    mm.add_memory_range(first, end)
    after = mm.get_memory_info()
    assert after.present == before.present + 4096 * (end - first)
    described = (after.reserved - before.reserved) // 4096  # its first frames may describe the others
    assert 0 <= described < (end - first) // 100
    assert mm.get_page_info(end - 1).state == "free"
    with pytest.raises(MMError, match="already present: frames"):
        mm.add_memory_range(first, end)
    with pytest.raises(MMError, match="already present: frames"):
        mm.add_memory_range(first - 1, end)
    assert mm.valid()


def test_stress_and_the_tables_are_the_same(bodies: tuple[KernelMM, KernelMM], coronel_seed: int) -> None:
    guest, host = bodies
    assert guest.stress_test(5000, coronel_seed) == host.stress_test(5000, coronel_seed)
    assert guest.get_memory_info() == host.get_memory_info()
    first, second = guest.get_buddy_stats(), host.get_buddy_stats()
    assert {**first, "frames_early": 0} == {**second, "frames_early": 0}
    assert guest.dump_system_state().splitlines()[0] == host.dump_system_state().splitlines()[0]


def test_kos_readme_session(mm: KernelMM) -> None:
    """What KOS shows a newcomer: every kind of allocation, back again, more memory, the numbers, an error."""
    kinds = [GFPFlags.KERNEL, GFPFlags.ATOMIC, GFPFlags.USER, GFPFlags.HIGHMEM | GFPFlags.USER, GFPFlags.DMA]
    before = mm.get_memory_info()
    blocks = [(mm.alloc_pages(order, kind), order) for order in range(4) for kind in kinds]
    assert mm.get_memory_info().used == before.used + 4096 * len(kinds) * (1 + 2 + 4 + 8)
    for pfn, order in blocks:
        assert pfn is not None
        assert pfn % (1 << order) == 0
        assert mm.get_page_info(pfn).order == order
    assert all(mm.get_page_info(pfn).address < 16 << 20 for pfn, _ in blocks[4::5] if pfn is not None)
    for pfn, order in blocks:
        assert pfn is not None
        mm.free_pages(pfn, order)
    mm.add_memory_range(32 << 8, 33 << 8)
    assert mm.get_memory_info().present == before.present + (1 << 20)
    assert mm.get_buddy_stats()["allocated_blocks"] == 0
    assert "frames present" in mm.dump_system_state()
    pfn, order = blocks[0]
    assert pfn is not None
    with pytest.raises(MMError, match="double free"):
        mm.free_pages(pfn, order)


@pytest.mark.guest(memory="32M")
def test_a_misuse_stops_a_kernel_that_does_not_refuse(guest: Guest) -> None:
    mm = mm_wrapper.get_kernel_mm(guest)
    with pytest.raises(KernelPanic, match="free of a reserved frame") as caught:
        mm.free_pages(0, 0)
    assert isinstance(caught.value, MMError)


@pytest.mark.machine(memory="32M", on_misuse="panic")
def test_a_misuse_kills_a_host_machine_that_does_not_refuse(machine: HostMachine) -> None:
    mm = mm_wrapper.get_kernel_mm(machine)
    assert mm.machine is machine
    with pytest.raises(MMError, match="it panicked: free of a frame that does not exist"):
        mm.free_pages(1 << 30, 0)
    with pytest.raises(MMError, match="is dead"):
        mm.run([allocation(0)])


@pytest.mark.guest(memory="32M", cmdline="on_misuse=refuse")
def test_the_plugins_fixture_is_a_body(kernel_mm: GuestKernelMM) -> None:
    with pytest.raises(MMError, match="free of a reserved frame: frame 0x0, order 0"):
        kernel_mm.free_pages(0, 0)
    assert kernel_mm.valid()


@pytest.mark.guest(memory="32M", cmdline="on_misuse=refuse")
def test_the_longest_reply_fits_and_one_more_is_refused(kernel_mm: GuestKernelMM) -> None:
    longest = ["f0/0"] * MOST_OPERATIONS  # no error has a longer name
    channel = kernel_mm.guest.channel
    reply = channel.call("pages", *longest)
    assert reply["results"] == [-errno.EINVAL] * MOST_OPERATIONS
    assert reply["errors"] == ["reserved_free"] * MOST_OPERATIONS
    assert reply["texts"] == {"reserved_free": "free of a reserved frame"}
    (refused,) = channel.batch([" ".join(["pages", *["f0/0"] * (MOST_OPERATIONS + 1)])])
    assert (refused.status, refused.error) == (errno.E2BIG, "at most 512 operations at once, not 513")
    assert kernel_mm.walk().counters["frame_misuses"] == MOST_OPERATIONS


@pytest.fixture
def own() -> Iterator[HostKernelMM]:
    mm = mm_wrapper.get_kernel_mm()
    yield mm
    assert mm.get_memory_info().used == 0


def test_module_functions_are_the_processs_own_manager(own: HostKernelMM) -> None:
    assert mm_wrapper.get_kernel_mm() is own
    pfn = mm_wrapper.alloc_pages(3, GFPFlags.ATOMIC)
    assert pfn is not None
    present = mm_wrapper.get_memory_info().present
    mm_wrapper.add_memory_range(present // 4096, present // 4096 + 256)
    assert mm_wrapper.get_memory_info().present == present + (1 << 20)
    mm_wrapper.free_pages(pfn, 3)
