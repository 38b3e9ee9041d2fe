"""Bars: as long as they should be, whatever the shares are."""

from __future__ import annotations

import random

import pytest

from coronel.picture.bars import Bars, Part

KINDS = [Part(name, "#ffffff", name[0]) for name in ("allocated", "cached", "free", "waste")]


def lengths(shares: list[float], width: int) -> list[int]:
    bars = Bars(colours=False, eighths=False)
    return [len(run.text) for run in bars.side_by_side(list(zip(KINDS, shares, strict=True)), width)]


def test_parts_fill_the_width_and_are_right_within_a_character(coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for _ in range(300):
        parts = [chance.choice([0, 0, 1, chance.randrange(10_000)]) for _ in KINDS]
        parts[chance.randrange(4)] += 1
        shares, width = [part / sum(parts) for part in parts], chance.randrange(1, 200)
        found = lengths(shares, width)
        assert sum(found) == width, (parts, width)
        assert all(abs(length - share * width) <= 1 for length, share in zip(found, shares, strict=True))


@pytest.mark.parametrize(("share", "length"), [(0.0, 0), (0.001, 1), (0.5, 5), (1.0, 10), (1.2, 10)])
def test_what_is_there_is_seen(share: float, length: int) -> None:
    (run,) = Bars(colours=False, eighths=False).one(share, 10, "#ffffff")
    assert run.text == "=" * length
