"""The kernel's half of the address space as a picture: what `space` finds in page tables and ranges.

Each section is one purpose: the direct map, the window of vmalloc, the frame array, the image. What is mapped
in it are runs of one right and one size of page, read from the page tables in raw RAM; who has which part of
the window is read from the kernel's ranges. Both are drawn, so a page that is mapped and nobody's, or a range
with nothing behind it, is to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from coronel.mappings import Mapping
from coronel.mm.ranges import AddressRanges, KernelRange
from coronel.mm.record import Tables
from coronel.mm.zones import Physical

HALF = 1 << 64
# Where the kernel is linked, and the small windows above it (mm/virtual/kernel_space.hpp).
IMAGE, WINDOWS, DEVICES, SCRATCH = (
    0xFFFF_FFFF_8000_0000,
    0xFFFF_FFFF_BFF0_0000,
    0xFFFF_FFFF_C000_0000,
    0xFFFF_FFFF_F000_0000,
)
PAGES = {1 << 12: "4 KiB", 1 << 21: "2 MiB", 1 << 30: "1 GiB"}


@dataclass
class Run:
    """Addresses [first, end) that are mapped with the same rights and pages of one size."""

    first: int
    end: int
    rights: str  # r--, rw-, r-x
    page: int


@dataclass
class Section:
    """One purpose. `end` is where its window ends, however little of it is mapped."""

    name: str
    first: int
    end: int
    runs: list[Run] = field(default_factory=list)
    ranges: list[KernelRange] = field(default_factory=list)

    @property
    def mapped(self) -> int:
        """Bytes."""
        return sum(run.end - run.first for run in self.runs)

    @property
    def shown_end(self) -> int:
        """One past the last address that has something to show."""
        ends = [run.end for run in self.runs] + [one.end for one in self.ranges]
        return max(ends, default=self.first)

    @property
    def shown_first(self) -> int:
        """The first address that has something to show."""
        starts = [run.first for run in self.runs] + [one.first for one in self.ranges]
        return min(starts, default=self.first)


@dataclass
class Space:
    """The kernel's half."""

    first: int
    sections: list[Section]
    nobodys: list[Run]  # mapped, and in no section

    @property
    def mapped(self) -> int:
        """Bytes."""
        return sum(section.mapped for section in self.sections)

    @property
    def taken(self) -> list[KernelRange]:
        """Every range that somebody has."""
        return [one for section in self.sections for one in section.ranges]


def space(tables: Tables, found: Iterable[Mapping], ranges: AddressRanges | None, levels: int = 4) -> Space:
    """The upper half of what the mappings map."""
    half = HALF - (1 << (11 + 9 * levels))
    sections = _sections(tables, ranges)
    nobodys: list[Run] = []
    for mapping in found:
        if mapping.address < half:
            continue
        owner = next((one for one in sections if one.first <= mapping.address < one.end), None)
        _append(nobodys if owner is None else owner.runs, mapping)
    return Space(half, sections, nobodys)


def _sections(tables: Tables, ranges: AddressRanges | None) -> list[Section]:
    physical = Physical.of(tables)
    frame_bytes, block_bytes = tables.type("Frame").size, tables.type("Pageblock").size
    frames = tables.option("max_memory_gib") << 18
    direct, array = int(physical.map["direct_map"]), int(physical.map["frames"])
    blocks = int(physical.map["blocks"])
    found = [
        Section("direct map", direct, direct + (frames << 12)),
        Section("frame array", array, array + frames * frame_bytes),
        Section("pageblocks", blocks, blocks + (frames >> 9) * block_bytes),
        Section("kernel image", IMAGE, WINDOWS),
        Section("windows", WINDOWS, DEVICES),
        Section("devices", DEVICES, SCRATCH),
        Section("scratch", SCRATCH, HALF),
    ]
    if ranges is not None:
        first, end = ranges.window
        found.append(Section("vmalloc", first, end, ranges=ranges.taken))
    return sorted(found, key=lambda section: section.first)


def _append(runs: list[Run], mapping: Mapping) -> None:
    last = runs[-1] if runs else None
    key = (mapping.rights, mapping.size)
    if last is not None and last.end == mapping.address and (last.rights, last.page) == key:
        last.end = mapping.end
    else:
        runs.append(Run(mapping.address, mapping.end, mapping.rights, mapping.size))


def amount(size: int) -> str:
    """A number of bytes for people: 4 KiB, 1.5 MiB, 128 TiB."""
    value, names = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    for name in names:
        if value < 1024 or name == names[-1]:
            return f"{value:.0f} {name}" if value == int(value) or value >= 100 else f"{value:.1f} {name}"
        value /= 1024
    raise AssertionError


def as_json(found: Space, machine: str, name_caller: Callable[[int], str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "machine": machine,
        "mapped": found.mapped,
        "sections": [
            {
                "name": section.name,
                "first": f"{section.first:#x}",
                "end": f"{section.end:#x}",
                "mapped": section.mapped,
                "runs": [_run(run) for run in section.runs],
            }
            for section in found.sections
        ],
        "ranges": [
            {
                "first": f"{one.first:#x}",
                "end": f"{one.end:#x}",
                "kind": one.kind,
                "owner": one.owner,
                "number": int(one.record["number"]),
                "pages": one.pages,
                "caller": name_caller(int(one.record["caller"])),
            }
            for one in found.taken
        ],
        "nobodys": [_run(run) for run in found.nobodys],
    }


def _run(run: Run) -> dict[str, Any]:
    return {"first": f"{run.first:#x}", "end": f"{run.end:#x}", "rights": run.rights, "page": run.page}
