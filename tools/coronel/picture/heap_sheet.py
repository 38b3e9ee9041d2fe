"""`heap_sheet`: the page with the kernel heap, as boxes and texts.

Each range is some lines of the same scale, its blocks one behind the other; between ranges stands how far
they lie apart. svg.py and png.py draw the page.
"""

from __future__ import annotations

from collections.abc import Iterator

from coronel.mm.heap import Block, HeapWalk
from coronel.mm.heap_view import heapinfo
from coronel.picture.heap import BAND_NAMES, band_of, by_band, line_bytes, pieces
from coronel.picture.palette import ALARM, FAINT, FREE, RULE, USED
from coronel.picture.sheet import MARGIN, Box, Item, Sheet, Text, page_head
from coronel.picture.space import amount

WIDTH = 1180
ADDRESS = 150  # left of a line
INSIDE = WIDTH - 2 * MARGIN - ADDRESS
LINE = 18
STEP = LINE + 4
SEAM = 2.0  # blocks that are at least twice as wide have a seam between them
SEAM_WIDTH = 1.0
MOST_LINES = 120


def heap_sheet(found: HeapWalk, machine: str) -> Sheet:
    """The page."""
    items: list[Item] = []
    y = 190.0
    scale = line_bytes(found.ranges)
    ranges = sorted(found.ranges)
    left = MOST_LINES
    for number, (first, end) in enumerate(ranges):
        if left <= 0:
            items.append(Text(MARGIN, y + 12, f"and {len(ranges) - number} ranges more", 12, FAINT))
            y += STEP
            break
        if number:
            gap = first - ranges[number - 1][1]
            if gap:
                items += _gap(gap, y)
                y += 30
            else:
                y += 10
        items.append(Text(MARGIN, y + 10, _range_words(found, first, end), 12.5, bold=True))
        y += 20
        for start in range(first, end, scale):
            if left <= 0:
                break
            items += _line(found, start, min(end, start + scale), scale, y)
            y += STEP
            left -= 1
    if not ranges:
        items.append(Text(MARGIN, y + 12, "The heap has no memory: nobody has asked it for any.", 13))
        y += STEP
    height = round(y + 20)
    page = Sheet(f"Kernel heap of {machine}", _facts(found), WIDTH, height)
    page.items += [
        *page_head("Kernel heap, block by block", machine, _facts(found), WIDTH, height),
        *_legend(found, 84),
        Text(WIDTH - MARGIN, 178, f"each full line is {amount(scale)}", 11, FAINT, "end"),
        *items,
    ]
    return page


def _facts(found: HeapWalk) -> str:
    now = heapinfo(found)
    return (
        f"{amount(now['total_bytes'])} in {len(found.ranges)} ranges, {now['fill_percent']} % of it allocated"
        f" in {now['active_blocks']} blocks; largest free block {amount(now['largest_free'])}; grew "
        f"{now['expansions']} times, shrank {now['contractions']} times"
    )


def _legend(found: HeapWalk, y: float) -> Iterator[Item]:
    step = (WIDTH - 2 * MARGIN - 70) / len(BAND_NAMES)
    for row, (word, shades, used) in enumerate((("in use", USED, True), ("free", FREE, False))):
        at = y + row * 36
        yield Text(MARGIN, at + 12, word, 12.5, bold=True)
        for band, (count, size) in enumerate(by_band(found, used=used)):
            x = MARGIN + 70 + band * step
            yield Box(x, at + 1, 13, 13, shades[band].colour, radius=2)
            yield Text(x + 21, at + 12, BAND_NAMES[band], 12.5)
            yield Text(x + 21, at + 27, f"{count} blocks, {amount(size)}", 11, FAINT)
    yield Box(MARGIN, y + 74, WIDTH - 2 * MARGIN, 1, RULE)


def _range_words(found: HeapWalk, first: int, end: int) -> str:
    blocks = [one for one in found.blocks if first <= one.place < end]
    used = sum(one.size for one in blocks if one.used)
    count = sum(one.used for one in blocks)
    share = 100 * used // (end - first)
    return f"{first:#x}, {amount(end - first)}: {count} blocks in use, {share} % of it"


def _gap(size: int, y: float) -> Iterator[Item]:
    """Addresses between two ranges: somebody else's."""
    for n in range(60):
        yield Box(MARGIN + ADDRESS + 7 * n, y + 10, 2.5, 2.5, RULE, radius=1.2)
    yield Text(MARGIN + ADDRESS + 430, y + 15, f"{amount(size)} not the heap's", 11, FAINT)


def _line(found: HeapWalk, first: int, end: int, scale: int, y: float) -> Iterator[Item]:
    left, point = MARGIN + ADDRESS, INSIDE / scale
    yield Text(MARGIN, y + 13, f"{first:#x}", 11, FAINT)
    yield Box(left, y, (end - first) * point, LINE, RULE)
    for piece in pieces(found, first, end):
        x, width = left + (piece.first - first) * point, (piece.end - piece.first) * point
        seam = SEAM_WIDTH if width >= 2 * SEAM and piece.end == piece.block.place + piece.block.size else 0.0
        yield Box(x, y, max(0.5, width - seam), LINE, colour_of(piece.block))


def colour_of(block: Block) -> str:
    """By use and size; a block whose header does not decode is an alarm."""
    if not block.whole:
        return ALARM
    return (USED if block.used else FREE)[band_of(block)].colour
