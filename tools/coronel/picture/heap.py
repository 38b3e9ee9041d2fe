"""The kernel heap as a picture: its ranges cut into lines, its blocks by their size.

A line of the picture is a stretch of a range, so that small blocks are to be seen, and a long range goes on
in the next line, as a text does. Between two ranges lie addresses that are not the heap's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coronel.mm.heap import Block, HeapWalk
from coronel.mm.heap_view import heapinfo

BANDS = (128, 1024, 8192)  # bytes: blocks are below the first, below the second, ... or larger
BAND_NAMES = ("below 128 B", "below 1 KiB", "below 8 KiB", "8 KiB and more")
LINES = 40  # of a picture, about
LEAST_LINE = 4096  # bytes of a line


@dataclass(frozen=True)
class Piece:
    """What of a block lies in one line."""

    first: int
    end: int
    block: Block


def band_of(block: Block) -> int:
    """Which of the sizes it has."""
    return sum(block.size >= limit for limit in BANDS)


def line_bytes(ranges: list[tuple[int, int]]) -> int:
    """How much a line shows, a power of two."""
    total = sum(end - first for first, end in ranges)
    size = LEAST_LINE
    while total > LINES * size:
        size *= 2
    return size


def pieces(found: HeapWalk, first: int, end: int) -> Iterator[Piece]:
    """The blocks in [first, end), cut off at its ends."""
    for block in found.blocks:
        low, high = max(first, block.place), min(end, block.place + block.size)
        if low < high:
            yield Piece(low, high, block)


def by_band(found: HeapWalk, *, used: bool) -> list[tuple[int, int]]:
    """Blocks of each size, and their bytes."""
    count: Counter[int] = Counter()
    size: Counter[int] = Counter()
    for block in found.blocks:
        if block.used == used:
            count[band_of(block)] += 1
            size[band_of(block)] += block.size
    return [(count[band], size[band]) for band in range(len(BAND_NAMES))]


def as_json(found: HeapWalk, machine: str) -> dict[str, Any]:
    """The numbers of the legend, for programs."""

    def bands(*, used: bool) -> list[dict[str, Any]]:
        rows = zip(BAND_NAMES, by_band(found, used=used), strict=True)
        return [{"size": name, "blocks": count, "bytes": size} for name, (count, size) in rows]

    return {"machine": machine, **heapinfo(found), "used": bands(used=True), "free": bands(used=False)}
