"""`MemoryModel`: what memory must look like after what was done to it, kept by nothing but arithmetic.

    model = MemoryModel(mm.walk())
    operations = [allocation(3), allocation(11)]
    model.follow(operations, mm.run(operations))     # ValidationError when an answer cannot be right
    mm.quiesce()
    model.compare(mm.walk(), settled=True)

It does not foretell which block is handed out, nor what a magazine keeps. It knows what no answer may be: a
block that is not aligned, not free, or in a zone that the flags exclude; a refusal while a zone could have
spared the block; a release refused, or not refused, against what the model holds.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coronel.errors import ValidationError
from coronel.mm.pages import GFPFlags, PageOperation, PageResult, Verb
from coronel.mm.walk import Walk
from coronel.mm.zones import State

MAX_ORDER = 11
RESERVE_SHARE = 256  # a zone's minimum, and what a zone keeps from those who have a higher one: a 256th
ZONES = ("DMA", "DMA32", "Normal", "HighMem")
MOST_FRAMES_TO_DESCRIBE = 32  # tables and the smallest storage for a range that is added
_DMA, _NORMAL, _HIGHMEM = 0, 2, 3
_LOWMEM_END, _DMA_END, _ALL = 1 << 20, 1 << 12, 1 << 32  # frame numbers

_FREE = [bytes([State.free]) * (1 << order) for order in range(MAX_ORDER + 1)]
_TAKEN = [
    bytes([State.allocated]) + bytes([State.inside]) * ((1 << order) - 1) for order in range(MAX_ORDER + 1)
]

OUT_OF_MEMORY = "out of memory"
INVALID = "invalid argument"
DOUBLE = "double free"
WRONG_ORDER = "freed with another order than it was allocated with"
WILD = "free of a frame that does not exist"
RESERVED = "free of a reserved frame"
INTERIOR = "free of the inside of a block"


@dataclass
class ZoneModel:
    """A zone's levels, in frames."""

    first: int
    end: int
    present: int = 0
    managed: int = 0
    free: int = 0


