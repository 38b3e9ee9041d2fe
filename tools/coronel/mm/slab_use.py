"""The object caches at one moment, and what became of them between two: `coronel top --slabs` shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coronel.mm.record import Tables
from coronel.mm.slab_view import Row, row
from coronel.mm.slabs import Cache, Levels, held_free, levels, read_heap

Key = tuple[int, str]  # of a cache: its number, which another gets when it is gone, and its name


@dataclass(frozen=True)
class CacheUse:
    """One cache."""

    row: Row  # as slabinfo's
    levels: Levels
    bytes: int  # of its slabs
    held: int  # of them, that hold no caller's object
    broken: str = ""  # what is wrong with its lists: then there are slabs that nobody could find
    per_second: float | None = None  # allocations minus releases; None where that is not known

    @property
    def name(self) -> str:
        """As it was made."""
        return str(self.row["name"])

    @property
    def active(self) -> int:
        """The callers' objects."""
        return int(self.row["active_objs"])

    @property
    def objects(self) -> int:
        """All of them."""
        return int(self.row["num_objs"])

    @property
    def parts(self) -> dict[str, int]:
        """Its bytes by what lies there: object states, and "waste", which is for no object."""
        now, stride = self.levels, int(self.row["objsize"])
        free = (now.objects - now.allocated - now.cached) * stride
        cached = now.cached * stride
        return {
            "allocated": self.bytes - self.held,
            "cached": cached,
            "free": free,
            "waste": self.held - cached - free,
        }

    def as_json(self) -> dict[str, Any]:
        """A row of slabinfo, and what `top` knows more."""
        more = {"bytes": self.bytes, "guarded": self.levels.guarded, "per_second": self.per_second}
        return {**self.row, **more, **({"broken": self.broken} if self.broken else {})}


@dataclass(frozen=True)
class SlabUse:
    """All caches that can be read. `seconds`: of this computer's clock."""

    caches: Mapping[Key, CacheUse]
    unreadable: Mapping[int, str]  # numbers of others, and why
    guard_slots: int
    seconds: float

    @classmethod
    def take(cls, tables: Tables) -> SlabUse:
        """Reads it. Exact only while the CPUs stand still."""
        heap = read_heap(tables)
        caches = {(cache.number, cache.name): _use(tables, cache) for cache in heap.caches}
        return cls(caches, heap.unreadable, len(heap.guards.slots), time.monotonic())

    def rate(self, key: Key, before: SlabUse) -> float | None:
        """Allocations minus releases per second since an earlier moment, None where that is not known; a
        cache that was not there then had nothing allocated.
        """
        passed, now, there = self.seconds - before.seconds, self.caches[key], before.caches.get(key)
        if passed <= 0 or now.broken or (there.broken if there else key[0] in before.unreadable):
            return None
        return (now.active - (there.active if there else 0)) / passed


def _use(tables: Tables, cache: Cache) -> CacheUse:
    now = levels(tables, cache)
    broken = next((list_.broken for list_ in cache.followed.values() if list_.broken), "")
    return CacheUse(row(tables, cache, now), now, cache.bytes, held_free(cache, now), broken)


@dataclass(frozen=True)
class Totals:
    """Sums over caches."""

    caches: int
    active_caches: int  # with objects that somebody has
    objects: int
    active: int
    guarded: int  # of the active ones, in the guard pool
    slabs: int
    active_slabs: int
    bytes: int
    held: int

    @classmethod
    def of(cls, caches: list[CacheUse]) -> Totals:
        """Of these."""

        def total(name: str) -> int:
            return sum(int(one.row[name]) for one in caches)

        return cls(
            len(caches),
            sum(one.active > 0 for one in caches),
            total("num_objs"),
            total("active_objs"),
            sum(one.levels.guarded for one in caches),
            total("num_slabs"),
            total("active_slabs"),
            sum(one.bytes for one in caches),
            sum(one.held for one in caches),
        )

    @property
    def used(self) -> int:
        """Bytes of slabs that hold callers' objects."""
        return self.bytes - self.held


def natural(name: str) -> list[str | int]:
    """A key that puts kmalloc-8 before kmalloc-16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# The largest first; of rates, the largest change, up or down. What is alike goes by size, then by name.
SORTS: dict[str, Callable[[CacheUse], float]] = {
    "size": lambda one: one.bytes,
    "active": lambda one: one.active,
    "objects": lambda one: one.objects,
    "held": lambda one: one.held,
    "name": lambda _: 0,
    "rate": lambda one: abs(one.per_second or 0.0),
}


def sorted_by(caches: list[CacheUse], sort: str) -> list[CacheUse]:
    """Those in that order, one of SORTS."""

    def key(one: CacheUse) -> tuple[object, ...]:
        size = 0 if sort == "name" else one.bytes
        return -SORTS[sort](one), -size, natural(one.name)

    return sorted(caches, key=key)
