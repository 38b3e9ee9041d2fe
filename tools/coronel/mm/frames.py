"""All Frames and Pageblocks of a machine as arrays: what is present, in units of the largest block.

The arrays have a row for each group of 2^max_order frames (8 MiB) in which anything is present, in ascending
order. No block reaches over the edge of a group, so every derivation may look at each row by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.memory import Memory
from coronel.mm.layout import StructType
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Shape

Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]


@dataclass
class FrameArray:
    """Copies of the records as they were when they were read. Flat arrays, index = place in the groups."""

    shape: Shape
    frame_type: StructType
    block_type: StructType
    groups: Numbers  # numbers of the groups, ascending
    known: Bools  # of each pageblock: whether it was read
    frames: NDArray[Any]  # records of type Frame
    blocks: NDArray[Any]  # records of type Pageblock
    frames_address: int
    blocks_address: int

    @property
    def group_frames(self) -> int:
        """Frames in a group."""
        return 1 << self.shape.max_order

    @property
    def group_blocks(self) -> int:
        """Pageblocks in a group."""
        return self.group_frames // self.shape.block_frames

    def numbers(self, index: NDArray[Any]) -> Numbers:
        """Frame numbers of places in the arrays."""
        found: Numbers = (
            self.groups[index // self.group_frames] * self.group_frames + index % self.group_frames
        )
        return found

    def number(self, index: int) -> int:
        """The frame number of one place."""
        return int(self.groups[index // self.group_frames]) * self.group_frames + index % self.group_frames

    def index(self, number: int) -> int | None:
        """The place of a frame number, or None where its group is not present."""
        group = number >> self.shape.max_order
        row = int(np.searchsorted(self.groups, group))
        if number < 0 or row >= len(self.groups) or self.groups[row] != group:
            return None
        return row * self.group_frames + number % self.group_frames

    def block_number(self, index: int) -> int:
        """The pageblock number of a place among the pageblocks."""
        return int(self.groups[index // self.group_blocks]) * self.group_blocks + index % self.group_blocks

    def block_index(self, number: int) -> int | None:
        """The place of a pageblock number, or None where it was not read."""
        index = self.index(number * self.shape.block_frames)
        if index is None:
            return None
        place = index // self.shape.block_frames
        return place if self.known[place] else None

    def frame_address(self, number: int, field: str) -> int:
        """Where a field of a Frame lies."""
        return self.frames_address + number * self.frame_type.size + self.frame_type[field].offset

    def block_address(self, number: int, field: str, element: int = 0) -> int:
        """Where a field of a Pageblock lies."""
        entry = self.block_type[field]
        return self.blocks_address + number * self.block_type.size + entry.offset + element * entry.bytes

    def frame_column(self, field: str) -> NDArray[Any]:
        """One field of every Frame."""
        return self.frame_type.column(self.frames, field)

    def frame_value(self, place: int, field: str) -> int:
        """One field of one Frame. A whole column costs the whole array where the field is of bits."""
        return int(self.frame_type.column(self.frames[place : place + 1], field)[0])

    def block_column(self, field: str) -> NDArray[Any]:
        """One field of every Pageblock."""
        return self.block_type.column(self.blocks, field)

    def free_bits(self) -> Bools:
        """The bit of each frame in its Pageblock."""
        words = np.ascontiguousarray(self.blocks["free"])
        return np.unpackbits(words.view(np.uint8), axis=None, bitorder="little").view(np.bool_)

    def mask(self, ranges: Sequence[tuple[int, int]]) -> Bools:
        """Of each frame: whether its number lies in one of the ranges."""
        found = np.zeros(len(self.groups) * self.group_frames, np.bool_)
        for first, end in ranges:
            low = int(np.searchsorted(self.groups, first >> self.shape.max_order))
            high = int(np.searchsorted(self.groups, (end - 1) >> self.shape.max_order, "right"))
            for row in range(low, high):  # groups inside the range, at least partly
                base = int(self.groups[row]) * self.group_frames
                start, stop = max(first - base, 0), min(end - base, self.group_frames)
                found[row * self.group_frames + start : row * self.group_frames + stop] = True
        return found

    def runs(self, chosen: Bools) -> list[tuple[int, int]]:
        """Frame numbers [first, end) of the runs of chosen frames, ascending, touching ones joined."""
        edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
        found: list[tuple[int, int]] = []
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            for first, end in self._unbroken(start, stop):
                joined = found.pop()[0] if found and found[-1][1] == first else first
                found.append((joined, end))
        return found

    def _unbroken(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cuts places [start, stop) where the numbers jump from one group to the next."""
        while start < stop:
            row = start // self.group_frames
            last = (stop - 1) // self.group_frames
            steps = np.flatnonzero(np.diff(self.groups[row : last + 1]) != 1)
            edge = (row + int(steps[0]) + 1) * self.group_frames if len(steps) else stop
            yield self.number(start), self.number(edge - 1) + 1
            start = edge


