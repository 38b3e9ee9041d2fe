"""Page tables walked in raw RAM: hand-made ones, and damaged ones."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import pytest

from coronel.errors import DecodeError
from coronel.memory import KernelMemory, Memory, PhysicalMemory, Segment

MIB = 1 << 20
KERNEL = 0xFFFF_FFFF_8000_0000
PRESENT, HUGE, NX = 1, 1 << 7, 1 << 63
ROOT, PDPT, PD, PT = 0x1000, 0x2000, 0x3000, 0x4000

MakeRam = Callable[..., PhysicalMemory]


@pytest.fixture
def make_ram() -> Iterator[MakeRam]:
    files: list[int] = []

    def make(*segments: Segment) -> PhysicalMemory:
        files.append(os.memfd_create("test"))
        os.ftruncate(files[-1], sum(segment.size for segment in segments))
        return PhysicalMemory(files[-1], segments)

    yield make
    for fd in files:
        os.close(fd)


@pytest.fixture
def ram(make_ram: MakeRam) -> PhysicalMemory:
    """16 MiB in two pieces with a hole between, and tables that map a page of each kind."""
    memory = make_ram(Segment(0, 8 * MIB, 0), Segment(1 << 32, 8 * MIB, 8 * MIB))

    def entry(table: int, index: int, value: int) -> None:
        memory.write(table + 8 * index, struct.pack("<Q", value))

    entry(ROOT, 511, PDPT | PRESENT)
    entry(PDPT, 510, PD | PRESENT)
    entry(PD, 0, PT | PRESENT)
    entry(PT, 0, 0x10_0000 | PRESENT | NX)
    entry(PT, 1, 0x10_1000 | PRESENT)
    entry(PT, 2, (1 << 32) + 0x5000 | PRESENT)
    entry(PT, 3, 9 * MIB | PRESENT)  # a frame in the hole
    entry(PD, 1, 0x40_0000 | PRESENT | HUGE | 1 << 12)  # PAT of a large page is bit 12
    entry(PDPT, 511, 1 << 32 | PRESENT | HUGE)  # 1 GiB, of which 8 MiB are RAM
    entry(PD, 3, 0x7FFF_FFFF_F000 | PRESENT)  # a table far outside RAM
    memory.write(0x10_0000, b"first page".ljust(4096, b".") + b"second page")
    memory.write((1 << 32) + 0x5000, b"high page")
    memory.write(0x40_0000 + 0x1234, b"in a large page")
    return memory


def test_every_size_of_page(ram: PhysicalMemory) -> None:
    kernel = KernelMemory(ram, ROOT)

    assert isinstance(kernel, Memory)
    assert isinstance(ram, Memory)
    assert kernel.read(KERNEL, 10) == b"first page"
    assert kernel.read(KERNEL + 4090, 12) == b"......second"
    assert kernel.read(KERNEL + 0x2000, 9) == b"high page"
    assert kernel.read(KERNEL + 2 * MIB + 0x1234, 15) == b"in a large page"
    assert kernel.translate(KERNEL + (1 << 30) + 0x5004) == (1 << 32) + 0x5004
    assert kernel.read(KERNEL, 0) == b""


def test_a_range_over_pages_that_lie_apart(ram: PhysicalMemory) -> None:
    joined = KernelMemory(ram, ROOT).read(KERNEL, 3 * 4096)

    assert joined == ram.read(0x10_0000, 8192) + ram.read((1 << 32) + 0x5000, 4096)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (KERNEL + 0x4000, "is not mapped"),
        (KERNEL + 4 * MIB, "is not mapped"),
        (0, "is not mapped"),
        (KERNEL + 0x3000, "is not RAM"),
        (KERNEL + 6 * MIB, "level 1 table at 0x7ffffffff000"),
        (KERNEL + (1 << 30) + 8 * MIB, "is not RAM"),
        (0x8000_0000_0000, "not canonical"),
        (0xFFFF_7FFF_FFFF_FFFF, "not canonical"),
        (-1, "makes no sense"),
        ((1 << 64) - 1, "makes no sense"),
    ],
)
def test_what_cannot_be_read_says_why(ram: PhysicalMemory, address: int, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        KernelMemory(ram, ROOT).read(address, 8)


def test_five_levels(ram: PhysicalMemory) -> None:
    ram.write(0x8000 + 8 * 511, struct.pack("<Q", ROOT | PRESENT))

    assert KernelMemory(ram, 0x8000, levels=5).read(KERNEL, 5) == b"first"
    with pytest.raises(DecodeError, match="not mapped"):
        KernelMemory(ram, 0x8000, levels=5).read(0x8000_0000_0000, 5)  # canonical now
    with pytest.raises(DecodeError, match="4 or 5"):
        KernelMemory(ram, ROOT, levels=3)


def test_a_root_that_maps_itself_ends(ram: PhysicalMemory) -> None:
    ram.write(ROOT + 8 * 256, struct.pack("<Q", ROOT | PRESENT))
    base = 0xFFFF_8000_0000_0000 | 256 << 30 | 256 << 21 | 256 << 12

    assert KernelMemory(ram, ROOT).read(base, 8) == ram.read(ROOT, 8)


def test_translations_are_kept_until_they_are_invalidated(ram: PhysicalMemory) -> None:
    kernel = KernelMemory(ram, ROOT)
    kernel.read(KERNEL, 1)
    ram.write(PT, struct.pack("<Q", 0))

    assert kernel.read(KERNEL, 5) == b"first"
    kernel.invalidate()
    with pytest.raises(DecodeError):
        kernel.read(KERNEL, 5)


def test_the_cache_is_bounded(ram: PhysicalMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelMemory, "CACHE_LIMIT", 4)
    kernel = KernelMemory(ram, ROOT)
    kernel.read(KERNEL + 2 * MIB, 64 << 10)
    assert len(kernel._pages) <= 4


def test_a_write_goes_where_a_read_comes_from(ram: PhysicalMemory) -> None:
    kernel = KernelMemory(ram, ROOT)
    kernel.write(KERNEL + 2 * 4096 - 3, b"across")

    assert kernel.read(KERNEL + 2 * 4096 - 3, 6) == b"across"
    assert ram.read((1 << 32) + 0x5000, 3) == b"oss"


def test_populated_runs_lie_inside_their_segments(make_ram: MakeRam) -> None:
    ram = make_ram(Segment(0, 4 * MIB, 0), Segment(1 << 32, 4 * MIB, 4 * MIB))
    ram.write(4 * MIB - 4096, b"x" * 4096)
    ram.write(1 << 32, b"y" * 4096)  # adjacent in the file, far apart in memory

    assert list(ram.populated()) == [(4 * MIB - 4096, 4096), (1 << 32, 4096)]
    assert ram.contains(4 * MIB - 1)
    assert not ram.contains(4 * MIB - 1, 2)
    assert not ram.contains(4 * MIB)
