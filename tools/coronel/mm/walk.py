"""`Walk`: what `walk` found: the state of every frame, the free blocks, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coronel.errors import ValidationError
from coronel.mm.check_map import Ranges
from coronel.mm.frames import FrameArray
from coronel.mm.magazines import Cache, Magazine
from coronel.mm.problem import Problem
from coronel.mm.ranges import AddressRanges
from coronel.mm.slabs import Cache as ObjectCache
from coronel.mm.zones import State, Zone


@dataclass
class Walk:
    """What was found. With problems, the numbers are those of the corrected state, as far as it could be
    corrected.
    """

    array: FrameArray
    states: NDArray[np.uint8]  # State of every frame of `array`
    orders: NDArray[np.uint8]  # of heads, allocated and cached
    zone_free_blocks: tuple[tuple[int, ...], ...]  # of each zone, of each order
    present_ranges: Ranges  # frame numbers [first, end)
    direct_frames: int  # frames from this number on are not in the direct map
    zones: list[Zone]  # those without memory too
    caches: list[Cache]
    object_caches: list[ObjectCache]
    counters: dict[str, int]
    generation: int
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0  # problems beyond the bound
    complete: bool = True  # whether everything could be read
    addresses: AddressRanges | None = None  # of kernel addresses; None where there is no window of them
    notes: list[str] = field(default_factory=list)  # no problems, but worth to know

    @property
    def free_blocks(self) -> tuple[int, ...]:
        """Free blocks in the zones, of each order."""
        return tuple(map(sum, zip(*self.zone_free_blocks, strict=True)))

    @property
    def present(self) -> int:
        """Frames of memory."""
        return int(np.count_nonzero(self.states))

    @property
    def free(self) -> int:
        """Free frames in the zones: what their bits say."""
        return self._count(State.free)

    @property
    def cached(self) -> int:
        """Free frames out of the zones: in the CPUs' magazines."""
        heads = self.states == State.cached
        return int((np.int64(1) << self.orders[heads].astype(np.int64)).sum())

    @property
    def available(self) -> int:
        """Free frames wherever they are: the kernel's MemFree."""
        return self.free + self.cached

    @property
    def reserved(self) -> int:
        """Frames that are never handed out."""
        return self._count(State.reserved)

    @property
    def managed(self) -> int:
        """Frames that belong to the frame allocator."""
        return self.present - self.reserved

    @property
    def reserved_ranges(self) -> Ranges:
        """Frame numbers [first, end) of runs of reserved frames, none reaching from one present range into
        another.
        """
        return self.array.runs(self.states == State.reserved)

    @property
    def allocated_blocks(self) -> NDArray[np.int64]:
        """A row (first frame, order) for each allocated block, ascending."""
        return self._blocks(State.allocated)

    @property
    def cached_blocks(self) -> NDArray[np.int64]:
        """A row (first frame, order) for each block in a magazine, ascending."""
        return self._blocks(State.cached)

    @property
    def magazines(self) -> list[Magazine]:
        """The magazines that hold something, as they say it."""
        return [one for cache in self.caches for one in cache.magazines if one.count]

    def state(self, frame: int) -> State:
        """What a frame is; absent where there is nothing."""
        index = self.array.index(frame)
        return State.absent if index is None else State(int(self.states[index]))

    def whole_states(self) -> NDArray[np.uint8]:
        """State of every frame, where what is inside a block is what its first frame is."""
        shown = self.states.copy()
        inside = np.flatnonzero(shown == State.inside)
        heads = np.flatnonzero((shown == State.allocated) | (shown == State.cached))
        if len(heads):
            owner = heads[np.maximum(np.searchsorted(heads, inside) - 1, 0)]
            shown[inside] = self.states[owner]
        return shown

    def ranges(self) -> list[tuple[int, int, State]]:
        """Runs (first, end, state) of frames in one state, ascending, absent ones left out; all of a block
        is in the state of its first frame, and so every allocated stretch is one run.
        """
        found = []
        shown = self.whole_states()
        for state in (State.reserved, State.free, State.allocated, State.cached):
            found += [(first, end, state) for first, end in self.array.runs(shown == state)]
        return sorted(found)

    def check(self) -> None:
        """ValidationError that lists every problem, when there are any."""
        if self.problems or not self.complete:
            raise ValidationError(self.summary())

    def summary(self) -> str:
        """A few lines for people: levels, free blocks of each zone that has memory, problems, notes."""
        lines = [
            f"{self.present} frames present, {self.managed} managed, {self.free} free, {self.cached} cached, "
            f"{len(self.allocated_blocks)} blocks allocated"
        ]
        for zone, blocks in zip(self.zones, self.zone_free_blocks, strict=False):
            if zone.populated:
                numbers = " ".join(map(str, blocks))
                lines.append(f"zone {zone.name}, free blocks of order 0 to {len(blocks) - 1}: {numbers}")
        more = f" and {self.left_out} more" if self.left_out else ""
        if self.problems:
            lines = [
                f"{len(self.problems)}{more} problems in the state of memory",
                *map(str, self.problems),
                *lines,
            ]
        if not self.complete:
            lines.append("not everything could be read")
        return "\n".join([*lines, *(f"note: {text}" for text in self.notes)])

    def _blocks(self, state: State) -> NDArray[np.int64]:
        heads = np.flatnonzero(self.states == state)
        return np.column_stack((self.array.numbers(heads), self.orders[heads].astype(np.int64)))

    def _count(self, state: State) -> int:
        return int(np.count_nonzero(self.states == state))
