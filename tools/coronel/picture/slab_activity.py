"""What the object caches are doing, for a terminal, as slabtop(1) does: sums, then a row for each cache.

A size is the bytes of slabs; what of them holds no caller's object is held, and free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from coronel.mm.record import Tables
from coronel.mm.slab_use import CacheUse, SlabUse, Totals, sorted_by
from coronel.picture.bars import Bars, Part
from coronel.picture.legend import percent
from coronel.picture.palette import OBJECTS, WASTE
from coronel.picture.slabs import LETTERS
from coronel.picture.space import amount
from coronel.picture.terminal import FAINT, ROOMY

BOLD = Style(bold=True)
PARTS = {
    "allocated": Part("in use", OBJECTS["allocated"], LETTERS["allocated"]),
    "cached": Part("cached", OBJECTS["cached"], LETTERS["cached"]),  # in quarantine, too
    "free": Part("free", OBJECTS["free"], LETTERS["free"]),
    "waste": Part("for no object", WASTE, "-"),
}
NARROW = 80
LEAST_BAR = 16  # characters: shorter ones say nothing

Line = list[Segment]


@dataclass(frozen=True)
class _Column:
    heading: str
    width: int  # at least its heading's; a larger number makes it wider
    text: Callable[[CacheUse], str]
    sort: str = ""  # the order that it shows
    narrow: bool = True  # whether it is there below NARROW, where names need the room


COLUMNS = (
    _Column("objects", 7, lambda one: str(one.objects), "objects"),
    _Column("active", 6, lambda one: str(one.active), "active"),
    _Column("use", 4, lambda one: _use(one.active, one.objects)),
    _Column("bytes", 5, lambda one: str(one.row["objsize"]), narrow=False),
    _Column("slabs", 5, lambda one: str(one.row["num_slabs"]), narrow=False),
    _Column("size", 6, lambda one: f"{one.bytes // 1024}K", "size"),
    _Column("held", 6, lambda one: f"{one.row['held_free']}K", "held"),
    _Column("cached", 6, lambda one: str(one.row["cached"]), narrow=False),
    _Column("+/- per s", 9, lambda one: _rate(one.per_second), "rate"),
)


class SlabActivity:
    """A renderable of the last two samples, no higher than the terminal; complete where there is none."""

    def __init__(self, machine: str, sort: str) -> None:
        self.machine = machine
        self.sort = sort
        self.samples: deque[SlabUse] = deque(maxlen=2)
        self.note = ""

    def take(self, tables: Tables) -> None:
        """Reads the next sample and adds it."""
        self.add(SlabUse.take(tables))

    def add(self, sample: SlabUse) -> None:
        """The next one."""
        self.samples.append(sample)

    def caches(self) -> list[CacheUse]:
        """As they are in the last sample, with their rates since the one before, in order."""
        before, now = self.samples[0], self.samples[-1]
        known = [replace(one, per_second=now.rate(key, before)) for key, one in now.caches.items()]
        return sorted_by(known, self.sort)

    def as_json(self) -> dict[str, Any]:
        """The same numbers for programs."""
        caches = self.caches()
        return {
            "total": asdict(Totals.of(caches)),
            "guard_slots": self.samples[-1].guard_slots,
            "sort": self.sort,
            "caches": [one.as_json() for one in caches],
            "unreadable": {str(number): why for number, why in self.samples[-1].unreadable.items()},
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it."""
        width = max(60, options.max_width)
        caches, bars = self.caches(), Bars.of(console)
        roomy = not console.is_terminal or console.height >= ROOMY
        lines = [*self._head(Totals.of(caches)), *_sums(caches, bars, width), *([[]] if roomy else [])]
        warnings = list(self._warnings(caches))
        room = console.height - 2 - len(lines) - len(warnings) if console.is_terminal else len(caches)
        lines += [*self._rows(caches, room, bars, width), *warnings]
        for one in lines:
            yield from Segment.adjust_line_length(one, width, pad=False)
            yield Segment.line()

    def _head(self, total: Totals) -> Iterator[Line]:
        yield [Segment("Object caches", BOLD), Segment(f" of {self.machine}   "), Segment(self.note, FAINT)]
        yield _facts(
            ("active objects", f"{total.active} of {total.objects}"),
            ("slabs", f"{total.active_slabs} of {total.slabs}"),
            ("caches", f"{total.active_caches} of {total.caches}"),
        )
        share = total.used / total.bytes if total.bytes else 0.0
        used = f"{amount(total.used)} of {amount(total.bytes)}, {percent(share)}"
        slots = self.samples[-1].guard_slots
        guarded = [("guard pool", f"{total.guarded} of {slots}")] if slots else []
        yield _facts(("in use", used), ("held but free", amount(total.held)), *guarded)

    def _rows(self, caches: list[CacheUse], room: int, bars: Bars, width: int) -> Iterator[Line]:
        """A heading, and as many caches as there is room for, the last line for those that have none."""
        shown = caches if len(caches) <= room else caches[: max(room - 1, 1)]
        columns = [column for column in COLUMNS if column.narrow or width >= NARROW]
        widths = [max([column.width, *(len(column.text(one)) for one in shown)]) for column in columns]
        named = max([len(one.name) for one in shown], default=0) + 2
        bar = width - sum(widths) - len(widths) - 1 - named
        if bar < LEAST_BAR:
            bar = named = 0
        sized = list(zip(columns, widths, strict=True))
        yield self._headings(sized, named)
        for one in shown:
            cells = "".join(f"{column.text(one):>{size}} " for column, size in sized)
            yield [Segment(f"{cells} {one.name:<{named}}"), *_bar(one.parts, bars, bar)]
        if hidden := caches[len(shown) :]:
            yield [Segment(_more(hidden), FAINT)]

    def _headings(self, sized: Sequence[tuple[_Column, int]], named: int) -> Line:
        line = [
            Segment(f"{column.heading:>{size}} ", BOLD if column.sort == self.sort else FAINT)
            for column, size in sized
        ]
        line.append(Segment(f" {'name':<{named}}", BOLD if self.sort == "name" else FAINT))
        return [*line, Segment("what lies in its slabs", FAINT)] if named else line

    def _warnings(self, caches: list[CacheUse]) -> Iterator[Line]:
        for number, why in self.samples[-1].unreadable.items():
            yield [Segment(f"cache {number} cannot be read: {why}", BOLD)]
        for one in caches:
            if one.broken:
                yield [Segment(f"{one.name} is read in part: {one.broken}", BOLD)]


