"""The colours of the pictures: any two can be told apart, also by colour-blind eyes and in 256 colours."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.color import Color, ColorSystem

from coronel.picture.palette import (
    ABSENT,
    BANDS,
    FREE,
    LAST,
    PAPER,
    SHADES,
    USED,
    Shade,
    object_colours,
    space_colours,
)

Vector = NDArray[np.float64]

# Linear RGB as dichromats see it: Vienot, Brettel and Mollon 1999. Each matrix projects along the axis of the
# missing receptor onto the plane through white and blue.
RGB_TO_LMS = np.array(
    [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
)
MISSING = {
    "none": np.eye(3),
    "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
    "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
NOTICED = 14.0  # of CIE 1976's distance: 2.3 is just noticed side by side; cells are small, and far apart


def linear(rgb: tuple[int, int, int]) -> Vector:
    value = np.array(rgb) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: tuple[int, int, int], eyes: str = "none") -> Vector:
    """CIE L*a*b* (D65) of a colour as these eyes see it."""
    seen = np.linalg.inv(RGB_TO_LMS) @ MISSING[eyes] @ RGB_TO_LMS @ linear(rgb)
    ratio = RGB_TO_XYZ @ np.clip(seen, 0, 1) / RGB_TO_XYZ.sum(axis=1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: Shade, other: Shade, eyes: str) -> float:
    return float(np.linalg.norm(lab(one.rgb, eyes) - lab(other.rgb, eyes)))


def test_the_measure_itself() -> None:
    assert np.allclose(lab((255, 255, 255)), [100, 0, 0], atol=0.1)
    assert np.allclose(lab((255, 0, 0)), [53.2, 80.1, 67.2], atol=0.1)
    red, green = (200, 60, 60), (110, 110, 50)
    assert np.linalg.norm(lab(red) - lab(green)) > 50
    assert np.linalg.norm(lab(red, "deuteranopia") - lab(green, "deuteranopia")) < 20, "they look alike"


@pytest.mark.parametrize("eyes", MISSING)
def test_any_two_colours_can_be_told_apart(eyes: str) -> None:
    near = {
        f"{one.key} and {other.key}": round(found, 1)
        for one, other in combinations(SHADES, 2)
        if (found := distance(one, other, eyes)) < NOTICED
    }
    assert near == {}


@pytest.mark.parametrize("colours", [space_colours(), object_colours()], ids=["addresses", "objects"])
@pytest.mark.parametrize("eyes", MISSING)
def test_any_two_colours_of_other_pictures_can_be_told_apart(eyes: str, colours: dict[str, str]) -> None:
    seen = {
        name: lab((int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)), eyes)
        for name, colour in colours.items()
    }
    near = {
        f"{one} and {other}": round(found, 1)
        for one, other in combinations(seen, 2)
        if (found := float(np.linalg.norm(seen[one] - seen[other]))) < NOTICED
    }
    assert near == {}


@pytest.mark.parametrize("eyes", MISSING)
def test_larger_blocks_are_darker(eyes: str) -> None:
    for shades in (FREE, USED):
        lightness = [float(lab(shade.rgb, eyes)[0]) for shade in shades]
        assert lightness == sorted(lightness, reverse=True)
        assert min(a - b for a, b in pairwise(lightness)) > 8


def test_every_colour_has_its_own_among_256() -> None:
    names = [Color.parse(shade.colour).downgrade(ColorSystem.EIGHT_BIT).number for shade in SHADES]
    assert len(set(names)) == len(SHADES)


def test_every_class_has_its_place_and_its_letter() -> None:
    assert [shade.index for shade in SHADES] == list(range(len(SHADES)))
    assert len({shade.letter for shade in SHADES}) == len(SHADES)
    assert len({shade.key for shade in SHADES}) == len(SHADES)
    assert ABSENT.colour == PAPER, "what is not there is not drawn"
    assert BANDS[0][0] == 0
    assert BANDS[-1][1] == LAST
    assert all(low[1] + 1 == high[0] for low, high in pairwise(BANDS))
