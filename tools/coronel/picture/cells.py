"""`survey`: what every frame is, one class for each, decoded from the frame array and the free bits.

It proves nothing: that is the work of `coronel.mm.walker`, for a machine that stands still. This is for
looking, also at one that runs: what a half-made change shows for a moment is in the class `cached`, and gone
in the next picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.mm.check_map import MapView
from coronel.mm.derive import free_blocks, pair_up
from coronel.mm.frames import Bools, FrameArray, read_frames
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical
from coronel.picture.palette import ABSENT, BANDS, CACHED, FREE, RESERVED, SHADES, USED, Shade

Classes = NDArray[np.uint8]
HUGE_ORDER = 9  # of a huge page


@dataclass(frozen=True)
class ZoneView:
    """One zone as it was."""

    name: str
    first: int  # frame numbers, as its record says
    end: int
    present: int  # frames
    managed: int
    free: int
    free_blocks: tuple[int, ...]  # of each order

    @property
    def used(self) -> int:
        """Frames that are neither free nor reserved."""
        return self.managed - self.free


@dataclass(frozen=True)
class Survey:
    """All frames of a machine at one moment."""

    array: FrameArray
    classes: Classes  # of every frame of `array`: an index of SHADES
    zones: tuple[ZoneView, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many frames there are of each of SHADES."""
        return tuple(np.bincount(self.classes, minlength=len(SHADES)).tolist())

    @property
    def present(self) -> int:
        """Frames of memory."""
        return len(self.classes) - self.counts[ABSENT.index]

    @property
    def free(self) -> int:
        """Frames that an allocation can have now."""
        return sum(self.counts[shade.index] for shade in FREE)

    @cached_property
    def free_blocks(self) -> tuple[int, ...]:
        """Free blocks of each order, of all zones together."""
        return free_blocks(self.free_frames, self.array.shape.max_order)

    @cached_property
    def free_frames(self) -> Bools:
        """Of every frame: whether it is free."""
        found: Bools = (self.classes >= FREE[0].index) & (self.classes <= FREE[-1].index)
        return found

    def gaps(self) -> list[tuple[int, int]]:
        """Frame numbers [first, end) of what `array` leaves out between its first and last group: no memory
        there.
        """
        groups, size = self.array.groups, self.array.group_frames
        jumps = np.flatnonzero(np.diff(groups) > 1)
        found = [((int(groups[at]) + 1) * size, int(groups[at + 1]) * size) for at in jumps]
        if len(groups) and groups[0]:
            found.insert(0, (0, int(groups[0]) * size))
        return found


def largest_block(blocks: Sequence[int]) -> int | None:
    """The order of the largest free block, or None when nothing is free."""
    return max((order for order, count in enumerate(blocks) if count), default=None)


def unusable_index(blocks: Sequence[int], order: int = HUGE_ORDER) -> float:
    """The share of free memory in which no block of that order can be found: 0 is whole, 1 is in pieces.

    0 where nothing is free: then it is not the pieces that are to blame.
    """
    free = sum(count << at for at, count in enumerate(blocks))
    usable = sum(count << at for at, count in enumerate(blocks) if at >= order)
    return (free - usable) / free if free else 0.0


def survey(tables: Tables) -> Survey:
    """Reads and decodes everything; DecodeError when there is no manager, or no way to its frames."""
    physical = Physical.of(tables)
    view = MapView.of(tables, physical)
    findings = Findings()
    array = read_frames(tables, physical, view.plausible_blocks(view.well_formed()), findings)
    if findings.problems:
        raise DecodeError(f"the frame array cannot be read: {findings.problems[0]}")
    if not len(array.groups):
        raise DecodeError("the frame map says that there is no memory")
    free = array.free_bits()
    zones = tuple(_zone(tables, physical, array, free))
    return Survey(array, classify(array, free), zones)


def classify(array: FrameArray, free: Bools) -> Classes:
    """The class of every frame. `free` is its bit."""
    kinds = array.frame_type.enumeration("state")
    state = np.ascontiguousarray(array.frame_column("state"))
    by_state = np.full(256, ABSENT.index, np.uint8)
    by_state[kinds["reserved"]] = RESERVED.index
    by_state[kinds["managed"]] = CACHED.index  # until a block or the bits claim it
    by_state[kinds["allocated"]] = USED[0].index
    if "cached" in kinds.values:
        by_state[kinds["cached"]] = CACHED.index
    classes: Classes = by_state[state]
    _claim_used(array, state == kinds["allocated"], classes)
    loose = free & (classes == CACHED.index)
    np.copyto(classes, _free_classes(free, array.shape.max_order), where=loose)
    return classes


def _claim_used(array: FrameArray, heads: Bools, classes: Classes) -> None:
    """Gives each head of an allocated block and the frames inside the block the class of its order."""
    places = np.flatnonzero(heads)
    if not len(places):
        return
    orders = array.frame_column("order")[places].astype(np.int64)
    colour = _by_order(USED)[orders]
    classes[places] = colour
    # Nothing reaches over the next head or the end of a group: the frame array may be nonsense.
    ends = np.minimum(
        places + (np.int64(1) << orders), (places // array.group_frames + 1) * array.group_frames
    )
    ends[:-1] = np.minimum(ends[:-1], places[1:])
    long = ends - places > 1
    places, lengths, colour = places[long], (ends - places)[long], colour[long]
    starts = np.cumsum(lengths) - lengths
    inside = np.arange(int(lengths.sum())) + np.repeat(places - starts, lengths)
    colours = np.repeat(colour, lengths)
    mine = classes[inside] == CACHED.index
    classes[inside[mine]] = colours[mine]


def _free_classes(free: Bools, max_order: int) -> Classes:
    """Of every frame whose bit is set: the class by the order of the free block around it."""
    levels = pair_up(free, max_order)
    # A block that is wholly free is so in halves, too: the number of levels is the order.
    above = levels[max_order].astype(np.uint8)
    for order in range(max_order - 1, -1, -1):
        above = np.repeat(above, 2)
        above += levels[order]
    table = np.concatenate(([ABSENT.index], _by_order(FREE))).astype(np.uint8)
    found: Classes = table[above]
    return found


def _by_order(shades: Sequence[Shade]) -> NDArray[np.uint8]:
    """The class for each order."""
    sizes = [min(last, BANDS[-1][0] + 16) - first + 1 for first, last in BANDS]
    return np.repeat(np.array([shade.index for shade in shades], np.uint8), sizes)


def _zone(tables: Tables, physical: Physical, array: FrameArray, free: Bools) -> list[ZoneView]:
    zones = physical.zones(tables)
    found = []
    for zone in zones:
        first, end = int(zone.record["first"]), int(zone.record["end"])
        mine = free if len(zones) == 1 else free & array.mask([(first, end)])
        found.append(
            ZoneView(
                name=zone.name,
                first=first,
                end=end,
                present=int(zone.record["present_frames"]),
                managed=int(zone.lists["managed_frames"]),
                free=int(np.count_nonzero(mine)),
                free_blocks=free_blocks(mine, array.shape.max_order),
            )
        )
    return found
