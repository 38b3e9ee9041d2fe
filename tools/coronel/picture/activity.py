"""What a memory manager is doing: zones, free blocks of each order, events per second, for a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from coronel.mm import stats
from coronel.mm.record import Tables
from coronel.picture.bars import STEPS, Bars, Part
from coronel.picture.cells import HUGE_ORDER, Survey, largest_block, survey, unusable_index
from coronel.picture.legend import exactly, facts, in_bytes, percent
from coronel.picture.palette import BANDS, FREE, USED
from coronel.picture.terminal import FAINT

# Counters and what a column calls them; one that the kernel does not have is left out.
EVENTS = {
    "frame_allocations": "allocations",
    "frame_releases": "releases",
    "frame_splits": "splits",
    "frame_merges": "merges",
    "frame_failures": "refused",
    "frame_misuses": "misuses",
}
HISTORY = 64  # rates that are remembered
COLUMN = 12
IN_USE = Part("used", USED[2].colour, "#")
NOT_IN_USE = Part("free", FREE[2].colour, ".")

Line = list[Segment]


@dataclass(frozen=True)
class Sample:
    """A machine at one moment."""

    memory: Survey
    counters: Mapping[str, int]
    seconds: float  # of this computer's clock

    @classmethod
    def take(cls, tables: Tables) -> Sample:
        """Reads it."""
        return cls(survey(tables), stats.counters(tables), time.monotonic())

    def rates(self, before: Sample) -> dict[str, float]:
        """Events per second since an earlier sample."""
        passed = self.seconds - before.seconds
        names = [name for name in EVENTS if name in self.counters]
        if passed <= 0:
            return dict.fromkeys(names, 0.0)
        return {name: (self.counters[name] - before.counters[name]) / passed for name in names}


class Activity:
    """A renderable of the last two samples; fits 80 columns by 24 lines with up to four zones."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.samples: deque[Sample] = deque(maxlen=2)
        self.history: deque[float] = deque(maxlen=HISTORY)  # allocations per second
        self.note = ""

    def take(self, tables: Tables) -> None:
        """Reads the next sample and adds it."""
        self.add(Sample.take(tables))

    def add(self, sample: Sample) -> None:
        """The next one."""
        self.samples.append(sample)
        if len(self.samples) == self.samples.maxlen:
            self.history.append(self.rates().get("frame_allocations", 0.0))

    def rates(self) -> dict[str, float]:
        """Events per second between the last two samples."""
        return self.samples[-1].rates(self.samples[0])

    def as_json(self) -> dict[str, Any]:
        """The same numbers for programs."""
        memory = self.samples[-1].memory
        return {
            "frames": {"present": memory.present, "free": memory.free},
            "zones": [
                {"name": zone.name, "free": zone.free, "managed": zone.managed} for zone in memory.zones
            ],
            "free_blocks": list(memory.free_blocks),
            "largest_free_order": largest_block(memory.free_blocks),
            "unusable_free_index": {"order": HUGE_ORDER, "index": unusable_index(memory.free_blocks)},
            "per_second": self.rates(),
            "counters": dict(self.samples[-1].counters),
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it; empty ones are left out where there is no room for them."""
        width = max(60, options.max_width)
        bars = Bars.of(console)
        parts = [
            list(self._head()),
            list(self._zones(bars, width)),
            list(self._orders(bars, width)),
            list(self._events(bars, width)),
        ]
        roomy = sum(map(len, parts)) + len(parts) - 1 < console.height
        for number, part in enumerate(parts):
            if number and roomy:
                yield Segment.line()
            for one in part:
                yield from Segment.adjust_line_length(one, width, pad=False)
                yield Segment.line()

    def _head(self) -> Iterator[Line]:
        bold = Style(bold=True)
        yield [Segment("Coronel", bold), Segment(f", {self.machine}"), Segment(f"   {self.note}", FAINT)]
        row: Line = []
        for fact in facts(self.samples[-1].memory):
            label = fact.label.replace("largest free block", "largest")
            row += [Segment(f"{label} "), Segment(fact.value, bold), Segment("   ")]
        yield row

    def _zones(self, bars: Bars, width: int) -> Iterator[Line]:
        yield [Segment(f"{'zone':<8}{'free':>11}{'of':>12}{'':>9}", FAINT), *bars.key((IN_USE, NOT_IN_USE))]
        for zone in self.samples[-1].memory.zones:
            if not zone.managed:
                continue  # a machine has room for more zones than it has
            share = zone.free / zone.managed
            text = f"{zone.name:<8}{in_bytes(zone.free):>11}{in_bytes(zone.managed):>12}{percent(share):>8} "
            parts = ((IN_USE, 1 - share), (NOT_IN_USE, share))
            yield [Segment(text), *bars.side_by_side(parts, width - len(text))]

    def _orders(self, bars: Bars, width: int) -> Iterator[Line]:
        blocks = self.samples[-1].memory.free_blocks
        free = sum(count << order for order, count in enumerate(blocks))
        yield [Segment(f"{'order':>5}{'block':>10}{'free':>8}{'in them':>11}{'of free':>9}", FAINT)]
        for order, count in enumerate(blocks):
            frames = count << order
            share = frames / free if free else 0.0
            sums = (in_bytes(frames), percent(share)) if count else ("-", "-")
            text = f"{order:>5}{exactly(1 << order):>10}{count:>8}{sums[0]:>11}{sums[1]:>9} "
            # The brightest would be lost on white paper.
            colour = FREE[max(_band(order), 1)].colour
            yield [Segment(text), *bars.one(share, width - len(text), colour)]

    def _events(self, bars: Bars, width: int) -> Iterator[Line]:
        rates = self.rates()
        names = "".join(f"{EVENTS[name]:>{COLUMN}}" for name in rates)
        yield [Segment(f"{'':8}{names}", FAINT)]
        yield [Segment("per s   "), Segment("".join(f"{rate:>{COLUMN},.0f}" for rate in rates.values()))]
        if bars.eighths and len(self.history) > 1:
            room = width - 20
            yield [Segment("allocations / s     ", FAINT), Segment(sparkline(list(self.history)[-room:]))]


def sparkline(values: Sequence[float]) -> str:
    """A column for each value, the largest as high as the line; nothing is as low as can be."""
    top = max(values, default=0.0)
    return "".join(
        STEPS[min(int(value / top * len(STEPS)), len(STEPS) - 1)] if top else STEPS[0] for value in values
    )


def _band(order: int) -> int:
    return next(number for number, (first, last) in enumerate(BANDS) if first <= order <= last)
