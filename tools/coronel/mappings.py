"""Everything that a tree of x86-64 page tables maps, read from raw RAM: Intel SDM volume 3, section 4.5.

    with guest.paused():
        for mapping in mappings(guest.ram, guest.registers()[0]["cr3"]):
            assert not (mapping.writable and mapping.executable)

Nobody is asked: neither the kernel nor QEMU's monitor. Rights are those of the whole walk: a page is writable
when every level allows it, executable when none forbids it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE, PhysicalMemory

ENTRIES = 512
_PRESENT, _WRITE, _USER, _LARGE, _GLOBAL = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 8
_NO_EXECUTE = 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_LARGEST_LEAF = 3  # 1 GiB
_TABLE = struct.Struct(f"<{ENTRIES}Q")


@dataclass(frozen=True)
class Mapping:
    """`size` bytes of virtual memory at `address` that show physical memory from `physical` on."""

    address: int
    physical: int
    size: int
    writable: bool
    executable: bool
    user: bool
    everywhere: bool  # global: survives a change of the root

    @property
    def end(self) -> int:
        """One past the last virtual address."""
        return self.address + self.size

    @property
    def rights(self) -> str:
        """As `rwx`, with a dash for what is not allowed; `u` in front where user mode has them."""
        return (
            "u" if self.user else ""
        ) + f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}"

    def __str__(self) -> str:
        return f"{self.address:#018x} - {self.end:#018x} {self.rights} -> {self.physical:#x}"


def mappings(physical: PhysicalMemory, root: int, levels: int = 4) -> Iterator[Mapping]:
    """One for each entry that maps a page of any size, ascending.

    DecodeError for what no kernel may leave: a table outside RAM, a table that contains itself, a large page
    where the CPU has none, an address that is not a multiple of its page's size.
    """
    if levels not in (4, 5):
        raise DecodeError(f"{levels} levels of page tables: x86-64 has 4 or 5")
    yield from _walk(physical, root & _ADDRESS, levels, 0, _WRITE | _USER, (), levels)


def _walk(
    physical: PhysicalMemory,
    table: int,
    level: int,
    base: int,
    rights: int,
    above: tuple[int, ...],
    levels: int,
) -> Iterator[Mapping]:
    if table in above:
        raise DecodeError(f"the page table at {table:#x} contains itself, below virtual address {base:#x}")
    shift = PAGE_SHIFT + 9 * (level - 1)
    for index, entry in enumerate(_TABLE.unpack(physical.read(table, PAGE_SIZE))):
        if not entry & _PRESENT:
            continue
        # A right that one level refuses is refused; the bit that forbids execution is kept as it adds up.
        allowed = rights & entry & (_WRITE | _USER) | (rights | entry) & _NO_EXECUTE
        address = base | index << shift
        if level == 1 or entry & _LARGE:
            if level > _LARGEST_LEAF:
                raise DecodeError(f"a page at level {level}: entry {entry:#x} for {address:#x}")
            yield _leaf(address, entry, level, allowed, levels)
        else:
            yield from _walk(physical, entry & _ADDRESS, level - 1, address, allowed, (*above, table), levels)


def _leaf(address: int, entry: int, level: int, allowed: int, levels: int) -> Mapping:
    size = PAGE_SIZE << 9 * (level - 1)
    # In a large page bit 12 is an attribute (PAT), not an address.
    where = entry & _ADDRESS & (~(1 << PAGE_SHIFT) if level > 1 else -1)
    if where % size:
        raise DecodeError(f"a page of {size} bytes at physical {where:#x}: entry {entry:#x} for {address:#x}")
    top = 1 << (PAGE_SHIFT + 9 * levels - 1)
    if address & top:  # the upper half: canonical addresses repeat their highest bit
        address |= (1 << 64) - 2 * top
    return Mapping(
        address,
        where,
        size,
        writable=bool(allowed & _WRITE),
        executable=not allowed & _NO_EXECUTE,
        user=bool(allowed & _USER),
        everywhere=bool(entry & _GLOBAL),
    )


def merged(found: Iterable[Mapping]) -> list[Mapping]:
    """Neighbours that continue each other, virtually and physically and with the same rights, made one."""
    result: list[Mapping] = []
    for mapping in found:
        last = result[-1] if result else None
        if (
            last is not None
            and last.end == mapping.address
            and last.physical + last.size == mapping.physical
            and (last.rights, last.everywhere) == (mapping.rights, mapping.everywhere)
        ):
            result[-1] = Mapping(
                last.address, last.physical, last.size + mapping.size,
                last.writable, last.executable, last.user, last.everywhere,
            )  # fmt: skip
        else:
            result.append(mapping)
    return result


# mm/virtual/kernel_space.hpp
DIRECT_MAP, DIRECT_MAP_END = 0xFFFF_8000_0000_0000, 0xFFFF_E000_0000_0000
IMAGE, IMAGE_END = 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_C000_0000


def shown_memory(found: Iterable[Mapping]) -> list[Mapping]:
    """What a kernel's direct map shows of its memory: what is writable there, and the text and constants of
    its image, which are not. The rest of the direct map is what firmware keeps.
    """
    every = list(found)
    image = {mapping.physical for mapping in every if IMAGE <= mapping.address < IMAGE_END}
    direct = (mapping for mapping in every if DIRECT_MAP <= mapping.address < DIRECT_MAP_END)
    return [mapping for mapping in direct if mapping.writable or mapping.physical in image]


def physical_ranges(found: Iterable[Mapping]) -> list[tuple[int, int]]:
    """The memory behind mappings, [first, end), neighbours made one, whatever their rights."""
    result: list[tuple[int, int]] = []
    for start, end in sorted((mapping.physical, mapping.physical + mapping.size) for mapping in found):
        if result and result[-1][1] == start:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
