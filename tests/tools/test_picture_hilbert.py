"""The Hilbert curve: through every cell once, from neighbour to neighbour, and aligned runs stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coronel.picture.hilbert import LEVELS_LIMIT, curve, strip

LEVELS = st.integers(0, 8)


@given(LEVELS)
def test_every_cell_of_the_square_once(levels: int) -> None:
    column, row = curve(levels)
    side = 1 << levels
    assert sorted((row * side + column).tolist()) == list(range(side * side))


@given(LEVELS, st.integers(1, 5))
def test_neighbours_on_the_line_are_neighbours_in_the_picture(levels: int, squares: int) -> None:
    column, row = strip(levels, squares)
    assert len(column) == squares * 4**levels
    assert (np.abs(np.diff(column)) + np.abs(np.diff(row)) == 1).all()
    assert (int(column[0]), int(row[0])) == (0, 0)
    assert (int(column[-1]), int(row[-1])) == (squares * (1 << levels) - 1, 0)


@given(st.data(), LEVELS)
def test_an_aligned_run_is_a_square(data: st.DataObject, levels: int) -> None:
    small = data.draw(st.integers(0, levels))
    cells = 4**small
    first = cells * data.draw(st.integers(0, 4**levels // cells - 1))
    for line in curve(levels):
        run = line[first : first + cells]
        assert int(run.max() - run.min()) == (1 << small) - 1
        assert int(run.min()) % (1 << small) == 0


def test_what_it_returns_cannot_be_changed_for_the_next_one() -> None:
    with pytest.raises(ValueError, match="read-only"):
        curve(3)[0][0] = 1


@pytest.mark.parametrize("levels", [-1, LEVELS_LIMIT + 1])
def test_a_senseless_size_is_refused(levels: int) -> None:
    with pytest.raises(ValueError, match="levels"):
        curve(levels)
