"""What a frame can be in a picture, and the colour and the letter of each.

Hue says what a frame is: blue is free, orange is allocated, as in the palette of Okabe and Ito, which colour-
blind eyes tell apart. Brightness says how large the block is that it lies in: bright is small. So memory that
is whole is calm, and what is broken into small pieces stands out. Any two colours stay apart for people
without red or without green receptors: tests/tools/test_picture_palette.py computes that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PAPER = "#10151d"  # behind everything
INK = "#e8edf4"
FAINT = "#93a1b3"
RULE = "#2b3442"
EDGE = "#ffffff"  # of zones


class Kind(Enum):
    """What a frame is, without its block's size."""

    absent = "absent"
    reserved = "reserved"
    cached = "cached"
    free = "free"
    used = "allocated"


@dataclass(frozen=True)
class Shade:
    """One class of frames. `orders` are the first and last order of its blocks; None where there are none."""

    index: int
    kind: Kind
    colour: str
    letter: str  # where there are no colours
    orders: tuple[int, int] | None = None

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)

    @property
    def key(self) -> str:
        """Its name for programs: free-0, used-1, reserved."""
        if self.orders is None:
            return self.kind.name
        return f"{self.kind.name}-{BANDS.index(self.orders)}"


LAST = 63  # no order is larger
# Single frames; small blocks; large ones; whole pageblocks (2 MiB), of which huge pages are made.
BANDS = ((0, 0), (1, 4), (5, 8), (9, LAST))

_FREE = ("#d6f0ff", "#7cc4f5", "#2f86cf", "#174a80")
_USED = ("#fff3a6", "#ffc400", "#e86f00", "#8f2f00")

ABSENT = Shade(0, Kind.absent, PAPER, " ")
RESERVED = Shade(1, Kind.reserved, "#767c86", "#")
# Free, but not in the bits: a CPU keeps it at hand, or the picture was taken in the middle of a change.
CACHED = Shade(2, Kind.cached, "#009e73", "~")
FREE = tuple(
    Shade(3 + band, Kind.free, _FREE[band], ".:-="[band], orders) for band, orders in enumerate(BANDS)
)
USED = tuple(
    Shade(7 + band, Kind.used, _USED[band], "oxX@"[band], orders) for band, orders in enumerate(BANDS)
)
SHADES = (ABSENT, RESERVED, CACHED, *FREE, *USED)
OTHERS = tuple(shade for shade in SHADES if shade not in (ABSENT, *FREE, *USED))

# -- the kernel's addresses. Rights by hue, as above: what runs is orange, what is only read is grey, what is
# written is blue; brightness says how large the pages are, bright is small: 4 KiB, 2 MiB, 1 GiB.
RIGHTS = {
    "r-x": ("#fff3a6", "#ffc400", "#e86f00"),
    "r--": ("#c0c5cd", "#979da8", "#6f757f"),
    "rw-": ("#d6f0ff", "#7cc4f5", "#2f86cf"),
}
ALARM = "#ff2d55"  # rights that no kernel page may have
# What a range is for, and the pages that are never mapped: hues that no right has.
RANGES = {"vmalloc": "#3fab76", "device": "#970c26", "stack": "#5204f5", "per_cpu": "#afd95a"}
GUARD = "#903f8e"

# -- objects, by what their state says: orange is in use, blue is free, as above, green is at hand.
OBJECTS = {"allocated": "#ffa51f", "cached": CACHED.colour, "free": "#1d5591", "quarantined": "#d08fc0"}
WASTE = "#5b636e"  # of a slab: for no object


def object_colours() -> dict[str, str]:
    """Every colour of a picture of slabs, by what it means."""
    return {**OBJECTS, "waste": WASTE, "alarm": ALARM, "paper": PAPER, "rule": RULE}


def space_colours() -> dict[str, str]:
    """Every colour of a picture of addresses, by what it means."""
    rights = {f"{key} {size}": one for key, shades in RIGHTS.items() for size, one in enumerate(shades)}
    return {**rights, **RANGES, "guard": GUARD, "alarm": ALARM, "paper": PAPER, "rule": RULE}
