"""A map of memory in a terminal: two cells a character, one above the other, in as many colours as there are.

Without colours, or with 16 of them, every cell is a pair of letters, as wide as it is high.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from coronel.picture.cells import Survey, ZoneView
from coronel.picture.grid import NOWHERE, Grid
from coronel.picture.legend import (
    Row,
    cell_size,
    exactly,
    facts,
    in_bytes,
    left_out,
    line,
    percent,
    sections,
    short,
    span,
)
from coronel.picture.palette import ABSENT, EDGE, PAPER, SHADES, Shade

UPPER_HALF = "\N{UPPER HALF BLOCK}"
FAINT = Style(dim=True)
LEGEND_WIDTH = 46
COLUMN = 27  # of the legend below a map
WIDE = 112  # columns of a terminal that has room for a legend beside the map
ROOMY = 28  # lines of one that has room for an empty line
SMALLEST = (40, 11)

Line = list[Segment]


def colour_system(console: Console) -> str | None:
    """How it shows the palette, "256" or "truecolor"; None where it cannot."""
    system = console.color_system
    able = system in ("256", "truecolor") and not console.no_color and can_say(console, UPPER_HALF)
    return system if able else None


def can_say(console: Console, text: str) -> bool:
    """Whether its encoding has these characters."""
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True


class MapView:
    """A renderable: title, map and legend, no higher than `height` lines, by default one less than the
    terminal has.
    """

    def __init__(self, memory: Survey, machine: str, height: int | None = None) -> None:
        self.memory = memory
        self.machine = machine
        self.height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it."""
        system = colour_system(console)
        width = max(SMALLEST[0], options.max_width)
        height = max(SMALLEST[1], self.height or console.height - 1)
        head = self._head(width)
        if height >= ROOMY:
            head.append([])
        lines = (self._wide if width >= WIDE else self._narrow)(width, height - len(head), system)
        for one in (*head, *lines):
            yield from Segment.adjust_line_length(one, width, pad=False)
            yield Segment.line()

    def _head(self, width: int) -> list[Line]:
        """The machine; then the facts, as far as a line goes."""
        bold = Style(bold=True)
        row: Line = []
        used = 0
        for fact in facts(self.memory):
            label = fact.label if width >= WIDE else fact.label.replace("largest free block", "largest")
            if row and used + len(label) + 1 + len(fact.value) > width:
                break
            row += [Segment(f"{label} "), Segment(fact.value, bold), Segment("   ")]
            used += len(label) + len(fact.value) + 4
        return [[Segment("Physical memory", bold), Segment(f" of {self.machine}")], row]

    def _fit(self, width: int, height: int, system: str | None) -> Grid:
        across, down = (1, 2) if system else (2, 1)
        return Grid.fit(self.memory, max(1, width // across), max(1, height * down))

    def _wide(self, width: int, height: int, system: str | None) -> list[Line]:
        """The legend beside the map."""
        legend: list[Line] = []
        for heading, rows in sections(self.memory):
            legend += [[Segment(heading, FAINT)], *(_entry(row, system) for row in rows), []]
        legend.append([Segment("zones", FAINT)])
        for zone in self._zones():
            where = f"{zone.name:<9}{span(zone.first, zone.end):<15}"
            legend.append([Segment(f"{where}{in_bytes(zone.free):>12} free")])
        gap = left_out(self.memory)
        notes = [*([gap] if gap else []), line(self.memory)]
        grid = self._fit(width - LEGEND_WIDTH - 3, height - len(notes) - 1, system)
        notes.insert(0, cell_size(grid.frames))
        empty: Line = [Segment(" " * (grid.width if system else 2 * grid.width))]
        pairs = zip_longest(_cells(grid, system), legend, fillvalue=None)
        lines = [[*(left or empty), Segment("   "), *(right or [])] for left, right in pairs]
        return lines + [[Segment(note, FAINT)] for note in notes]

    def _narrow(self, width: int, height: int, system: str | None) -> list[Line]:
        """The legend below the map, in three columns."""
        columns: list[list[Line]] = []
        for heading, rows in sections(self.memory):
            columns.append([[Segment(heading, FAINT)], *(_short_entry(row, system) for row in rows)])
        for zone in self._zones():
            text = f"{zone.name:<8}{short(in_bytes(zone.free)):>9}   free"
            columns[-1].append([Segment(text)])
        gap = left_out(self.memory)
        deepest = max(map(len, columns)) + bool(gap)
        grid = self._fit(width, height - deepest, system)
        columns[-1][0] = [Segment(f"one cell = {exactly(grid.frames)}", FAINT)]
        lines = list(_cells(grid, system))
        for row_of in zip_longest(*columns, fillvalue=None):
            parts = [Segment.adjust_line_length(part or [], COLUMN) for part in row_of]
            lines.append([segment for part in parts for segment in part])
        return [*lines, [Segment(gap, FAINT)]] if gap else lines

    def _zones(self) -> list[ZoneView]:
        """Those with memory: a machine has room for more than it has."""
        return [zone for zone in self.memory.zones if zone.present]


def _entry(row: Row, system: str | None) -> Line:
    text = f" {row.label:<{LEGEND_WIDTH - 23}}{in_bytes(row.frames):>10} {percent(row.share):>9}"
    return [_swatch(row.shade, system), Segment(text)]


def _short_entry(row: Row, system: str | None) -> Line:
    label = short(row.label) if row.shade.orders else row.shade.kind.name
    text = f" {label:<8} {short(in_bytes(row.frames)):>6} {percent(row.share):>7}"
    return [_swatch(row.shade, system), Segment(text)]


def _swatch(shade: Shade, system: str | None) -> Segment:
    return Segment("  ", Style(bgcolor=shade.colour)) if system else Segment(shade.letter * 2)


def _cells(grid: Grid, system: str | None) -> Iterator[Line]:
    """The map, with the name of each zone over its first cells when there are several."""
    names: dict[int, list[tuple[int, str]]] = {}
    corners = grid.zone_corners() if len(grid.memory.zones) > 1 else {}
    for number, (column, row) in corners.items():
        place = (column, row // 2) if system else (2 * column, row)
        names.setdefault(place[1], []).append((place[0], grid.memory.zones[number].name))
    rows = _coloured(grid, system) if system else _lettered(grid)
    for number, made in enumerate(rows):
        yield _labelled(made, sorted(names[number])) if number in names else made


def _coloured(grid: Grid, system: str) -> Iterator[Line]:
    picture = grid.picture
    if len(picture) == 1:  # one row of cells has nothing below it
        pairs = [[(int(top), NOWHERE) for top in picture[0]]]
    else:
        pairs = [
            list(zip(top, bottom, strict=True))
            for top, bottom in zip(picture[0::2].tolist(), picture[1::2].tolist(), strict=True)
        ]
    for row in pairs:
        yield [_half_blocks(*pair, len(list(run)), system) for pair, run in groupby(row)]


@functools.lru_cache(maxsize=4096)
def _half_blocks(top: int, bottom: int, length: int, _system: str) -> Segment:
    """A run of characters with the same two cells. What is not there stays the terminal's own colour.

    A Style remembers the escape codes of the first terminal that it was shown on: hence one for each system.
    """
    empty = (ABSENT.index, NOWHERE)
    if top in empty and bottom in empty:
        return Segment(" " * length)
    if top in empty:
        return Segment("\N{LOWER HALF BLOCK}" * length, Style(color=SHADES[bottom].colour))
    if bottom in empty:
        return Segment(UPPER_HALF * length, Style(color=SHADES[top].colour))
    if top == bottom:
        return Segment(" " * length, Style(bgcolor=SHADES[top].colour))
    return Segment(UPPER_HALF * length, Style(color=SHADES[top].colour, bgcolor=SHADES[bottom].colour))


def _lettered(grid: Grid) -> Iterator[Line]:
    letters = {shade.index: shade.letter * 2 for shade in SHADES} | {NOWHERE: "  "}
    for row in grid.picture.tolist():
        yield [Segment("".join(letters[cell] for cell in row))]


def _labelled(made: Iterable[Segment], names: Sequence[tuple[int, str]]) -> Line:
    """The same line with names written over it, none over another and none beyond its end."""
    rest = list(made)
    end = Segment.get_line_length(rest)
    found: Line = []
    at = 0
    for column, name in names:
        start = max(column, at)
        stop = start + len(name) + 1
        if stop > end:
            break
        before, _, rest = Segment.divide(rest, [start - at, stop - at, end - at])
        found += [*before, Segment(f"{name} ", Style(color=EDGE, bgcolor=PAPER, bold=True))]
        at = stop
    return found + rest
