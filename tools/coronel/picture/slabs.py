"""The object caches as a picture: what `slab_pictures` finds in the slabs' states.

Every object is one cell, in the order in which the objects lie in their slab; what a slab has for none, its
own record, the shift of its colour and the rest at its end, is its waste.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from coronel.memory import PAGE_SIZE
from coronel.mm.record import Tables
from coronel.mm.slab_view import cache_named
from coronel.mm.slabs import Cache, read_heap
from coronel.picture.palette import OBJECTS

BROKEN = "broken"  # a state that is none
NAMES = {"allocated": "in use", "cached": "in a magazine", "free": "free", "quarantined": "in quarantine"}
LETTERS = {"allocated": "#", "cached": "o", "free": ".", "quarantined": "q", BROKEN: "!"}


@dataclass(frozen=True)
class CachePicture:
    """One cache. `slabs`: of each object of each slab its state, by name; the fullest slab first."""

    name: str
    object_bytes: int
    stride: int  # bytes from an object to the next
    pages: int  # of a slab
    slabs: list[list[str]]

    @property
    def counts(self) -> Counter[str]:
        """Objects by state."""
        return Counter(state for slab in self.slabs for state in slab)

    @property
    def held(self) -> int:
        """Bytes of all slabs."""
        return len(self.slabs) * self.pages * PAGE_SIZE

    @property
    def waste(self) -> int:
        """Bytes of them that are for no object."""
        return self.held - self.stride * sum(map(len, self.slabs))

    @property
    def waste_share(self) -> float:
        """Of each slab."""
        return self.waste / self.held if self.held else 0.0


def slab_pictures(tables: Tables, name: str = "") -> list[CachePicture]:
    """Every cache by number, or the one of that name. DecodeError when there is none."""
    caches = [cache_named(tables, name)] if name else read_heap(tables).caches
    kinds = {value: state for state, value in tables.enum("ObjectState").values.items()}
    return [_picture(cache, kinds) for cache in caches]


def _picture(cache: Cache, kinds: dict[int, str]) -> CachePicture:
    slabs = [[kinds.get(state, BROKEN) for state in slab.states] for slab in cache.slabs.values()]
    slabs.sort(key=lambda states: -states.count("allocated"))
    return CachePicture(
        cache.name, int(cache.record["object_bytes"]), int(cache.cut["stride"]), cache.frames, slabs
    )


def sums(caches: list[CachePicture]) -> dict[str, tuple[int, int]]:
    """Objects and bytes of each state that there is, then of what is wasted."""
    found: dict[str, tuple[int, int]] = {}
    for state in (*OBJECTS, BROKEN):
        objects = sum(one.counts[state] for one in caches)
        if objects or state not in ("quarantined", BROKEN):
            found[state] = objects, sum(one.counts[state] * one.stride for one in caches)
    return found


def as_json(caches: list[CachePicture], machine: str) -> dict[str, Any]:
    """The numbers of the legend, for programs."""
    return {
        "machine": machine,
        "held_bytes": sum(one.held for one in caches),
        "waste_bytes": sum(one.waste for one in caches),
        "states": {state: {"objects": n, "bytes": size} for state, (n, size) in sums(caches).items()},
        "caches": [
            {
                "name": one.name,
                "object_bytes": one.object_bytes,
                "stride": one.stride,
                "slabs": len(one.slabs),
                "held_bytes": one.held,
                "waste_bytes": one.waste,
                **{state: one.counts[state] for state in OBJECTS},
            }
            for one in caches
        ],
    }
