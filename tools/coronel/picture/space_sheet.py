"""`space_sheet`: the page with the kernel's half of the address space, as boxes and texts.

At the top all of it, what is empty shortened. Below a strip for each section, from its first to its last
mapped address, to the scale that stands under it. The window of vmalloc is drawn by its ranges, each at least
wide enough to be seen, and each is a row of the table under it. svg.py and png.py draw the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from coronel.mm.ranges import KernelRange
from coronel.picture.palette import ALARM, FAINT, GUARD, INK, PAPER, RANGES, RIGHTS, RULE
from coronel.picture.sheet import MARGIN, Box, Item, Sheet, Text, page_head
from coronel.picture.space import PAGES, Run, Section, Space, amount

WIDTH = 1180
INSIDE = WIDTH - 2 * MARGIN
OVERVIEW = 46  # height of the bar of everything
STRIP = 26
ROW = 20
MOST_ROWS = 24  # of the table of ranges
SCALE = 140  # of the bar that says how much is how wide, at most
NARROWEST = 1.5  # of anything that is there, in points
GUARD_WIDTH = 5
COLUMNS = (24, 330, 420, 490, 590, 700)  # of the table: range, size, pages, kind, owner, caller

NameCaller = Callable[[int], str]
KIND_NAMES = {"vmalloc": "vmalloc", "device": "device", "stack": "stack", "per_cpu": "per CPU"}


def colour_of(run: Run) -> str:
    """By rights and size of page."""
    shades = RIGHTS.get(run.rights)
    if shades is None or run.page not in PAGES:
        return ALARM
    return shades[list(PAGES).index(run.page)]


def widths(weights: Sequence[float], least: Sequence[float], room: float) -> list[float]:
    """Room shared by weight, where nobody gets less than his least; all of it, to the last point."""
    fixed: set[int] = set()
    while True:
        left = room - sum(least[n] for n in fixed)
        total = sum(weight for n, weight in enumerate(weights) if n not in fixed)
        if total <= 0 or left <= 0:
            scale = room / max(sum(least), 1e-9)
            return [one * scale for one in least]
        small = {n for n, weight in enumerate(weights) if n not in fixed and weight * left / total < least[n]}
        if not small:
            return [least[n] if n in fixed else weights[n] * left / total for n in range(len(weights))]
        fixed |= small


def space_sheet(found: Space, machine: str, name_caller: NameCaller) -> Sheet:
    """The page. `name_caller` says in words where a range was asked for."""
    items: list[Item] = []
    y = 156.0 + OVERVIEW
    for section in found.sections:
        if section.shown_end == section.shown_first:
            continue  # the overview says that it is empty
        items += _section(section, y)
        y += 40 + STRIP + 40
        if section.ranges:
            items += _table(section.ranges, y - 8, name_caller)
            y += ROW * (2 + min(len(section.ranges), MOST_ROWS) + (len(section.ranges) > MOST_ROWS)) + 16
    items += _legend(y)
    height = round(y + 84)
    summary = "; ".join(
        f"{one.name}: {amount(one.mapped)} mapped from {one.first:#x}" for one in found.sections
    )
    page = Sheet(f"Kernel addresses of {machine}", summary, WIDTH, height)
    page.items += [
        *page_head("Kernel addresses", machine, _facts(found), WIDTH, height),
        Text(WIDTH - MARGIN, 64, "here each as wide as the logarithm of what it maps", 10.5, FAINT, "end"),
    ]
    page.items += _overview(found, 104)
    page.items += items
    return page


def _facts(found: Space) -> str:
    taken = found.taken
    facts = [f"{amount(found.mapped)} mapped of {amount((1 << 64) - found.first)}"]
    facts.append(
        f"{len(taken)} range{'' if len(taken) == 1 else 's'} with {sum(one.pages for one in taken)} pages"
    )
    facts.append(f"{sum(end - first >> 12 for one in taken for first, end in one.guards)} guard pages")
    if found.nobodys:
        facts.append(
            f"{amount(sum(run.end - run.first for run in found.nobodys))} mapped outside of every section"
        )
    return ", ".join(facts)


def _overview(found: Space, y: float) -> Iterator[Item]:
    """Sections as wide as the logarithm of what they map, and the gaps between them, shortened."""
    parts: list[tuple[Section | None, int]] = []
    at = found.first
    for section in found.sections:
        if section.first > at:
            parts.append((None, section.first - at))
        parts.append((section, section.end - section.first))
        at = section.end
    if at < 1 << 64:
        parts.append((None, (1 << 64) - at))
    weights = [
        math.log2(2 + (section.mapped >> 12)) if section else 0.16 * math.log2(2 + (size >> 30))
        for section, size in parts
    ]
    least = [96.0 if section else 46.0 for section, _ in parts]
    x = float(MARGIN)
    for (owner, size), width in zip(parts, widths(weights, least, INSIDE), strict=True):
        if owner is None:
            for n in range(1, int(width // 7)):
                yield Box(x + 7 * n - 1, y + OVERVIEW / 2 - 1, 2.5, 2.5, RULE, radius=1.2)
            yield Text(x + width / 2, y + OVERVIEW / 2 - 10, amount(size), 10.5, FAINT, "middle")
        else:
            yield Box(x, y, width, OVERVIEW, RULE, radius=4)
            largest = max(owner.runs, key=lambda run: run.end - run.first, default=None)
            yield Box(x, y + OVERVIEW - 5, width, 5, colour_of(largest) if largest else RULE, radius=2)
            yield Text(x + 8, y + 18, owner.name, 12.5, INK, bold=True)
            yield Text(x + 8, y + 34, amount(owner.mapped), 11.5, FAINT)
            yield Text(x, y + OVERVIEW + 15, _short(owner.first), 10.5, FAINT)
        x += width


def _short(address: int) -> str:
    text = f"{address:016x}"
    return f"{text[:4]} {text[4:8]} {text[8:12]} {text[12:]}"


def _section(section: Section, y: float) -> Iterator[Item]:
    first, end = section.shown_first, section.shown_end
    yield Text(MARGIN, y + 14, section.name, 14.5, bold=True)
    size = f"{amount(section.mapped)} mapped; room for {amount(section.end - section.first)}"
    yield Text(WIDTH - MARGIN, y + 14, size, 12.5, FAINT, "end")
    top = y + 24
    yield Box(MARGIN, top, INSIDE, STRIP, RULE, radius=3)
    yield from (_ranges(section, top) if section.ranges else _runs(section, first, end, top))
    yield Text(MARGIN, top + STRIP + 14, _short(first), 10.5, FAINT)
    yield Text(WIDTH - MARGIN, top + STRIP + 14, _short(end), 10.5, FAINT, "end")
    if section.ranges:
        yield Text(WIDTH / 2, top + STRIP + 14, "each as wide as the root of its size", 10.5, FAINT, "middle")
    else:
        yield from _scale(end - first, top + STRIP + 10)


def _scale(shown: int, y: float) -> Iterator[Item]:
    """A bar as long as a round number of bytes is in a strip that shows so many; none where a page would
    reach into the addresses at the strip's ends, for then its few pages are plain to see.
    """
    size = max(1 << 12, 1 << int(math.log2(shown * SCALE / INSIDE)))
    width = INSIDE * size / shown
    if width > INSIDE / 3:
        return
    x = WIDTH / 2 - width
    yield Box(x, y - 1, width, 2, FAINT)
    for end in (x, x + width - 1):
        yield Box(end, y - 4, 1, 8, FAINT)
    yield Text(x + width + 8, y + 4, amount(size), 10.5, FAINT)


def _runs(section: Section, first: int, end: int, y: float) -> Iterator[Item]:
    scale = INSIDE / (end - first)
    for run in section.runs:
        width = max(NARROWEST, (run.end - run.first) * scale)
        x = min(MARGIN + (run.first - first) * scale, MARGIN + INSIDE - width)
        yield Box(x, y, width, STRIP, colour_of(run))


def _ranges(section: Section, y: float) -> Iterator[Item]:
    """Bodies and guards one behind the other. A gap between two ranges is left open."""
    pieces: list[tuple[str, int, float]] = []  # colour, bytes, least width
    at = section.first
    shown = section.ranges[: 6 * MOST_ROWS]
    for one in shown:
        if one.first > at:
            pieces.append(("", one.first - at, 14))
        spans = [(first, end, GUARD) for first, end in one.guards]
        spans += [(first, end, RANGES.get(one.kind, ALARM)) for first, end in one.parts]
        for first, end, colour in sorted(spans):
            pieces.append((colour, end - first, min(GUARD_WIDTH, INSIDE / 3 / len(shown))))
        at = one.end
    x = float(MARGIN)
    sizes = [math.sqrt(size) for _, size, _ in pieces]
    for (colour, _, _), width in zip(pieces, widths(sizes, [one[2] for one in pieces], INSIDE), strict=True):
        if colour == GUARD:
            yield Box(x, y, width, STRIP, PAPER)
            yield Box(x, y + STRIP / 2 - 3, width, 6, GUARD)
        elif colour:
            yield Box(x + 0.25, y, max(0.5, width - 0.5), STRIP, colour, radius=1.5)
        x += width


def _table(ranges: Sequence[KernelRange], y: float, name_caller: NameCaller) -> Iterator[Item]:
    for x, head in zip(
        COLUMNS, ("range, guards included", "size", "pages", "kind", "owner", "asked for by"), strict=True
    ):
        yield Text(MARGIN + x, y + 12, head, 11.5, FAINT)
    for number, one in enumerate(ranges[:MOST_ROWS]):
        base = y + 12 + ROW * (number + 1)
        number_of = f" {one.record['number']}" if one.kind == "stack" else ""
        if one.kind == "per_cpu":
            number_of = f", {one.record['number']} CPUs"
        cells = (
            f"{one.first:#x}-{one.end:#x}",
            amount(one.end - one.first),
            str(one.pages),
            KIND_NAMES.get(one.kind, one.kind),
            f"{one.owner}{number_of}",
            name_caller(int(one.record["caller"])),
        )
        yield Box(MARGIN, base - 10, 12, 12, RANGES.get(one.kind, ALARM), radius=2)
        for x, cell in zip(COLUMNS, cells, strict=True):
            yield Text(MARGIN + x, base, cell[:60], 12)
    if len(ranges) > MOST_ROWS:
        base = y + 12 + ROW * (MOST_ROWS + 1)
        yield Text(MARGIN + COLUMNS[0], base, f"and {len(ranges) - MOST_ROWS} more", 12, FAINT)


def _legend(y: float) -> Iterator[Item]:
    yield Box(MARGIN, y, INSIDE, 1, RULE)
    x = float(MARGIN)
    words = {"r-x": "execute", "r--": "read", "rw-": "read and write"}
    for rights, shades in RIGHTS.items():
        for shade in shades:
            yield Box(x, y + 20, 13, 13, shade, radius=2)
            x += 15
        yield Text(x + 5, y + 31, words[rights], 12)
        x += 40 + 6.5 * len(words[rights])
    yield Text(x, y + 31, f"in pages of {', '.join(PAGES.values())}", 12, FAINT)
    x = float(MARGIN)
    for kind, colour in RANGES.items():
        yield Box(x, y + 46, 13, 13, colour, radius=2)
        yield Text(x + 20, y + 57, KIND_NAMES[kind], 12)
        x += 50 + 6.5 * len(KIND_NAMES[kind])
    yield Box(x, y + 50, 13, 6, GUARD)
    yield Text(x + 20, y + 57, "guard page, never mapped", 12)
