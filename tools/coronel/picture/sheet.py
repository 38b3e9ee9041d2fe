"""`sheet`: the page with a picture of memory, its numbers and its legend, as boxes, lines and texts.

svg.py and png.py draw it; neither decides where anything stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from coronel.picture.grid import Grid, Segment
from coronel.picture.hilbert import curve
from coronel.picture.legend import (
    Fact,
    Row,
    address,
    cell_size,
    facts,
    in_bytes,
    left_out,
    line,
    percent,
    sections,
    span,
)
from coronel.picture.palette import EDGE, FAINT, INK, PAPER, RULE

MARGIN = 28
GAP = 36  # between the map and the panel
PANEL = 320
SIDE = 512  # the map's height, and half its largest width
CELLS = (2 * SIDE, SIDE)  # so many fit
HEAD = 84  # above the map
ROW = 21
FIRST = 35  # from a heading's top to the first row's baseline
BLOCK = 24 + 20  # a heading, and the room after the last row
FACT = 68  # height of a fact
BAR = 12
CURVE_SIDE = 26


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `outline` draws only its edge as well."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    radius: float = 0
    outline: str = ""
    opacity: float = 1


@dataclass(frozen=True)
class Text:
    """One line. `y` is its baseline; `anchor` is start, middle or end. `frames` is the exact number behind a
    rounded one, of the class `key`.
    """

    x: float
    y: float
    text: str
    size: float = 13
    colour: str = INK
    anchor: str = "start"
    bold: bool = False
    key: str = ""
    frames: int = 0


@dataclass(frozen=True)
class Lines:
    """Straight lines in units of `scale`, from (x, y)."""

    x: float
    y: float
    scale: float
    segments: tuple[Segment, ...]
    colour: str
    width: float


@dataclass(frozen=True)
class Cells:
    """The map: every cell a square of `scale`."""

    x: int
    y: int
    scale: int
    grid: Grid


Item = Box | Text | Lines | Cells


@dataclass
class Sheet:
    """A page."""

    title: str
    summary: str  # for those who cannot see it
    width: int
    height: int
    items: list[Item] = field(default_factory=list)


def page_head(title: str, machine: str, facts: str, width: int, height: int) -> list[Item]:
    """The paper of a page, with a title, whose memory it shows, and a line of facts."""
    return [
        Box(0, 0, width, height, PAPER, radius=12),
        Text(MARGIN, 42, title, 21, bold=True),
        Text(width - MARGIN, 42, machine, 13, FAINT, "end"),
        Text(MARGIN, 64, facts, 12.5, FAINT),
    ]


def sheet(grid: Grid, machine: str) -> Sheet:
    """The page for one map. `machine` says whose memory it is."""
    scale = max(1, min(CELLS[0] // grid.width, CELLS[1] // grid.height))
    width, height = grid.width * scale, grid.height * scale
    beside = width <= 1.25 * SIDE
    notes = _notes(grid)
    foot = 26 + ROW * len(notes)
    panel_height = _panel_height(grid)
    if beside:
        page_width = MARGIN + width + GAP + PANEL + MARGIN
        page_height = HEAD + max(height + foot, panel_height) + MARGIN - 8
    else:
        page_width = MARGIN + width + MARGIN
        page_height = HEAD + height + foot + 20 + _wide_height(grid) + MARGIN
    summary = "; ".join(f"{fact.label}: {fact.value} {fact.detail}".strip() for fact in facts(grid.memory))
    page = Sheet(f"Physical memory of {machine}", summary, page_width, page_height)
    page.items += [
        Box(0, 0, page_width, page_height, PAPER, radius=12),
        Text(MARGIN, 42, "Physical memory", 21, bold=True),
        Text(page_width - MARGIN, 42, _shortened(machine, (page_width - 300) // 7), 13, FAINT, "end"),
    ]
    page.items += _map(grid, MARGIN, HEAD, scale)
    page.items += _foot(notes, MARGIN, HEAD + height + 26)
    if beside:
        page.items += _panel(grid, MARGIN + width + GAP, HEAD)
    else:
        page.items += _wide(grid, MARGIN, HEAD + height + foot + 20, width)
    return page


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 3]}..."


def _notes(grid: Grid) -> list[str]:
    return [note for note in (cell_size(grid.frames), line(grid.memory), left_out(grid.memory)) if note]


def _map(grid: Grid, x: int, y: int, scale: int) -> Iterator[Item]:
    width, height = grid.width * scale, grid.height * scale
    for number, first in enumerate(grid.starts()):
        yield Text(x + number * grid.height * scale, y - 9, address(first), 11.5, FAINT)
    if len(grid.cells) == grid.width * grid.height:  # else the line ends somewhere inside
        last = grid.memory.array.number(len(grid.memory.classes) - 1)
        yield Text(x + width, y - 9, address(last + 1), 11.5, FAINT, "end")
    yield Box(x - 1, y - 1, width + 2, height + 2, RULE, outline=RULE)
    yield Box(x, y, width, height, PAPER)
    yield Cells(x, y, scale, grid)
    corners = grid.zone_corners()
    if len(corners) < 2:
        return
    yield Lines(x, y, scale, tuple(grid.zone_edges()), PAPER, 4)
    yield Lines(x, y, scale, tuple(grid.zone_edges()), EDGE, 1.5)
    for number, (column, row) in corners.items():
        name = grid.memory.zones[number].name
        left, top = x + column * scale + 5, y + row * scale + 5
        yield Box(left, top, 8 * len(name) + 10, 19, PAPER, radius=4, outline=EDGE, opacity=0.9)
        yield Text(left + 4 * len(name) + 5, top + 13.5, name, 11.5, INK, "middle")


def _foot(notes: list[str], x: float, y: float) -> Iterator[Item]:
    """What a cell is, beside a small drawing of the curve."""
    columns, rows = curve(2)
    points = list(zip(columns.tolist(), rows.tolist(), strict=True))
    path = tuple((*one, *other) for one, other in pairwise(points))
    yield Lines(x + 3, y - 7, CURVE_SIDE / 3, path, FAINT, 1.5)
    for number, note in enumerate(notes):
        yield Text(x + CURVE_SIDE + 18, y + 4 + ROW * number, note, 12.5, INK if number == 0 else FAINT)


def _panel_height(grid: Grid) -> int:
    rows = sum(len(rows) for _, rows in sections(grid.memory)) + len(grid.memory.zones)
    return 2 * FACT + BAR + 28 + 4 * BLOCK + ROW * rows - 20


def _panel(grid: Grid, x: float, y: float) -> Iterator[Item]:
    """Facts, the bar of all classes, the legend, the zones: one below the other."""
    for number, item in enumerate(facts(grid.memory)):
        column, row = number % 2, number // 2
        yield from _fact(item, x + column * (PANEL / 2 + 6), y + row * FACT)
    y += 2 * FACT
    yield from _bar(grid, x, y, PANEL)
    y += BAR + 28
    for heading, rows in sections(grid.memory):
        yield from _section(heading, rows, x, y, PANEL)
        y += BLOCK + ROW * len(rows)
    yield from _zones(grid, x, y, PANEL)


def _wide_height(grid: Grid) -> int:
    columns = [len(rows) for _, rows in sections(grid.memory)]
    deepest = max(BLOCK + ROW * max(columns), 2 * BLOCK + ROW * (columns[-1] + len(grid.memory.zones)))
    return FACT + BAR + 28 + deepest - 20


def _wide(grid: Grid, x: float, y: float, width: float) -> Iterator[Item]:
    """The same below a wide map: columns beside each other."""
    column = (width - 2 * GAP) / 3
    for number, item in enumerate(facts(grid.memory)):
        yield from _fact(item, x + number * width / 4, y)
    y += FACT
    yield from _bar(grid, x, y, width)
    y += BAR + 28
    for number, (heading, rows) in enumerate(sections(grid.memory)):
        yield from _section(heading, rows, x + number * (column + GAP), y, column)
    yield from _zones(grid, x + 2 * (column + GAP), y + BLOCK + ROW * len(rows), column)


def _fact(fact: Fact, x: float, y: float) -> Iterator[Item]:
    yield Text(x, y + 9, fact.label, 11.5, FAINT)
    yield Text(x, y + 33, fact.value, 21, bold=True)
    yield Text(x, y + 50, fact.detail, 11.5, FAINT)


def _bar(grid: Grid, x: float, y: float, width: float) -> Iterator[Item]:
    """All of memory as one bar, each class as long as its share."""
    at = x
    for _, rows in sections(grid.memory):
        for row in rows:
            length = width * row.share
            if length:
                yield Box(at, y, length, BAR, row.shade.colour)
            at += length


def _section(heading: str, rows: list[Row], x: float, y: float, width: float) -> Iterator[Item]:
    yield Text(x, y + 10, heading, 11.5, FAINT)
    for number, row in enumerate(rows):
        base = y + FIRST + ROW * number
        yield Box(x, base - 11, 13, 13, row.shade.colour, radius=2)
        yield Text(x + 24, base, row.label)
        text = in_bytes(row.frames)
        yield Text(x + width - 72, base, text, anchor="end", key=row.shade.key, frames=row.frames)
        yield Text(x + width, base, percent(row.share), colour=FAINT, anchor="end")


def _zones(grid: Grid, x: float, y: float, width: float) -> Iterator[Item]:
    yield Text(x, y + 10, "zones", 11.5, FAINT)
    yield Text(x + width, y + 10, "free of managed", 11.5, FAINT, "end")
    for number, zone in enumerate(grid.memory.zones):
        base = y + FIRST + ROW * number
        yield Text(x, base, zone.name)
        if not zone.present:
            yield Text(x + width, base, "no memory", colour=FAINT, anchor="end")
            continue
        yield Text(x + 68, base, span(zone.first, zone.end), 11.5, FAINT)
        yield Text(x + width, base, f"{in_bytes(zone.free)} of {in_bytes(zone.managed)}", anchor="end")
