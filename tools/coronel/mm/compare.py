"""Two machines that did the same thing must look the same: frame by frame, list by list, count by count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from coronel.errors import ValidationError
from coronel.mm.check_blocks import block_name
from coronel.mm.check_frames import TABLE_FIELDS, frame_name
from coronel.mm.frames import FrameArray
from coronel.mm.layout import Struct
from coronel.mm.walker import Walk
from coronel.mm.zones import State

LIMIT = 100  # differences listed
BOOT_COUNTERS = ("frames_early",)  # say how a machine came to be, not what it is


@dataclass(frozen=True)
class Difference:
    """One field of one object that two machines see differently."""

    object: str
    field: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.object}: {self.field} is {self.one} in one, {self.other} in the other"


def differences(one: Walk, other: Walk, ignored_counters: Iterable[str] = BOOT_COUNTERS) -> list[Difference]:
    """What differs between two walks, at most LIMIT of it. Pointers differ between address spaces and are
    left out.
    """
    found: list[Difference] = []
    for difference in _all(one, other, frozenset(ignored_counters)):
        found.append(difference)
        if len(found) == LIMIT:
            break
    return found


def require_equal(one: Walk, other: Walk, names: tuple[str, str] = ("one", "the other")) -> None:
    """ValidationError that lists how two walks differ."""
    found = differences(one, other)
    if found:
        more = " or more" if len(found) == LIMIT else ""
        head = f"{names[0]} and {names[1]} differ in {len(found)}{more} places"
        raise ValidationError("\n".join([head, *map(str, found)]))


def _all(one: Walk, other: Walk, ignored: frozenset[str]) -> Iterator[Difference]:
    if one.present_ranges != other.present_ranges:
        yield Difference("memory", "present ranges", str(one.present_ranges), str(other.present_ranges))
        return
    yield from _frames(one, other)
    yield from _states(one, other)
    yield from _blocks(one.array, other.array)
    for mine, theirs in zip(one.zones, other.zones, strict=True):
        yield from _records(mine.lists_name, mine.lists, theirs.lists, ())
        yield from _records(mine.record_name, mine.record, theirs.record, ("lists",))
    yield from _caches(one, other)
    for order, pair in enumerate(zip(one.free_blocks, other.free_blocks, strict=True)):
        if pair[0] != pair[1]:
            yield Difference("free blocks", f"order {order}", *map(str, pair))
    for name in sorted((one.counters.keys() | other.counters.keys()) - ignored):
        left, right = one.counters.get(name), other.counters.get(name)
        if left != right:
            yield Difference(f"counter {name}", "value", str(left), str(right))


def _frames(one: Walk, other: Walk) -> Iterator[Difference]:
    # Page tables made at boot say how a machine came to be, too: the other may have been made without.
    never_handed_out = (one.states == State.reserved) & (other.states == State.reserved)
    for name in one.array.frame_type.fields:
        mine, theirs = one.array.frame_column(name), other.array.frame_column(name)
        differs = mine != theirs
        if name in TABLE_FIELDS:
            differs &= ~never_handed_out
        for index in np.flatnonzero(differs)[:LIMIT].tolist():
            yield Difference(frame_name(one.array.number(index)), name, str(mine[index]), str(theirs[index]))


def _states(one: Walk, other: Walk) -> Iterator[Difference]:
    for index in np.flatnonzero(one.states != other.states)[:LIMIT].tolist():
        number = one.array.number(index)
        yield Difference(
            frame_name(number), "state as walked", one.state(number).name, other.state(number).name
        )


def _blocks(one: FrameArray, other: FrameArray) -> Iterator[Difference]:
    for name in one.block_type.fields:
        mine, theirs = one.block_column(name), other.block_column(name)
        differs = mine != theirs
        rows = differs.any(axis=1) if differs.ndim > 1 else differs
        for index in np.flatnonzero(rows)[:LIMIT].tolist():
            yield Difference(block_name(one.block_number(index)), name, str(mine[index]), str(theirs[index]))


def _caches(one: Walk, other: Walk) -> Iterator[Difference]:
    for mine, theirs in zip(one.caches, other.caches, strict=True):
        for left, right in zip(mine.magazines, theirs.magazines, strict=True):
            if left.blocks != right.blocks:
                yield Difference(left.name, "blocks", str(left.blocks), str(right.blocks))
        for place, pair in enumerate(zip(mine.pairs, theirs.pairs, strict=True)):
            for field in ("limit", "most"):
                if pair[0][field] != pair[1][field]:
                    values = (str(pair[0][field]), str(pair[1][field]))
                    yield Difference(mine.name, f"pairs[{place}].{field}", *values)


def _records(name: str, one: Struct, other: Struct, ignored: tuple[str, ...]) -> Iterator[Difference]:
    for field in one:
        if field not in ignored and one[field] != other[field]:
            yield Difference(name, field, str(one[field]), str(other[field]))
