"""Slabs, the kernel heap and call sites in a terminal: what their pages show, with the same numbers.

Without colours letters say what a cell is: # in use, o in a magazine, . free, q in quarantine; of the heap 1
to 4 and a to d for used and free blocks of the four sizes, the smallest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from coronel.memory import PAGE_SIZE
from coronel.mm.call_sites import CallSites
from coronel.mm.heap import Block, HeapWalk
from coronel.mm.heap_view import heapinfo
from coronel.mm.tracks import NameCaller
from coronel.picture.heap import BAND_NAMES, band_of, by_band, line_bytes, pieces
from coronel.picture.heap_sheet import colour_of as heap_colour
from coronel.picture.palette import FREE, OBJECTS, USED, WASTE
from coronel.picture.site_sheet import HEAP, MOST_BARS, bars, facts, longest, things
from coronel.picture.slab_sheet import colour_of as slab_colour
from coronel.picture.slabs import LETTERS, NAMES, CachePicture, sums
from coronel.picture.space import amount
from coronel.picture.terminal import colour_system

FAINT = Style(dim=True)
BOLD = Style(bold=True)
MOST_LINES = 6  # of cells of one cache
HEAP_LETTERS = ("1234", "abcd")  # used, free

Line = list[Segment]
Cell = tuple[str, str]  # a letter and a colour


def cells_of(cells: Iterable[Cell], system: str | None) -> Line:
    """A run of cells, alike ones together."""
    line: Line = []
    for (letter, colour), run in groupby(cells):
        count = len(list(run))
        known = bool(system and colour)
        line.append(Segment(" " * count, Style(bgcolor=colour)) if known else Segment(letter * count))
    return line


class ObjectView:
    """A renderable: a title, and the lines that a picture has."""

    title = ""

    def __init__(self, machine: str) -> None:
        self.machine = machine

    def lines(self, width: int, system: str | None) -> Iterator[Line]:
        """All below the title."""
        raise NotImplementedError

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it."""
        width = max(40, options.max_width)
        head: Line = [Segment(self.title, BOLD), Segment(f" of {self.machine}")]
        for line in (head, *self.lines(width, colour_system(console))):
            yield from Segment.adjust_line_length(line, width, pad=False)
            yield Segment.line()


class SlabView(ObjectView):
    """The caches, a cell for each object."""

    title = "Object caches"

    def __init__(self, caches: list[CachePicture], machine: str) -> None:
        super().__init__(machine)
        self.caches = caches

    def lines(self, width: int, system: str | None) -> Iterator[Line]:
        """A legend, then a heading and some lines for each cache."""
        for state, (objects, size) in sums(self.caches).items():
            words = f" {NAMES.get(state, state)}: {objects} objects, {amount(size)}"
            yield [*cells_of([(LETTERS[state], slab_colour(state))] * 2, system), Segment(words)]
        waste = amount(sum(one.waste for one in self.caches))
        yield [*cells_of([(" ", WASTE)] * 2, system), Segment(f" for no object: {waste}")]
        for one in self.caches:
            if one.slabs:
                yield from self._cache(one, width, system)

    def _cache(self, one: CachePicture, width: int, system: str | None) -> Iterator[Line]:
        counts, slabs = one.counts, len(one.slabs)
        size = f"{one.object_bytes} B, {slabs} slab{'s' if slabs > 1 else ''}"
        parts = [f"{counts[state]} {NAMES[state]}" for state in OBJECTS if counts[state]]
        head = f" {size} of {amount(one.pages * PAGE_SIZE)}: {', '.join(parts)}"
        yield [Segment(one.name, BOLD), Segment(head, FAINT)]
        cells: list[Cell] = []
        for number, states in enumerate(one.slabs):
            if number:
                cells.append((" ", ""))
            cells += [(LETTERS[state], slab_colour(state)) for state in states]
        shown = cells[: width * MOST_LINES]
        for at in range(0, len(shown), width):
            yield cells_of(shown[at : at + width], system)
        if len(cells) > len(shown):
            yield [Segment(f"and {len(cells) - len(shown)} cells more", FAINT)]


class HeapView(ObjectView):
    """The heap's ranges, a line for so many bytes."""

    title = "Kernel heap"

    def __init__(self, found: HeapWalk, machine: str) -> None:
        super().__init__(machine)
        self.found = found

    def lines(self, width: int, system: str | None) -> Iterator[Line]:
        """Numbers, a legend, then the ranges."""
        now = heapinfo(self.found)
        words = (
            f"{amount(now['total_bytes'])} in {len(self.found.ranges)} ranges, {now['fill_percent']} % of it"
        )
        words += f" allocated in {now['active_blocks']} blocks; largest free {amount(now['largest_free'])}"
        yield [Segment(words, FAINT)]
        for used, shades in ((True, USED), (False, FREE)):
            row: Line = [Segment("in use " if used else "free   ")]
            for band, (count, _) in enumerate(by_band(self.found, used=used)):
                cell = (HEAP_LETTERS[not used][band], shades[band].colour)
                row += [*cells_of([cell] * 2, system), Segment(f" {_short(BAND_NAMES[band])}: {count}  ")]
            yield row
        scale = line_bytes(self.found.ranges)
        end_before = 0
        for first, end in sorted(self.found.ranges):
            if end_before and first > end_before:
                yield [Segment(f"   ... {amount(first - end_before)} not the heap's", FAINT)]
            yield [Segment(f"{first:#x}", BOLD), Segment(f"  {amount(end - first)}", FAINT)]
            for start in range(first, end, scale):
                yield cells_of(self._line(start, min(end, start + scale), scale, width), system)
            end_before = end

    def _line(self, first: int, end: int, scale: int, width: int) -> Iterator[Cell]:
        """Each cell is what most of its bytes are."""
        parts = list(pieces(self.found, first, end))
        for cell in range((end - first) * width // scale):
            low, high = first + cell * scale // width, first + (cell + 1) * scale // width
            there = [one for one in parts if one.first < high and low < one.end]
            best = max(there, key=lambda one: min(high, one.end) - max(low, one.first), default=None)
            yield heap_cell(best.block) if best is not None else (" ", "")


def _short(name: str) -> str:
    return name.replace("below ", "<").replace(" and more", "+")


def heap_cell(block: Block) -> Cell:
    """How a block looks."""
    letter = HEAP_LETTERS[not block.used][band_of(block)] if block.whole else "!"
    return letter, heap_colour(block)


class SiteView(ObjectView):
    """Bars of live bytes."""

    title = "Live bytes by call site"

    def __init__(self, found: CallSites, machine: str, name: NameCaller) -> None:
        super().__init__(machine)
        self.found = found
        self.name = name

    def lines(self, width: int, system: str | None) -> Iterator[Line]:
        """The sums; then two lines for each call: its name, and its bar with its numbers."""
        yield [Segment(facts(self.found), FAINT)]
        rows = bars(self.found, self.name, MOST_BARS)
        most = longest(rows)
        room = max(10, width - 32)
        for label, objects, size, _, known in rows:
            yield [Segment(label[:width])]
            length = max(1, room * size // most) if size and label != HEAP else 0
            colour = OBJECTS["allocated"] if known else WASTE
            bar = cells_of([("#" if known else "-", colour)] * length, system)
            numbers = f"{amount(size):>10} {things(label, objects):>14}"
            yield [*bar, Segment(" " * (room - length)), Segment(numbers)]
