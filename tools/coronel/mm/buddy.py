"""Free blocks of one zone as its Pageblocks count them. Needs nothing but Python: GDB's commands use it
too.
"""

from __future__ import annotations

from collections.abc import Iterator

from coronel.mm.layout import Struct
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Shape, Zone

WORD = 64


def run_fields(whole_order: int) -> list[int]:
    """The lowest bit of each order's field in Pageblock.runs: order n may occur 2^(whole_order - 1 - n)
    times, one order up at most half as often; the whole pageblock once. See the theory in
    mm/physical/pageblock.cpp.
    """
    edges = [0]
    for order in range(whole_order):
        edges.append(edges[-1] + whole_order - order)
    return edges


def counted_blocks(tables: Tables, physical: Physical, zone: Zone) -> list[int]:
    """How many free blocks of each order a zone has, by the counts in its Pageblocks. DecodeError when one
    cannot be read.
    """
    shape = Shape.of(tables)
    edges = run_fields(shape.whole_order)
    found = [0] * (shape.max_order + 1)
    for block in _blocks(tables, physical, zone, shape):
        runs, whole = int(block["runs"]), int(block["whole_order"])
        for order in range(shape.whole_order):
            found[order] += runs >> edges[order] & ((1 << (edges[order + 1] - edges[order])) - 1)
        if shape.whole_order <= whole <= shape.max_order:
            found[whole] += 1
    return found


def _blocks(tables: Tables, physical: Physical, zone: Zone, shape: Shape) -> Iterator[Struct]:
    """The present Pageblocks of a zone; a read brings as many as one word of the map names."""
    kind, base = tables.type("Pageblock"), int(physical.map["blocks"])
    first, end = (int(zone.record[edge]) // shape.block_frames for edge in ("first", "end"))
    for section, word in enumerate(physical.map["sections"]):
        low, high = max(first, section * WORD), min(end, (section + 1) * WORD)
        present = [number for number in range(low, high) if word >> number % WORD & 1]
        if not present:
            continue
        start = base + present[0] * kind.size
        data = tables.memory.read(start, (present[-1] + 1 - present[0]) * kind.size)
        for number in present:
            at = (number - present[0]) * kind.size
            yield Struct(kind, data[at : at + kind.size], start + at)
