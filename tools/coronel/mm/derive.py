"""What follows from the bits alone: free blocks of each order, and what a Pageblock and the lists must then
say.

An independent algorithm. The kernel folds words on themselves and keeps counts; here a free block of order n
is what is left when free runs of 2^n frames are paired up: two free halves of one pair are not two blocks but
one larger one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.mm.frames import Bools, Numbers, Words
from coronel.mm.zones import Shape, run_fields


def pair_up(free: Bools, levels: int) -> list[Bools]:
    """Per order 0..levels: where a run of 2^order, aligned, is wholly free. `free` has whole runs of 2^levels
    in a row.
    """
    found = [free]
    for _ in range(levels):
        found.append(found[-1][0::2] & found[-1][1::2])
    return found


def exactly(levels: list[Bools], order: int) -> Bools:
    """Of the runs of one order, those that are free blocks of just that order: their buddy is not wholly
    free.
    """
    runs = levels[order]
    if order + 1 == len(levels):
        return runs
    return runs & ~np.repeat(levels[order + 1], 2)


def free_blocks(free: Bools, max_order: int) -> tuple[int, ...]:
    """How many free blocks of each order there are."""
    levels = pair_up(free, max_order)
    return tuple(int(np.count_nonzero(exactly(levels, order))) for order in range(max_order + 1))


@dataclass(frozen=True)
class Derived:
    """What the bits say about each pageblock."""

    free_frames: Numbers
    runs: Words  # as Pageblock.runs should be
    largest: Numbers  # order of the largest free block, -1 where nothing is free
    blocks: Numbers  # free blocks of all orders

    def uncounted(self, where: Bools, shape: Shape) -> Derived:
        """The same of pageblocks of which those of `where` are uncounted, if they are partly free: each free
        frame is a block, and the largest may be any.
        """
        partly = where & (self.free_frames > 0) & (self.free_frames < shape.block_frames)
        return Derived(
            self.free_frames,
            np.where(partly, np.uint64(shape.uncounted), self.runs),
            np.where(partly, shape.whole_order, self.largest),
            np.where(partly, self.free_frames, self.blocks),
        )


def derive_blocks(free: Bools, shape: Shape) -> Derived:
    """For each pageblock of `free`."""
    count = len(free) // shape.block_frames
    levels = pair_up(free, shape.whole_order)
    fields = run_fields(shape.whole_order)
    runs = np.zeros(count, np.uint64)
    largest = np.full(count, -1, np.int64)
    sums = np.zeros(count, np.int64)
    for order in range(shape.whole_order + 1):
        blocks = exactly(levels, order).reshape(count, shape.block_frames >> order).sum(axis=1)
        runs |= blocks.astype(np.uint64) << np.uint64(fields[order])
        largest[blocks > 0] = order
        sums += blocks
    return Derived(free.reshape(count, shape.block_frames).sum(axis=1).astype(np.int64), runs, largest, sums)


def largest_in(runs: int, shape: Shape) -> int:
    """The largest order whose field in a Pageblock's `runs` is not zero; -1 when there is none."""
    fields = run_fields(shape.whole_order)
    return next((order for order in range(shape.whole_order, -1, -1) if runs >> fields[order]), -1)


def whole_orders(full: Bools, shape: Shape) -> Numbers:
    """Of each pageblock: the order of the wholly free run that it heads; 0 where it heads none."""
    levels = pair_up(full, shape.max_order - shape.whole_order)
    found = np.zeros(len(full), np.int64)
    for above in range(len(levels)):
        heads = np.flatnonzero(exactly(levels, above)) << above
        found[heads] = shape.whole_order + above
    return found


def cover(heads: Numbers, orders: Numbers, frames: int, group_frames: int) -> Bools:
    """Of each frame: whether a block of one of those heads and orders reaches over it (not over its own
    head).
    """
    ends = np.minimum(heads + (np.int64(1) << orders), (heads // group_frames + 1) * group_frames)
    steps = np.zeros(frames + 1, np.int64)
    np.add.at(steps, heads + 1, 1)
    np.add.at(steps, np.maximum(ends, heads + 1), -1)
    covered: Bools = np.cumsum(steps)[:frames] > 0
    return covered


def natural_lengths(heads: Numbers, inside: Bools, group_frames: int) -> Numbers:
    """From each head on: how many frames until the first that cannot be inside its block (itself counted)."""
    ends: NDArray[Any] = ~inside
    ends[::group_frames] = True
    places = np.append(np.flatnonzero(ends), len(inside))
    following: Numbers = places[np.searchsorted(places, heads, "right")]
    return following - heads
