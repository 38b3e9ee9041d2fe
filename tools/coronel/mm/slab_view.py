"""The object caches for people: the console's `slabinfo`, and each slab as a row of cells, out of raw memory.
Needs nothing but Python: GDB's commands use it too.
"""

from __future__ import annotations

from collections.abc import Iterator

from coronel.errors import DecodeError
from coronel.mm.record import Tables
from coronel.mm.slabs import Cache, Levels, Slab, held_free, levels, read_heap

Row = dict[str, int | str]

CELLS = {"free": ".", "cached": "o", "quarantined": "q", "allocated": "#"}  # by ObjectState
BROKEN = "!"
CELLS_IN_A_LINE = 64


def slabinfo(tables: Tables) -> list[Row]:
    """What the console's `slabinfo` says; DecodeError when there is no way to the caches."""
    return [row(tables, cache, levels(tables, cache)) for cache in read_heap(tables).caches]


def row(tables: Tables, cache: Cache, now: Levels) -> Row:
    """Its line of `slabinfo`."""
    cut, free = cache.cut, tables.enum("ObjectState")["free"]
    active = sum(slab.states.count(free) < len(slab.states) for slab in cache.slabs.values())
    return {
        "name": cache.name,
        "active_objs": now.active,
        "num_objs": now.objects + now.guarded,
        "objsize": int(cut["stride"]),
        "objperslab": int(cut["objects"]),
        "pagesperslab": cache.frames,
        "active_slabs": active,
        "num_slabs": now.slabs,
        "cached": now.cached,
        "held_free": held_free(cache, now) // 1024,
    }


def cache_named(tables: Tables, name: str) -> Cache:
    """The cache of that name; DecodeError, with the names that there are, when there is none."""
    caches = read_heap(tables).caches
    found = next((cache for cache in caches if cache.name == name), None)
    if found is None:
        raise DecodeError(f"no cache {name!r}: {', '.join(cache.name for cache in caches)}")
    return found


def cells(tables: Tables, cache: Cache) -> Iterator[str]:
    """Lines: a heading, then each slab, the fullest first, with a cell for each object as its state says."""
    kinds = tables.enum("ObjectState")
    letters = {value: CELLS.get(name, BROKEN) for name, value in kinds.values.items()}
    legend = ", ".join(f"{letter} {name}" for name, letter in reversed(CELLS.items()))
    yield f"cache {cache.name}: objects of {cache.record['object_bytes']} bytes; {legend}"
    free = kinds["free"]
    for slab in sorted(cache.slabs.values(), key=lambda slab: slab.states.count(free)):
        yield _heading(cache, slab)
        drawn = "".join(letters.get(state, BROKEN) for state in slab.states)
        for at in range(0, len(drawn), CELLS_IN_A_LINE):
            yield f"  {drawn[at : at + CELLS_IN_A_LINE]}"


def _heading(cache: Cache, slab: Slab) -> str:
    place = next((name for name, list_ in cache.followed.items() if slab.address in list_.members), "no list")
    return f"slab {slab.address:#x}, {place}, first object at {slab.record['first']:#x}"