def _facts(*facts: tuple[str, str]) -> Line:
    line: Line = []
    for label, value in facts:
        line += [Segment(f"{label} "), Segment(value, BOLD), Segment("   ")]
    return line


def _sums(caches: list[CacheUse], bars: Bars, width: int) -> Iterator[Line]:
    """All bytes of slabs as one bar, and its key."""
    sums = {name: sum(one.parts[name] for one in caches) for name in PARTS}
    yield list(_bar(sums, bars, width))
    yield list(bars.key(PARTS.values()))


def _bar(parts: dict[str, int], bars: Bars, width: int) -> Iterator[Segment]:
    total = sum(parts.values())
    if total and width:
        yield from bars.side_by_side([(PARTS[name], size / total) for name, size in parts.items()], width)


def _more(hidden: list[CacheUse]) -> str:
    total = Totals.of(hidden)
    objects = f"{total.active} of {total.objects} objects active"
    return f"and {total.caches} caches more: {objects}, {amount(total.bytes)}"


def _use(active: int, objects: int) -> str:
    """A share without a space; what is there never reads as nothing, nor what is not all as all."""
    if not objects:
        return "-"
    return "<1%" if 0 < 100 * active < objects else f"{100 * active // objects}%"


def _rate(per_second: float | None) -> str:
    """With its sign; what is there never reads as nothing."""
    if per_second is None:
        return "-"
    if per_second == 0 or abs(per_second) >= 10:
        return f"{per_second:+.0f}" if per_second else "0"
    return f"{per_second:+.1f}" if abs(per_second) >= 0.05 else f"{per_second:+.0e}"
