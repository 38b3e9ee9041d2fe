"""Calls of page tables, one or many at a time: the words that both bodies of KernelMM share."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from coronel.errors import MMError
from coronel.mm.pages import unsigned

# As MEMORY_TABLE_CALLS of mm/table_call.hpp, by what they do; how many numbers each takes.
LETTERS = {
    "pgd_alloc": "n",
    "pgd_free": "d",
    "map_range": "m",
    "unmap_range": "u",
    "protect_range": "p",
    "map_page": "M",
    "unmap_page": "U",
    "virt_to_phys": "q",
    "look": "l",
}
NUMBERS = {"n": 0, "d": 1, "m": 5, "u": 3, "p": 4, "M": 4, "U": 2, "q": 2, "l": 2}
NUMBERS_MOST = 5
_NX_TOLD, _LEVEL_SHIFT = 1 << 9, 13  # of what `look` returns


class PTEFlags(enum.IntFlag):
    """What a mapping is, in the bits of an entry on x86-64; PAT is the third bit of the cache type."""

    PRESENT = 1 << 0
    WRITE = 1 << 1
    USER = 1 << 2
    PWT = 1 << 3
    PCD = 1 << 4
    ACCESSED = 1 << 5  # told, not to be given, as the next
    DIRTY = 1 << 6
    HUGE = 1 << 7  # of map_page: 2 MiB
    GLOBAL = 1 << 8
    PAT = 1 << 12
    NX = 1 << 63


class TableOperation(NamedTuple):
    """One call: a letter of LETTERS and its numbers."""

    letter: str
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return self.letter + "/".join(map(hex, self.numbers))


class TableResult(NamedTuple):
    """What came of it."""

    value: int  # a root, a physical address, flags or 0; a negative errno when `why` says something
    why: str  # the kernel's words for what went wrong; empty when nothing did


def table_operation(name: str, *numbers: int) -> TableOperation:
    """The call of that name in LETTERS."""
    return TableOperation(LETTERS[name], tuple(map(int, numbers)))


def checked_tables(operations: Iterable[TableOperation]) -> list[TableOperation]:
    """The operations, when all of their numbers fit a call; else the MMError for the first that does not."""
    found = list(operations)
    for letter, numbers in found:
        if len(numbers) != NUMBERS.get(letter):
            raise MMError(f"invalid argument: no call {letter!r} of {len(numbers)} numbers", 22)
        for number in numbers:
            unsigned("number", number, 64)
    return found


def told_flags(value: int) -> tuple[PTEFlags, int]:
    """What `look` returned: flags, and the level of the entry (0: 4 KiB, 1: 2 MiB, 2: 1 GiB)."""
    level = value >> _LEVEL_SHIFT
    bits = value & ((1 << _LEVEL_SHIFT) - 1)
    flags = bits & ~_NX_TOLD | (PTEFlags.NX if bits & _NX_TOLD else 0)
    return PTEFlags(flags), level
