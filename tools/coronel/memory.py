"""`Memory`: anything that bytes can be read from, and the two that every guest has.

`PhysicalMemory` reads a guest's RAM from the file that backs it, while it runs. `KernelMemory` reads the same
bytes by virtual address: it walks the guest's page tables itself, in raw RAM, as the manual says (Intel SDM
volume 3, section 4.5, "4-level paging and 5-level paging"), and asks nobody.

Reads of a running guest are not atomic: stop it first (`Guest.paused()`) when two bytes have to agree.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from coronel.errors import DecodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT


@runtime_checkable
class Memory(Protocol):
    """Anything bytes can be read from: a live guest, a core file, the host library, GDB."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`, or DecodeError; never fewer."""


@dataclass(frozen=True)
class Segment:
    """`size` bytes of RAM at physical `address`, kept at `offset` of the backing file."""

    address: int
    size: int
    offset: int

    @property
    def end(self) -> int:
        """One past the last physical address."""
        return self.address + self.size


class PhysicalMemory:
    """A guest's RAM by physical address, over a file descriptor that stays the caller's.

    Only RAM is here: what the guest sees at 0xa0000-0xfffff (video memory, firmware) may differ, and
    addresses of devices are DecodeError. `read` and `write` never make the host commit memory that the guest
    has not touched, except for the bytes written; `view` and `array` do when a hole is looked at: walk
    `populated()` first.
    """

    def __init__(self, fd: int, segments: Sequence[Segment]) -> None:
        self._fd = fd
        self.segments = tuple(sorted(segments, key=lambda segment: segment.address))
        self.size = sum(segment.size for segment in self.segments)
        self._map: mmap.mmap | None = None

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at physical `address`, or DecodeError."""
        data = os.pread(self._fd, size, self._offset(address, size))
        if len(data) != size:
            raise DecodeError(f"physical memory [{address:#x}, {address + size:#x}) is not backed")
        return data

    def write(self, address: int, data: bytes) -> None:
        """Changes guest RAM behind the guest's back. Code already translated stays as it was."""
        os.pwrite(self._fd, data, self._offset(address, len(data)))

    def view(self, address: int, size: int) -> memoryview:
        """The bytes themselves, not a copy: they change while the guest runs."""
        offset = self._offset(address, size)
        if self._map is None:
            self._map = mmap.mmap(self._fd, 0, prot=mmap.PROT_READ)
        return memoryview(self._map)[offset : offset + size]

    def array(self, address: int, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """`count` elements at physical `address` as a read-only numpy array over the bytes themselves."""
        import numpy as np  # noqa: PLC0415  # a tenth of a second that most commands need not pay

        kind: np.dtype[Any] = np.dtype(dtype)
        return np.frombuffer(self.view(address, kind.itemsize * count), dtype=kind)

    def populated(self) -> Iterator[tuple[int, int]]:
        """(address, size) of the runs that hold data, ascending; everything else reads as zero."""
        for segment in self.segments:
            position, end = segment.offset, segment.offset + segment.size
            while position < end:
                try:
                    start = os.lseek(self._fd, position, os.SEEK_DATA)
                except OSError:  # ENXIO: holes up to the end of the file
                    break
                if start >= end:
                    break
                position = min(os.lseek(self._fd, start, os.SEEK_HOLE), end)
                yield segment.address + start - segment.offset, position - start

    def contains(self, address: int, size: int = 1) -> bool:
        """Whether all of [address, address + size) is RAM in one piece."""
        return size >= 0 and any(s.address <= address and address + size <= s.end for s in self.segments)

    def close(self) -> None:
        """Gives the mapping back. Views that are still held keep it alive."""
        if self._map is not None:
            with suppress(BufferError):  # views are still held: the last one closes it
                self._map.close()
            self._map = None

    def _offset(self, address: int, size: int) -> int:
        if size < 0:
            raise DecodeError(f"a read of {size} bytes makes no sense")
        for segment in self.segments:
            if segment.address <= address and address + size <= segment.end:
                return segment.offset + address - segment.address
        raise DecodeError(f"physical memory [{address:#x}, {address + size:#x}) is not RAM of this machine")


_PRESENT = 1 << 0
_HUGE = 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
_TABLE = struct.Struct("<512Q")
_LARGEST_LEAF = 3  # levels: 1 is the page table, 2 the directory (2 MiB), 3 the pointer table (1 GiB)


class KernelMemory:
    """Virtual memory as the page tables at physical `root` map it.

    Translations are remembered: call `invalidate()` after the guest has run if its mappings may have changed.
    `levels` is 4, or 5 when CR4.LA57 is set.
    """

    CACHE_LIMIT = 8192  # pages remembered
    TABLES_LIMIT = 256  # tables remembered, 512 entries each

    def __init__(self, physical: PhysicalMemory, root: int, levels: int = 4) -> None:
        if levels not in (4, 5):
            raise DecodeError(f"{levels} levels of page tables: x86-64 has 4 or 5")
        self.physical = physical
        self.root = root & _ADDRESS
        self.levels = levels
        self._pages: dict[int, int] = {}
        self._tables: dict[int, tuple[int, ...]] = {}

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at virtual `address`, or DecodeError that names the first page without a
        mapping.
        """
        return b"".join(self.physical.read(start, length) for start, length in self._runs(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Changes guest memory behind the guest's back, whatever the mapping's protection."""
        position = 0
        for start, length in self._runs(address, len(data)):
            self.physical.write(start, data[position : position + length])
            position += length

    def translate(self, address: int) -> int:
        """The physical address behind virtual `address`, or DecodeError."""
        page = address >> PAGE_SHIFT
        base = self._pages.get(page)
        if base is None:
            base = self._walk(page << PAGE_SHIFT)
            if len(self._pages) >= self.CACHE_LIMIT:
                self._pages.clear()
            self._pages[page] = base
        return base + (address & (PAGE_SIZE - 1))

    def invalidate(self) -> None:
        """Forgets every translation."""
        self._pages.clear()
        self._tables.clear()

    def _runs(self, address: int, size: int) -> list[tuple[int, int]]:
        """Physically contiguous (address, size) pieces of a virtual range, in order."""
        if size < 0 or address < 0 or address + size > 1 << 64:
            raise DecodeError(f"virtual range of {size} bytes at {address:#x} makes no sense")
        runs: list[tuple[int, int]] = []
        end = address + size
        while address < end:
            physical = self.translate(address)
            length = min(end - address, PAGE_SIZE - (address & (PAGE_SIZE - 1)))
            if (
                runs
                and sum(runs[-1]) == physical
                and self.physical.contains(runs[-1][0], runs[-1][1] + length)
            ):
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((physical, length))
            address += length
        return runs

    def _walk(self, address: int) -> int:
        unused = 64 - (PAGE_SHIFT + 9 * self.levels)
        sign = address >> (63 - unused)
        if sign not in (0, (1 << (unused + 1)) - 1):
            raise DecodeError(f"virtual address {address:#x} is not canonical with {self.levels} levels")
        table = self.root
        for level in range(self.levels, 0, -1):
            shift = PAGE_SHIFT + 9 * (level - 1)
            try:
                entry = self._entries(table)[address >> shift & 0x1FF]
            except DecodeError as error:
                raise DecodeError(
                    f"virtual address {address:#x}: level {level} table at {table:#x}: {error}"
                ) from None
            if not entry & _PRESENT:
                raise DecodeError(
                    f"virtual address {address:#x} is not mapped (level {level} entry {entry:#x})"
                )
            table = entry & _ADDRESS
            if level == 1 or (entry & _HUGE and level <= _LARGEST_LEAF):
                within = (1 << shift) - 1
                return (table & ~within) | (address & within)
        raise AssertionError("a walk ends at level 1")

    def _entries(self, table: int) -> tuple[int, ...]:
        entries = self._tables.get(table)
        if entries is None:
            entries = _TABLE.unpack(self.physical.read(table, _TABLE.size))
            if len(self._tables) >= self.TABLES_LIMIT:
                self._tables.clear()
            self._tables[table] = entries
        return entries
