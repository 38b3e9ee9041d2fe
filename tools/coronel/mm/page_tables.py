"""Page tables in raw memory: the way to an address, what a root points to, and numbers by level. Intel SDM
volume 3A, section 4.5. Nobody is asked, and the kernel's code is not followed: entries are words, and the
walk is the manual's.

    tree = kernel_tree(tables)          # or Tree.at(tables, root)
    path = tree.path(0xFFFF_8000_0000_0000)
    path.physical                       # None where nothing is mapped

`path_view`, `root_view` and `census_view` are what the console's `pagetables ADDR`, `pagetables` and `pgstat`
say. Needs nothing but Python.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE, KernelMemory
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, frame_at

ENTRIES = 512
NAMES = ("PTE", "PMD", "PUD", "P4D")
CACHE_TYPES = (
    "write-back", "write-through", "uncached-minus", "uncached", "write-combining", "write-protected",
)  # fmt: skip
_LARGEST_LEAF = 2  # the level of an entry that maps 1 GiB
_PRESENT, _LARGE = 1 << 0, 1 << 7
_NO_EXECUTE = 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_TABLE = struct.Struct(f"<{ENTRIES}Q")
_FLAGS = (("w", 1 << 1), ("u", 1 << 2), ("g", 1 << 8), ("a", 1 << 5), ("d", 1 << 6))

View = dict[str, Any]  # as the command's JSON


def maps(entry: int, level: int) -> bool:
    """Whether a present entry of that level maps a page."""
    return level == 0 or bool(entry & _LARGE)


def page_size(level: int) -> int:
    """What one entry of that level covers."""
    return PAGE_SIZE << 9 * level


def physical_of(entry: int, level: int) -> int:
    """Where the page begins that an entry maps; bit 12 of a large one is an attribute."""
    return entry & _ADDRESS & (~(1 << PAGE_SHIFT) if level else -1)


def cache_type(entry: int, level: int) -> str:
    """How the page is cached, by the PAT as the kernel programs it."""
    pat = 1 << 12 if level else 1 << 7
    index = (entry >> 3 & 1) | (entry >> 4 & 1) << 1 | (4 if entry & pat else 0)
    return CACHE_TYPES[index] if index < len(CACHE_TYPES) else "?"


def flags_text(entry: int, level: int) -> str:
    """As "rwxugadh", a dash for each bit that is not set; a lone dash for an absent entry."""
    if not entry & _PRESENT:
        return "-"
    leaf = maps(entry, level)
    shown = {letter: bool(entry & bit) and (leaf or letter in "wua") for letter, bit in _FLAGS}
    shown |= {"r": True, "x": not entry & _NO_EXECUTE, "h": level > 0 and bool(entry & _LARGE)}
    return "".join(letter if shown[letter] else "-" for letter in "rwxugadh")


@dataclass(frozen=True)
class Step:
    """One entry on the way."""

    level: int
    table: int  # the physical address of its table
    index: int
    entry: int
    live: int  # present entries of the table

    @property
    def present(self) -> bool:
        """Whether the way goes on, or ends with a page."""
        return bool(self.entry & _PRESENT)


@dataclass(frozen=True)
class Path:
    """The entries from the root down to where the way ends."""

    address: int
    steps: tuple[Step, ...]

    @property
    def physical(self) -> int | None:
        """Where that byte is."""
        last = self.steps[-1]
        if not last.present:
            return None
        return physical_of(last.entry, last.level) + self.address % page_size(last.level)


@dataclass(frozen=True)
class Tree:
    """A tree of page tables: where its root is, and how many levels it has."""

    read: Callable[[int], bytes]  # a table, by its frame's number
    root: int
    levels: int
    is_reserved: Callable[[int], bool]  # whether a frame was made at boot

    @classmethod
    def at(cls, tables: Tables, root: int) -> Tree:
        """The tree with that root table; its Frame says how high it is. DecodeError when it is none."""
        physical = Physical.of(tables)
        frame = frame_at(tables, physical, root >> PAGE_SHIFT).frame
        if frame["tag"] != tables.enum("FrameTag")["page_table"] or frame["owner"] != root:
            raise DecodeError(f"frame {root >> PAGE_SHIFT} is no root of page tables")
        levels = int(frame["index"]) + 1
        if levels not in (4, 5):
            raise DecodeError(f"a tree of {levels} levels: x86-64 has 4 or 5")

        def is_reserved(number: int) -> bool:
            return frame_at(tables, physical, number).state_name == "reserved"

        return cls(_reader(tables, physical), root, levels, is_reserved)

    def table(self, address: int) -> tuple[int, ...]:
        """The words of the table at a physical address."""
        return _TABLE.unpack(self.read(address >> PAGE_SHIFT))

    def canonical(self, bits: int) -> int:
        """The address that is translated by these bits."""
        width = PAGE_SHIFT + 9 * self.levels
        low = bits & ((1 << width) - 1)
        return low | ((1 << 64) - (1 << width) if low >> (width - 1) else 0)

    def path(self, address: int) -> Path:
        """The way to an address; DecodeError where no CPU takes it."""
        if self.canonical(address) != address:
            raise DecodeError(f"no CPU takes the address {address:#x}: its highest bits are not equal")
        steps: list[Step] = []
        table = self.root
        for level in reversed(range(self.levels)):
            words = self.table(table)
            index = address >> (PAGE_SHIFT + 9 * level) & (ENTRIES - 1)
            entry = words[index]
            steps.append(Step(level, table, index, entry, sum(word & _PRESENT for word in words)))
            if not entry & _PRESENT or maps(entry, level):
                break
            table = entry & _ADDRESS
        return Path(address, tuple(steps))

    def name(self, level: int) -> str:
        """As the kernel calls tables of that level."""
        return "PGD" if level == self.levels - 1 else NAMES[level]


def kernel_tree(tables: Tables) -> Tree:
    """The tree that maps the kernel; DecodeError where there is none, as in the host library."""
    root = tables.record.root
    if not root:
        raise DecodeError("this machine has no page tables of its own; name a root")
    return Tree.at(tables, root)


def _reader(tables: Tables, physical: Physical) -> Callable[[int], bytes]:
    memory: Any = tables.memory
    if isinstance(memory, KernelMemory):
        return lambda number: memory.physical.read(number << PAGE_SHIFT, PAGE_SIZE)
    direct_map = int(physical.map["direct_map"])
    return lambda number: bytes(memory.read(direct_map + (number << PAGE_SHIFT), PAGE_SIZE))


# -- views


def path_view(tree: Tree, address: int) -> View:
    """What `pagetables ADDR` says."""
    path = tree.path(address)
    last = path.steps[-1]
    physical = path.physical
    rows = [
        {
            "level": tree.name(step.level),
            "table": hex(step.table),
            "live": step.live,
            "index": step.index,
            "flags": flags_text(step.entry, step.level),
            "entry": hex(step.entry),
        }
        for step in path.steps
    ]
    return {
        "address": hex(address),
        "physical": "-" if physical is None else hex(physical),
        "page_kib": page_size(last.level) // 1024 if last.present else 0,
        "cache": cache_type(last.entry, last.level) if last.present else "-",
        "path": rows,
    }


def root_view(tree: Tree) -> View:
    """What `pagetables` says."""
    rows = []
    level = tree.levels - 1
    for index, entry in enumerate(tree.table(tree.root)):
        if not entry & _PRESENT:
            continue
        below = () if maps(entry, level) else tree.table(entry & _ADDRESS)
        rows.append(
            {
                "index": index,
                "address": hex(tree.canonical(index << (PAGE_SHIFT + 9 * level))),
                "live": sum(word & _PRESENT for word in below),
                "flags": flags_text(entry, level),
                "entry": hex(entry),
            }
        )
    return {"root": hex(tree.root), "levels": tree.levels, "entries": rows}


def census_view(tree: Tree) -> View:
    """What `pgstat` says."""
    count = _Census(tree)
    count.table(tree.root, tree.levels - 1)
    rows = [
        {
            "level": tree.name(level),
            "tables": count.tables[level],
            "pages": count.pages[level],
            "kib": count.pages[level] * page_size(level) // 1024,
        }
        for level in reversed(range(tree.levels))
    ]
    return {
        "root": hex(tree.root),
        "levels": tree.levels,
        "tables": sum(count.tables),
        "boot_tables": count.boot_tables,
        "live_entries": count.live,
        "by_level": rows,
    }


class _Census:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.tables = [0] * tree.levels
        self.pages = [0] * tree.levels
        self.boot_tables = self.live = 0
        self.met: set[int] = set()

    def table(self, address: int, level: int) -> None:
        """Counts it and what is below; a table that is met twice is a DecodeError, so that this ends."""
        if address in self.met:
            raise DecodeError(f"the page table at {address:#x} is pointed to twice")
        self.met.add(address)
        self.tables[level] += 1
        self.boot_tables += self.tree.is_reserved(address >> PAGE_SHIFT)
        for entry in self.tree.table(address):
            if not entry & _PRESENT:
                continue
            self.live += 1
            if not maps(entry, level):
                self.table(entry & _ADDRESS, level - 1)
            elif level > _LARGEST_LEAF:
                raise DecodeError(f"an entry of level {level} maps: {entry:#x} in the table at {address:#x}")
            else:
                self.pages[level] += 1
