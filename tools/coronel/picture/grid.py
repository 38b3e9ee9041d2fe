"""`Grid`: the frames of a machine as cells along a Hilbert curve, as many as fit.

A cell stands for 2^n frames and shows what most of them are. The curve goes through squares that stand side
by side, from the top left corner to the top right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coronel.picture.cells import Classes, Survey
from coronel.picture.hilbert import LEVELS_LIMIT, strip
from coronel.picture.palette import ABSENT, FREE, OTHERS, SHADES, USED

NOWHERE = 255  # in a picture: behind the end of the line
FULL_ENOUGH = 0.75  # a square that is emptier than that gives way to smaller ones

Segment = tuple[int, int, int, int]  # column and row of its ends, at the corners of cells


@dataclass(frozen=True)
class Grid:
    """Cells of `frames` frames on `squares` squares with sides of 2^`levels` cells."""

    memory: Survey
    frames: int
    levels: int
    squares: int

    @classmethod
    def fit(cls, memory: Survey, width: int, height: int) -> Grid:
        """The finest grid that needs no more than `width` by `height` cells, each at least 1."""
        if width < 1 or height < 1:
            raise ValueError(f"no cell fits into {width} by {height}")
        tallest = min(height.bit_length() - 1, LEVELS_LIMIT)
        frames = 1
        while True:
            cells = -(-len(memory.classes) // frames)
            fitting = [
                (levels, squares)
                for levels in range(tallest, -1, -1)
                if (squares := -(-cells // 4**levels)) << levels <= width
            ]
            full = [one for one in fitting if cells >= FULL_ENOUGH * one[1] * 4 ** one[0]]
            if fitting:
                fullest = min(fitting, key=lambda one: one[1] * 4 ** one[0])
                return cls(memory, frames, *(full[0] if full else fullest))
            frames *= 2

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.squares << self.levels

    @property
    def height(self) -> int:
        """Rows of cells."""
        return 1 << self.levels

    @cached_property
    def cells(self) -> Classes:
        """The class of each cell along the line: that of most of its frames, and where there is memory, of
        memory.

        First free, allocated or neither is decided, then the size of the blocks: of many small pieces, none
        is outvoted by one large block of another kind.
        """
        if self.frames == 1:
            return self.memory.classes
        classes = self.memory.classes
        number, kinds = -(-len(classes) // self.frames), len(SHADES)
        place = np.arange(len(classes)) // self.frames
        counts = np.bincount(place * kinds + classes, minlength=number * kinds).reshape(number, kinds)
        free = counts[:, FREE[0].index : FREE[-1].index + 1]
        used = counts[:, USED[0].index : USED[-1].index + 1]
        # In this order, for equal numbers: what is allocated is not hidden.
        votes = (used.sum(axis=1), free.sum(axis=1), *(counts[:, shade.index] for shade in OTHERS))
        winners = (
            USED[0].index + used.argmax(axis=1),
            FREE[0].index + free.argmax(axis=1),
            *(np.full(number, shade.index) for shade in OTHERS),
        )
        found: Classes = np.choose(np.argmax(votes, axis=0), winners).astype(np.uint8)
        found[counts[:, ABSENT.index] == counts.sum(axis=1)] = ABSENT.index
        return found

    @cached_property
    def picture(self) -> Classes:
        """Rows and columns of classes; NOWHERE where the line has ended."""
        return self._spread(self.cells, NOWHERE).astype(np.uint8)

    @cached_property
    def zones(self) -> NDArray[np.int64]:
        """Rows and columns of places in `memory.zones`: where a cell's first frame belongs; -1 for none."""
        first = self.memory.array.numbers(np.arange(0, len(self.memory.classes), self.frames))
        owner = np.full(len(first), -1, np.int64)
        for number, zone in enumerate(self.memory.zones):
            owner[(first >= zone.first) & (first < zone.end)] = number
        return self._spread(owner, -1)

    def zone_corners(self) -> dict[int, tuple[int, int]]:
        """For each zone that has cells: the column and row of the one that is nearest to the top left."""
        found = {}
        for number in range(len(self.memory.zones)):
            rows, columns = np.nonzero(self.zones == number)
            if len(rows):
                nearest = int(np.argmin(rows + columns))
                found[number] = int(columns[nearest]), int(rows[nearest])
        return found

    def zone_edges(self) -> list[Segment]:
        """The lines between cells of different zones, each as long as it goes."""
        zones = self.zones
        across = (zones[1:] != zones[:-1]) & (zones[1:] >= 0) & (zones[:-1] >= 0)
        down = (zones[:, 1:] != zones[:, :-1]) & (zones[:, 1:] >= 0) & (zones[:, :-1] >= 0)
        flat = [(start, at + 1, end, at + 1) for at, start, end in _runs(across)]
        return flat + [(at + 1, start, at + 1, end) for at, start, end in _runs(down.T)]

    def starts(self) -> list[int]:
        """The number of the first frame of each square."""
        step = self.frames * 4**self.levels
        return [self.memory.array.number(at) for at in range(0, len(self.memory.classes), step)]

    def _spread(self, cells: NDArray[np.generic], empty: int) -> NDArray[np.int64]:
        columns, rows = strip(self.levels, self.squares)
        found = np.full((self.height, self.width), empty, np.int64)
        found[rows[: len(cells)], columns[: len(cells)]] = cells
        return found


def _runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """Row, first column and end of every run of chosen cells."""
    padded = np.zeros((chosen.shape[0], chosen.shape[1] + 2), np.int8)
    padded[:, 1:-1] = chosen
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    yield from zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
