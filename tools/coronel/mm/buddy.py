"""Free blocks of one zone as its Pageblocks count them, or have them where they do not. Needs nothing but
Python: GDB's commands use it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from coronel.mm.layout import Struct
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Shape, Zone, run_fields

WORD = 64


def counted_blocks(tables: Tables, physical: Physical, zone: Zone) -> list[int]:
    """How many free blocks of each order a zone has, by the counts in its Pageblocks. DecodeError when one
    cannot be read.
    """
    shape = Shape.of(tables)
    edges = run_fields(shape.whole_order)
    found = [0] * (shape.max_order + 1)
    for block in _blocks(tables, physical, zone, shape):
        runs, whole = int(block["runs"]), int(block["whole_order"])
        if runs == shape.uncounted and block["free_frames"] != shape.block_frames:
            bits = sum(int(word) << WORD * place for place, word in enumerate(block["free"]))
            for order, count in enumerate(blocks_of_bits(bits, shape.whole_order)):
                found[order] += count
        else:
            for order in range(shape.whole_order):
                found[order] += runs >> edges[order] & ((1 << (edges[order + 1] - edges[order])) - 1)
        if shape.whole_order <= whole <= shape.max_order:
            found[whole] += 1
    return found


def blocks_of_bits(bits: int, levels: int) -> list[int]:
    """How many free blocks of each order below `levels` a pageblock has whose frame n is free where bit n is
    set: runs of 2^n at multiples of 2^n, less two for each run of the next order.
    """
    starts = [bits]
    for order in range(levels):
        here = starts[-1]
        pairs = sum(1 << at for at in range(0, 1 << levels, 2 << order))
        starts.append(here & here >> (1 << order) & pairs)
    return [one.bit_count() - 2 * two.bit_count() for one, two in pairwise(starts)]


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
