"""The words and numbers that stand beside a picture of memory, on a page as in a terminal.

The numbers are of frames, each counted once, never of cells: they are exact, whatever a cell stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coronel.memory import PAGE_SHIFT, PAGE_SIZE
from coronel.picture.cells import HUGE_ORDER, Survey, largest_block, unusable_index
from coronel.picture.palette import CACHED, FREE, RESERVED, USED, Shade

HEADINGS = ("free, in blocks of", "allocated, in blocks of", "other")


@dataclass(frozen=True)
class Row:
    """One class of frames and how much of memory it is."""

    shade: Shade
    label: str
    frames: int
    share: float  # of the memory that is present


@dataclass(frozen=True)
class Fact:
    """One of the numbers that sum memory up."""

    label: str
    value: str
    detail: str = ""


def in_bytes(frames: int) -> str:
    """An amount for people: 668 KiB, 14.0 MiB, 1.5 GiB; alike below each other."""
    size = float(frames * PAGE_SIZE) / 1024
    if size < 1000:
        return f"{size:.0f} KiB"
    size /= 1024
    return f"{size:.1f} MiB" if size < 1000 else f"{size / 1024:.1f} GiB"


def exactly(frames: int) -> str:
    """The same without a digit that says nothing: 8 MiB, 255.5 MiB. For sizes of blocks and of machines."""
    size, unit = frames * PAGE_SIZE, 1024
    name = "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if size < 1024 * unit:
            break
        unit, name = 1024 * unit, larger
    return f"{size // unit} {name}" if size % unit == 0 else in_bytes(frames)


def short(text: str) -> str:
    """The same sizes in fewer letters: 8-64K."""
    return text.replace(" KiB", "K").replace(" MiB", "M").replace(" GiB", "G")


def percent(share: float) -> str:
    """A share for people; what is there never reads as nothing."""
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def between(orders: tuple[int, int], max_order: int) -> str:
    """The sizes of blocks of these orders: 8-64 KiB."""
    first, last = 1 << orders[0], 1 << min(orders[1], max_order)
    return exactly(first) if first == last else span(first, last)


def span(first: int, last: int) -> str:
    """From one size to another, in frames: 8-64 KiB, 0-16 MiB, 16 MiB-4 GiB."""
    low, high = exactly(first), exactly(last)
    if first == 0 or low.split()[1] == high.split()[1]:
        low = low.split()[0]
    return f"{low}-{high}"


def sections(memory: Survey) -> Iterator[tuple[str, list[Row]]]:
    """The legend: every class under its heading. One that is rare, and not there, is left out."""
    max_order = memory.array.shape.max_order

    def row(shade: Shade, label: str) -> Row:
        frames = memory.counts[shade.index]
        return Row(shade, label, frames, frames / memory.present if memory.present else 0.0)

    for heading, shades in zip(HEADINGS, (FREE, USED), strict=False):
        yield heading, [row(shade, between(shade.orders or (0, 0), max_order)) for shade in shades]
    rest = [row(RESERVED, "reserved")]
    if memory.counts[CACHED.index]:
        rest.append(row(CACHED, "kept at hand by a CPU"))
    yield HEADINGS[-1], rest


def facts(memory: Survey) -> list[Fact]:
    """What a reader wants to know first."""
    blocks = memory.free_blocks
    largest = largest_block(blocks)
    share = memory.free / memory.present if memory.present else 0.0
    return [
        Fact("memory", exactly(memory.present)),
        Fact("free", in_bytes(memory.free), percent(share)),
        Fact(
            "largest free block",
            "none" if largest is None else exactly(1 << largest),
            "" if largest is None else f"order {largest}",
        ),
        Fact(
            "unusable free index",
            f"{unusable_index(blocks):.2f}",
            f"for order {HUGE_ORDER}, {exactly(1 << HUGE_ORDER)}",
        ),
    ]


def cell_size(frames: int) -> str:
    """What one cell stands for."""
    return f"one cell = {exactly(frames)}" + (
        ", one frame" if frames == 1 else f", the colour of most of its {frames} frames"
    )


def address(frame: int) -> str:
    """A physical address as programmers write it."""
    return f"{frame << PAGE_SHIFT:#x}"


def line(memory: Survey) -> str:
    """Where the line of cells begins and ends."""
    array = memory.array
    first, end = array.number(0), array.number(len(memory.classes) - 1) + 1
    return f"along a Hilbert curve from the top left corner, {address(first)} to {address(end)}"


def left_out(memory: Survey) -> str:
    """Which stretches without memory the picture leaves out; empty when there are none."""
    gaps = memory.gaps()
    if not gaps:
        return ""
    shown = [f"{address(first)}-{address(end)}" for first, end in gaps[:3]]
    more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
    return f"left out, no memory there: {', '.join(shown)}{more}"
