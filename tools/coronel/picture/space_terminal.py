"""The kernel's half of the address space in a terminal: a strip for each section, and a row for each range.

Without colours letters say what a cell is: x execute, r read, w write; v vmalloc, d device, s stack, c per
CPU, a dot for a guard page.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from coronel.mm.ranges import KernelRange
from coronel.picture.palette import ALARM, GUARD, RANGES
from coronel.picture.space import Section, Space, amount
from coronel.picture.space_sheet import KIND_NAMES, NameCaller, colour_of
from coronel.picture.terminal import colour_system

MOST_RANGES = 200
FAINT = Style(dim=True)
BOLD = Style(bold=True)
_LETTERS = {"vmalloc": "v", "device": "d", "stack": "s", "per_cpu": "c"}
_RIGHTS = {"r-x": "x", "r--": "r", "rw-": "w"}

Cell = tuple[str, str]  # a letter and a colour


class SpaceView:
    """A renderable."""

    def __init__(self, found: Space, machine: str, name_caller: NameCaller) -> None:
        self.found = found
        self.machine = machine
        self.name_caller = name_caller

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it."""
        width = max(40, options.max_width)
        system = colour_system(console)
        lines: list[list[Segment]] = [
            [Segment("Kernel addresses", BOLD), Segment(f" of {self.machine}")],
            [Segment(f"{amount(self.found.mapped)} mapped of {amount((1 << 64) - self.found.first)}", FAINT)],
        ]
        at = self.found.first
        for section in self.found.sections:
            if section.first > at:
                lines.append([Segment(f"   ... {amount(section.first - at)} nothing", FAINT)])
            lines += self._section(section, width, system)
            at = section.end
        for run in self.found.nobodys:
            lines.append(
                [Segment(f"{run.first:#x}-{run.end:#x} {run.rights}: mapped, and in no section", BOLD)]
            )
        for line in lines:
            yield from Segment.adjust_line_length(line, width, pad=False)
            yield Segment.line()

    def _section(self, section: Section, width: int, system: str | None) -> list[list[Segment]]:
        size = f"{amount(section.mapped)} mapped; room for {amount(section.end - section.first)}"
        lines = [[Segment(f"{section.first:#x} "), Segment(section.name, BOLD), Segment(f"  {size}", FAINT)]]
        cells = range_cells(section, width) if section.ranges else run_cells(section, width)
        lines.append([_segment(cell, system) for cell in cells])
        rows = section.ranges[:MOST_RANGES]
        lines += [[Segment(self._row(one))] for one in rows]
        if len(section.ranges) > len(rows):
            lines.append([Segment(f"and {len(section.ranges) - len(rows)} more", FAINT)])
        return lines

    def _row(self, one: KernelRange) -> str:
        number = f" {one.record['number']}" if one.record["number"] else ""
        kind = KIND_NAMES.get(one.kind, one.kind)
        head = f"{one.first:#x}-{one.end:#x} {amount(one.end - one.first):>9} {kind:<8} pages={one.pages:<5}"
        return f"{head} {one.owner}{number} {self.name_caller(int(one.record['caller']))}"


def run_cells(section: Section, width: int) -> list[Cell]:
    """A strip to scale; what is mapped is at least one cell."""
    first, end = section.shown_first, section.shown_end
    cells: list[Cell] = [(" ", "")] * width
    if end == first:
        return cells
    for run in section.runs:
        low = (run.first - first) * width // (end - first)
        high = max(low + 1, (run.end - first) * width // (end - first))
        cells[low:high] = [(_RIGHTS.get(run.rights, "!"), colour_of(run))] * (min(high, width) - low)
    return cells


def range_cells(section: Section, width: int) -> list[Cell]:
    """One cell for each page of a guard, and for every so many pages of a body, as many as fit."""
    pages = sum(one.pages for one in section.ranges)
    guards = sum(end - first >> 12 for one in section.ranges for first, end in one.guards)
    per_cell = max(1, -(-pages // max(1, width - guards - len(section.ranges))))
    cells: list[Cell] = []
    at = section.first
    for one in section.ranges:
        if one.first > at:
            cells.append((" ", ""))
        spans = [(first, end, True) for first, end in one.guards] + [(*part, False) for part in one.parts]
        for first, end, guard in sorted(spans):
            count = end - first >> 12
            cell = (".", GUARD) if guard else (_LETTERS.get(one.kind, "!"), RANGES.get(one.kind, ALARM))
            cells += [cell] * (count if guard else -(-count // per_cell))
        at = one.end
    return _shrunk(cells, width)


def _shrunk(cells: Sequence[Cell], width: int) -> list[Cell]:
    if len(cells) <= width:
        return list(cells)
    return [cells[n * len(cells) // width] for n in range(width)]


def _segment(cell: Cell, system: str | None) -> Segment:
    letter, colour = cell
    if not system or not colour:
        return Segment(letter)
    if letter == ".":
        return Segment("\N{UPPER HALF BLOCK}", Style(color=colour))
    return Segment(" ", Style(bgcolor=colour))
