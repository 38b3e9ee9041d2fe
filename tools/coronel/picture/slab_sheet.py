"""`slab_sheet`: the page with the slabs of the object caches, as boxes and texts.

A slab is a rectangle as large as its pages, a cell in it one object; at its foot lies what it has for none.
The fullest slabs come first. Caches without slabs are named at the end. svg.py and png.py draw the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from coronel.memory import PAGE_SIZE
from coronel.picture.palette import ALARM, FAINT, OBJECTS, RULE, WASTE
from coronel.picture.sheet import MARGIN, Box, Item, Sheet, Text, page_head
from coronel.picture.slabs import BROKEN, NAMES, CachePicture, sums
from coronel.picture.space import amount

WIDTH = 1180
INSIDE = WIDTH - 2 * MARGIN
LABEL = 270  # of a cache, left of its slabs
PAGE = 56  # height of a slab, and width of one of its pages
GAP = 8
COLUMNS_APART = 20
HALF = (INSIDE - COLUMNS_APART) / 2
MOST_LINES = 4  # of slabs of one cache
APART = 4.0  # cells that are at least so large have a gap between them


def slab_sheet(caches: list[CachePicture], machine: str) -> Sheet:
    """The page."""
    shown = [one for one in caches if one.slabs]
    items: list[Item] = []
    y = 146.0
    for row in _rows(shown):
        height = 0.0
        for number, one in enumerate(row):
            made, high = _cache(one, MARGIN + number * (HALF + COLUMNS_APART), y)
            items += made
            height = max(height, high)
        y += height + 14
    empty = ", ".join(one.name for one in caches if not one.slabs)
    if empty:
        for line in _wrapped(f"without slabs: {empty}", 180):
            items.append(Text(MARGIN, y + 12, line, 11.5, FAINT))
            y += 18
    height = round(y + 20)
    facts = _facts(caches)
    page = Sheet(f"Object caches of {machine}", facts, WIDTH, height)
    page.items += [
        *page_head("Object caches, slab by slab", machine, facts, WIDTH, height),
        *_legend(caches, 84),
        *items,
    ]
    return page


def _rows(caches: list[CachePicture]) -> Iterator[list[CachePicture]]:
    """Two beside each other where both are narrow."""
    waiting: list[CachePicture] = []
    for one in caches:
        if len(one.slabs) * (one.pages * PAGE + GAP) - GAP > HALF - LABEL:
            yield from (waiting, [one]) if waiting else ([one],)
            waiting = []
        else:
            waiting.append(one)
            if len(waiting) == 2:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def _facts(caches: list[CachePicture]) -> str:
    held = sum(one.held for one in caches)
    slabs = sum(len(one.slabs) for one in caches)
    used = sums(caches)["allocated"][1]
    share = f", {100 * used / held:.0f} % of it in use" if held else ""
    return f"{len(caches)} caches hold {amount(held)} in {slabs} slabs{share}"


def _legend(caches: list[CachePicture], y: float) -> Iterator[Item]:
    """What the colours mean, and how much of each there is."""
    rows = [
        (colour_of(state), NAMES.get(state, state), f"{objects} objects, {amount(size)}")
        for state, (objects, size) in sums(caches).items()
    ]
    rows.append((WASTE, "for no object", amount(sum(one.waste for one in caches))))
    step = INSIDE / max(5, len(rows))
    for number, (colour, name, detail) in enumerate(rows):
        x = MARGIN + number * step
        yield Box(x, y + 1, 13, 13, colour, radius=2)
        yield Text(x + 21, y + 12, name, 12.5)
        yield Text(x + 21, y + 28, detail, 11, FAINT)
    yield Box(MARGIN, y + 42, INSIDE, 1, RULE)


def colour_of(state: str) -> str:
    """Of an object's state."""
    return OBJECTS.get(state, ALARM)


def _cache(one: CachePicture, margin: float, y: float) -> tuple[list[Item], float]:
    """Its label and slabs, and how high that is."""
    items: list[Item] = list(_label(one, margin, y))
    width, left = one.pages * PAGE, margin + LABEL
    in_line = max(1, int((INSIDE - LABEL + GAP) // (width + GAP)))
    shown = one.slabs[: MOST_LINES * in_line]
    scale = min(1.0, (INSIDE - LABEL) / width)  # a slab that is wider than the page is drawn smaller
    for number, states in enumerate(shown):
        x = left + number % in_line * (width + GAP)
        items += _slab(one, states, x, y + number // in_line * (PAGE + GAP), width * scale)
    lines = -(-len(shown) // in_line)
    height = lines * (PAGE + GAP) - GAP
    if len(one.slabs) > len(shown):
        height += 18
        more = len(one.slabs) - len(shown)
        items.append(Text(left, y + height - 3, f"and {more} slabs more", 11.5, FAINT))
    return items, height


def _label(one: CachePicture, x: float, y: float) -> Iterator[Item]:
    counts = one.counts
    size = f"{one.object_bytes} B" + (f" in {one.stride}" if one.stride != one.object_bytes else "")
    slabs = f"{len(one.slabs)} slab{'' if len(one.slabs) == 1 else 's'} of {amount(one.pages * PAGE_SIZE)}"
    parts = [f"{counts['allocated']} in use"]
    parts += [f"{counts[state]} {word}" for state, word in _BRIEF.items() if counts[state]]
    yield Text(x, y + 13, one.name, 14, bold=True)
    yield Text(x, y + 31, f"{size}, {len(one.slabs[0])} to a slab; {slabs}", 11, FAINT)
    yield Text(x, y + 47, ", ".join(parts), 11, FAINT)


_BRIEF = {"cached": "in magazines", "free": "free", "quarantined": "quarantined", BROKEN: "broken"}


def _slab(one: CachePicture, states: list[str], x: float, y: float, width: float) -> Iterator[Item]:
    waste = PAGE * one.waste_share
    if waste:
        yield Box(x, y + PAGE - waste, width, waste, WASTE)
    columns, rows = cells_in(len(states), width, PAGE - waste)
    across, down = width / columns, (PAGE - waste) / rows
    gap = 1.0 if min(across, down) >= APART else 0.0
    for row in range(rows):
        line = states[row * columns : (row + 1) * columns]
        at = 0
        for state, run in groupby(line):
            length = len(list(run))
            pieces = length if gap else 1  # cells that touch are one box
            for piece in range(pieces):
                yield Box(
                    x + (at + piece) * across,
                    y + row * down,
                    across * length / pieces - gap,
                    down - (gap if down > gap else 0),
                    colour_of(state),
                )
            at += length


def cells_in(objects: int, width: float, height: float) -> tuple[int, int]:
    """Columns and rows of about square cells for so many, of which few stay empty."""
    best = (math.inf, 1, 1)
    for rows in range(1, objects + 1):
        columns = -(-objects // rows)
        if rows > 1 and columns == -(-objects // (rows - 1)):
            continue
        shape = (width / columns) / (height / rows)
        empty = columns * rows - objects
        best = min(best, (abs(math.log(shape)) + 2 * empty / objects, columns, rows))
    return best[1], best[2]


def _wrapped(text: str, letters: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if len(line) + len(word) + 1 > letters:
            yield line
            line = "   "
        line += f" {word}" if line else word
    yield line