def read_frames(tables: Tables, physical: Physical, blocks: Numbers, findings: Findings) -> FrameArray:
    """Reads the records of those pageblocks (numbers, ascending). What cannot be read is found, and reads as
    zero.
    """
    shape = Shape.of(tables)
    frame_type, block_type = tables.type("Frame"), tables.type("Pageblock")
    group_blocks = 1 << (shape.max_order - shape.whole_order)
    groups = np.unique(blocks // group_blocks)
    known = np.zeros(len(groups) * group_blocks, np.bool_)
    places = np.searchsorted(groups, blocks // group_blocks) * group_blocks + blocks % group_blocks
    known[places] = True

    frames_address, blocks_address = int(physical.map["frames"]), int(physical.map["blocks"])
    frame_bytes = np.zeros((len(known), shape.block_frames * frame_type.size), np.uint8)
    block_bytes = np.zeros((len(known), block_type.size), np.uint8)
    for target, base, name in (
        (frame_bytes, frames_address, "frames"),
        (block_bytes, blocks_address, "blocks"),
    ):
        unread = _fill(tables.memory, target, base, blocks, places)
        known[places[list(unread)]] = False
        for number, why in unread.items():
            findings.add(
                f"Pageblock {blocks[number]}"
                if name == "blocks"
                else f"Frames of Pageblock {blocks[number]}",
                "all of it",
                "memory",
                "none",
                f"marked present, but unreadable ({why})",
                base + int(blocks[number]) * target.shape[1],
            )
    return FrameArray(
        shape,
        frame_type,
        block_type,
        groups.astype(np.int64),
        known,
        frame_bytes.reshape(-1).view(frame_type.dtype),
        block_bytes.reshape(-1).view(block_type.dtype),
        frames_address,
        blocks_address,
    )


def _fill(
    memory: Memory, target: NDArray[np.uint8], base: int, blocks: Numbers, places: Numbers
) -> dict[int, DecodeError]:
    """Reads the rows of `target` for `blocks`, run by run; what failed, by its place in `blocks`."""
    failed: dict[int, DecodeError] = {}
    row_bytes = target.shape[1]

    def read(start: int, stop: int) -> None:
        size = (stop - start) * row_bytes
        data = memory.read(base + int(blocks[start]) * row_bytes, size)
        row = int(places[start])
        target[row : row + stop - start] = np.frombuffer(data, np.uint8).reshape(-1, row_bytes)

    edges = [0, *(np.flatnonzero(np.diff(blocks) != 1) + 1).tolist(), len(blocks)]
    for start, stop in itertools.pairwise(edges):
        try:
            if stop > start:
                read(start, stop)
        except DecodeError:
            for one in range(start, stop):
                try:
                    read(one, one + 1)
                except DecodeError as error:
                    failed[one] = error
    return failed
