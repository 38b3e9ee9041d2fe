"""The Hilbert curve: a line through every cell of a square on which neighbours stay neighbours.

An aligned run of 4^n cells of the line is a square of 2^n by 2^n, and so a block of memory is a compact patch
of the picture, wherever it lies and however large it is.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

LEVELS_LIMIT = 12  # 4096 by 4096 cells: 64 GiB, a cell for each frame


@functools.cache
def curve(levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The columns and rows of cells 0 .. 4^levels - 1, from the top left corner to the top right one.

    Read-only arrays, remembered: a live view asks for the same curve many times a second.
    """
    if not 0 <= levels <= LEVELS_LIMIT:
        raise ValueError(f"a curve of {levels} levels: 0 to {LEVELS_LIMIT}")
    column = row = np.zeros(1, np.int64)
    for level in range(levels):
        side = 1 << level
        # Four copies: transposed, plain, plain, transposed the other way; each ends beside the next one's
        # beginning.
        column, row = (
            np.concatenate((row, column, column + side, 2 * side - 1 - row)),
            np.concatenate((column, row + side, row + side, side - 1 - column)),
        )
    column.flags.writeable = row.flags.writeable = False
    return column, row


@functools.cache
def strip(levels: int, squares: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The curve through `squares` squares side by side: one ends where the next begins."""
    column, row = curve(levels)
    shift = np.repeat(np.arange(squares, dtype=np.int64) << levels, len(column))
    columns, rows = np.tile(column, squares) + shift, np.tile(row, squares)
    columns.flags.writeable = rows.flags.writeable = False
    return columns, rows
