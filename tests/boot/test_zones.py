"""Zones of a real machine: high memory behind a small direct map, and memory that comes while it runs."""

from __future__ import annotations

import pytest

from coronel.errors import MMError
from coronel.guest import Channel, Guest
from coronel.memory import PAGE_SIZE
from coronel.mm.kernel import KernelState
from coronel.mm.zones import State

MIB = 1 << 20
HELD = (128 * MIB, 192 * MIB)
OPTIONS = "directmap=64M hold=128M+64M on_misuse=refuse"
KERNEL, ATOMIC, HIGHMEM, DMA = 1, 2, 8, 16
INVALID, EXISTS, NO_MEMORY = 22, 17, 12

pytestmark = pytest.mark.guest(memory="256M", timeout=60, cmdline=OPTIONS)


@pytest.fixture
def channel(guest: Guest) -> Channel:
    guest.wait_ready()
    return guest.channel


def frames(first: int, end: int) -> tuple[int, int]:
    return first // PAGE_SIZE, end // PAGE_SIZE


def free_of(channel: Channel) -> dict[str, int]:
    return {zone["zone"]: zone["pages"]["free"] for zone in channel.call("zoneinfo")}


def test_high_memory_is_handed_out_and_comes_back(kernel: KernelState, channel: Channel) -> None:
    before = free_of(channel)
    assert set(before) == {"DMA", "DMA32", "HighMem"}
    high, low = channel.call("pages", f"a9/{HIGHMEM}", f"a9/{KERNEL}")["results"]
    assert high * PAGE_SIZE >= 64 * MIB > low * PAGE_SIZE
    assert free_of(channel)["HighMem"] == before["HighMem"] - 512
    walk = kernel.walk()
    walk.check()
    assert walk.state(high) is State.allocated
    assert channel.call("pages", f"f{high}/9", f"f{low}/9")["results"] == [0, 0]
    assert free_of(channel) == before


def test_held_memory_is_not_there_until_it_is_added(kernel: KernelState, channel: Channel) -> None:
    first, end = frames(*HELD)
    before = kernel.walk()
    before.check()
    assert before.state(first) is State.absent
    assert before.state(end - 1) is State.absent
    present = channel.call("meminfo")["MemPresent"]
    channel.call("addmem", hex(HELD[0]), hex(HELD[1]))
    after = kernel.walk()
    after.check()
    assert channel.call("meminfo")["MemPresent"] == present + 64 * 1024
    assert after.present == before.present + end - first
    taken = after.reserved - before.reserved  # what describes it lies at its start, and is little
    assert 0 < taken < (end - first) // 50
    assert [after.state(frame) for frame in (first, first + taken - 1)] == [State.reserved] * 2
    assert after.state(first + taken) is State.free
    (frame,) = channel.call("pages", f"a11/{HIGHMEM}")["results"]
    assert frame > 0
    kernel.walk().check()


def test_memory_is_added_when_nothing_is_free(kernel: KernelState, channel: Channel) -> None:
    """Its tables and records come out of itself."""
    for flags in (HIGHMEM | ATOMIC, ATOMIC, ATOMIC | DMA):
        for order in (11, 9, 6, 3, 0):
            results: list[int] = []
            while not results or results[-1] >= 0:
                results = channel.call("pages", *[f"a{order}/{flags}"] * 100)["results"]
    assert channel.call("meminfo")["MemFree"] == 0
    channel.call("addmem", hex(HELD[0]), hex(HELD[1]))
    assert channel.call("meminfo")["MemFree"] > 60 * 1024
    (frame,) = channel.call("pages", f"a10/{HIGHMEM}")["results"]
    assert frames(*HELD)[0] <= frame < frames(*HELD)[1]
    kernel.walk().check()


@pytest.mark.parametrize(
    ("first", "end", "status"),
    [
        (HELD[0], HELD[0], INVALID),
        (HELD[0] + 1, HELD[1], INVALID),
        (HELD[1], HELD[0], INVALID),
        (HELD[0] - PAGE_SIZE, HELD[1], EXISTS),
        (HELD[0], HELD[1] + PAGE_SIZE, EXISTS),
        (0, PAGE_SIZE, EXISTS),
        (HELD[0], HELD[0] + PAGE_SIZE, INVALID),  # too little to describe itself
    ],
)
def test_a_wrong_range_changes_nothing(
    kernel: KernelState, channel: Channel, first: int, end: int, status: int
) -> None:
    before = channel.batch(["meminfo", "buddyinfo", "zoneinfo"])
    with pytest.raises(MMError) as refused:
        channel.call("addmem", str(first), str(end))
    assert refused.value.errno == status
    after = channel.batch(["meminfo", "buddyinfo", "zoneinfo"])
    assert [one.value for one in after] == [one.value for one in before]
    kernel.walk().check()


def test_memory_is_added_once_and_in_parts(kernel: KernelState, channel: Channel) -> None:
    middle = HELD[0] + 32 * MIB
    channel.call("addmem", str(middle), str(HELD[1]))
    channel.call("addmem", str(HELD[0]), str(middle))
    for first, end in ((HELD[0], HELD[1]), (middle, HELD[1]), (middle - PAGE_SIZE, middle + PAGE_SIZE)):
        with pytest.raises(MMError) as refused:
            channel.call("addmem", str(first), str(end))
        assert refused.value.errno == EXISTS
    walk = kernel.walk()
    walk.check()
    assert len(walk.present_ranges) == 2  # below 640 KiB, and the rest without a gap


def test_the_nth_allocation_fails_and_nothing_is_lost(kernel: KernelState, channel: Channel) -> None:
    free = channel.call("meminfo")["MemFree"]
    for n in range(1, 9):
        channel.call("failnth", n)
        if n <= 6:
            with pytest.raises(MMError, match=f"after {n - 1} of 6 blocks; those are given back"):
                channel.call("alloc", 3, 6)
        else:
            channel.call("alloc", 3, 6)
            channel.call("free", "all")
        told = channel.call("failnth", 0)
        assert told["armed"] == "no"
        assert channel.call("meminfo")["MemFree"] == free
    channel.call("failnth", 1)
    with pytest.raises(MMError) as refused:
        channel.call("addmem", hex(HELD[0]), hex(HELD[1]))
    assert refused.value.errno == NO_MEMORY
    told = channel.call("failnth")
    assert told["struck_at"] == "section_storage"
    assert told["refused"] == "the storage that describes added memory"
    channel.call("failnth", 0)
    channel.call("addmem", hex(HELD[0]), hex(HELD[1]))
    kernel.walk().check()


@pytest.mark.guest(memory="256M", timeout=60, cmdline="hold=128M+64M")
def test_added_memory_is_used_like_any_other(kernel: KernelState, channel: Channel) -> None:
    """In the direct map, too: the stress test writes into what it is given."""
    channel.call("addmem", hex(HELD[0]), hex(HELD[1]))
    kernel.walk().check()
    report = channel.call("stress", "pages", 30_000, seed=7)
    assert report["allocations"] > 5_000
    kernel.walk().check()
    channel.call("quiesce")
    info = channel.call("meminfo")
    assert info["MemFree"] == info["MemTotal"]