class MemoryModel:
    """Memory as a walk found it, and then as `follow` and `add` change it. Blocks that are allocated already
    are its blocks, too.
    """

    def __init__(self, walk: Walk) -> None:
        edge = max(walk.direct_frames >> MAX_ORDER << MAX_ORDER, _DMA_END)
        edges = (0, _DMA_END, min(_LOWMEM_END, edge), edge, _ALL)
        self.zones = [ZoneModel(edges[n], edges[n + 1]) for n in range(len(ZONES))]
        self.state = bytearray()  # a State for each frame, by number
        self.blocks: dict[int, int] = {}  # order of each block that is out, by its first frame
        self.failing = 0  # the n-th allocation from now on is to fail; 0: none is
        self._settled = False  # whether no magazine can hold anything
        self._last_release = -1
        self._read(walk)

    # -- what happens to it

    def follow(self, operations: Sequence[PageOperation], results: Sequence[PageResult]) -> None:
        """Takes over what operations came to; ValidationError for the first answer that cannot be right."""
        for operation, result in zip(operations, results, strict=True):
            verb, order, flags, pfn = operation
            value, why = result
            if verb == Verb.alloc:
                wrong = self._allocated(order, flags, value, why)
            else:
                wrong = self._released(order, pfn, value, why)
            if wrong:
                raise ValidationError(f"{Verb(verb).name} of {operation}: {wrong}")

    def quiesced(self) -> None:
        """All magazines have gone home."""
        self._settled = True

    def add(self, first: int, end: int, walk: Walk) -> None:
        """Frames [first, end) came into service, and `walk` came after that: of them the first few may
        describe the others, and stay reserved.
        """
        states = [walk.state(frame) for frame in range(first, end)]
        taken = next((n for n, state in enumerate(states) if state != State.reserved), len(states))
        if taken > (end - first) // 64 + MOST_FRAMES_TO_DESCRIBE:
            raise ValidationError(f"{taken} frames of [{first:#x}, {end:#x}) were not put into service")
        if len(self.state) < end:
            self.state += bytes(end - len(self.state))
        if any(self.state[first:end]):
            raise ValidationError(f"frames [{first:#x}, {end:#x}) were present before they were added")
        self.state[first : first + taken] = bytes([State.reserved]) * taken
        self.state[first + taken : end] = bytes([State.free]) * (end - first - taken)
        self._count()

    # -- what must be true of it

    def could_spare(self, order: int, flags: int) -> str | None:
        """The zone that could meet a request if all magazines were empty; None when there is none."""
        need = 1 << order
        first = self._first_zone(flags)
        for number in range(first, -1, -1):
            zone = self.zones[number]
            if flags & GFPFlags.DMA and number != _DMA:
                continue
            kept = 0 if flags & GFPFlags.ATOMIC else zone.managed // RESERVE_SHARE
            above = sum(self.zones[n].present for n in range(number + 1, first + 1))
            if zone.free >= need + kept + above // RESERVE_SHARE and self._has_block(zone, order):
                return ZONES[number]
        return None

    def compare(self, walk: Walk, *, settled: bool) -> None:
        """ValidationError unless `walk` has found just what the model says, frame by frame; and, when all
        magazines are empty (`settled`), the free blocks of each order and zone that follow from it.
        """
        if walk.problems or not walk.complete:
            raise ValidationError(walk.summary())
        shown = walk.states if settled else walk.whole_states()
        numbers = walk.array.numbers(np.arange(len(shown)))
        found = np.zeros(max(len(self.state), int(numbers.max()) + 1), np.uint8)
        found[numbers] = shown
        wanted = np.zeros(len(found), np.uint8)
        wanted[: len(self.state)] = np.frombuffer(bytes(self.state), np.uint8)
        if not settled:  # the walk's whole blocks: what a magazine has is free, what is inside is allocated
            found[found == State.cached] = State.free
            wanted[wanted == State.inside] = State.allocated
        differs = np.flatnonzero(found != wanted)
        if len(differs):
            frame = int(differs[0])
            raise ValidationError(
                f"{len(differs)} frames differ; the first is frame {frame:#x}, which is "
                f"{State(int(found[frame])).name} where the model says {State(int(wanted[frame])).name}"
            )
        blocks = {int(pfn): int(order) for pfn, order in walk.allocated_blocks}
        if blocks != self.blocks:
            odd = sorted(blocks.items() ^ self.blocks.items())[:5]
            raise ValidationError(f"allocated blocks (frame, order) differ, first {odd}")
        self._compare_levels(walk, settled=settled)

    def free_blocks(self, zone: int) -> tuple[int, ...]:
        """Free blocks of each order in a zone whose buddies have all found each other."""
        frames = np.frombuffer(bytes(self._frames_of(self.zones[zone])), np.uint8)
        whole = np.zeros(-(-len(frames) >> MAX_ORDER) << MAX_ORDER, bool)
        whole[: len(frames)] = frames == State.free
        counts, larger = [0] * (MAX_ORDER + 1), 0
        for order in range(MAX_ORDER, -1, -1):
            runs = int(whole.reshape(-1, 1 << order).all(axis=1).sum()) if len(whole) else 0
            counts[order] = runs - 2 * larger
            larger = runs
        return tuple(counts)

    # -- inside

    def _read(self, walk: Walk) -> None:
        self.state = bytearray(walk.present_ranges[-1][1])
        for first, end in walk.present_ranges:
            self.state[first:end] = bytes([State.free]) * (end - first)
        for first, end in walk.reserved_ranges:
            self.state[first:end] = bytes([State.reserved]) * (end - first)
        for pfn, order in walk.allocated_blocks.tolist():
            self.blocks[pfn] = order
            self.state[pfn : pfn + (1 << order)] = _TAKEN[order]
        self._count()

    def _frames_of(self, zone: ZoneModel) -> bytearray:
        return self.state[zone.first : min(zone.end, len(self.state))]

    def _count(self) -> None:
        for zone in self.zones:
            frames = self._frames_of(zone)
            zone.present = len(frames) - frames.count(State.absent)
            zone.managed = zone.present - frames.count(State.reserved)
            zone.free = frames.count(State.free)
        self._settled = False

    def _first_zone(self, flags: int) -> int:
        number = _HIGHMEM if flags & GFPFlags.HIGHMEM else _NORMAL
        if flags & GFPFlags.DMA:
            number = _DMA
        while number > 0 and not self.zones[number].present:
            number -= 1
        return number

    def _zone_of(self, pfn: int) -> int:
        return next(n for n, zone in enumerate(self.zones) if pfn < zone.end)

    def _has_block(self, zone: ZoneModel, order: int) -> bool:
        if order == 0:
            return zone.free > 0
        step = 1 << order
        frames = np.frombuffer(bytes(self._frames_of(zone)), np.uint8)
        whole = frames[: len(frames) >> order << order].reshape(-1, step)
        return bool((whole == State.free).all(axis=1).any())

    def _allocated(self, order: int, flags: int, value: int, why: str) -> str | None:
        good = 0 < flags < 32 and not (flags & GFPFlags.DMA and flags & GFPFlags.HIGHMEM)
        if order > MAX_ORDER or not good:
            return None if (value, why) == (-errno.EINVAL, INVALID) else f"{value} ({why}) for a bad argument"
        self._settled, self._last_release = False, -1
        struck = self.failing == 1
        self.failing -= self.failing > 0
        if value < 0:
            if (value, why) != (-errno.ENOMEM, OUT_OF_MEMORY):
                return f"was refused with {value} ({why})"
            zone = None if struck else self.could_spare(order, flags)
            return f"was refused although zone {zone} has such a block to spare" if zone else None
        if struck:
            return "succeeded although it was to fail"
        size = 1 << order
        if value & (size - 1):
            return f"frame {value:#x} is not aligned"
        if self.state[value : value + size] != _FREE[order]:
            return f"frame {value:#x} is not the first of so many free ones"
        zone_number = self._zone_of(value)
        if zone_number > self._first_zone(flags):
            return f"frame {value:#x} is in zone {ZONES[zone_number]}, which the flags exclude"
        self.state[value : value + size] = _TAKEN[order]
        self.blocks[value] = order
        self.zones[zone_number].free -= size
        return None

    def _released(self, order: int, pfn: int, value: int, why: str) -> str | None:
        allowed = self.refusals(pfn, order)
        if allowed:
            return None if value == -errno.EINVAL and why in allowed else f"{value} ({why}), not {allowed}"
        if value != 0:
            return f"was refused with {value} ({why})"
        size = 1 << order
        del self.blocks[pfn]
        self.state[pfn : pfn + size] = _FREE[order]
        self.zones[self._zone_of(pfn)].free += size
        self._settled, self._last_release = False, pfn
        return None

    def refusals(self, pfn: int, order: int) -> tuple[str, ...]:
        """The words, one of these, with which a release must be refused; none when it must not."""
        if order > MAX_ORDER:
            return (INVALID,)
        state = self.state[pfn] if pfn < len(self.state) else State.absent
        if state == State.allocated:
            return () if self.blocks[pfn] == order else (WRONG_ORDER,)
        if state == State.free and not self._settled and pfn != self._last_release:
            return (DOUBLE, INTERIOR)  # of a free block that a magazine may hold
        words = {State.absent: WILD, State.reserved: RESERVED, State.inside: INTERIOR, State.free: DOUBLE}
        return (words[State(state)],)

    def _compare_levels(self, walk: Walk, *, settled: bool) -> None:
        for number, zone in enumerate(self.zones):
            managed = int(walk.zones[number].lists["managed_frames"])
            present = int(walk.zones[number].record["present_frames"])
            minimum = int(walk.zones[number].record["minimum"])
            if (present, managed, minimum) != (zone.present, zone.managed, zone.managed // RESERVE_SHARE):
                raise ValidationError(
                    f"zone {ZONES[number]} says present {present}, managed {managed}, minimum {minimum}; "
                    f"the model has {zone}"
                )
            blocks = walk.zone_free_blocks[number]
            if settled and (blocks != self.free_blocks(number) or walk.cached):
                raise ValidationError(
                    f"zone {ZONES[number]} has free blocks {blocks}; from its free frames follow "
                    f"{self.free_blocks(number)}"
                )
        free = sum(zone.free for zone in self.zones)
        if walk.available != free:
            raise ValidationError(f"{walk.available} frames are free; the model has {free}")
