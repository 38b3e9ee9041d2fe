"""Live objects by the call that allocated them, as the console's `callsites`, out of raw memory. Needs
nothing but Python: GDB's commands use it too.

found = call_sites(tables)
for one in found.sites:  # the most bytes first
    hex(one.site), one.objects, one.size
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from coronel.mm.heap import walk_heap
from coronel.mm.heap_view import heapinfo
from coronel.mm.record import Tables
from coronel.mm.tracks import NameCaller, in_words, tracked
from coronel.task.views import View


@dataclass(frozen=True)
class CallSite:
    """What lives of the objects of one call."""

    site: int  # where the call returns to; 0: nobody knows
    objects: int
    size: int  # bytes that were asked for
    names: tuple[str, ...]  # the caches that serve it, the most bytes first


@dataclass(frozen=True)
class CallSites:
    """All of them."""

    sites: list[CallSite]  # the most bytes first
    unknown: CallSite  # objects whose track has no site
    heap_blocks: int  # of the kernel heap, whose calls nobody writes down
    heap_bytes: int

    @property
    def objects(self) -> int:
        """Live ones, known or not; blocks of the kernel heap are none."""
        return self.unknown.objects + sum(one.objects for one in self.sites)

    @property
    def size(self) -> int:
        """Their bytes."""
        return self.unknown.size + sum(one.size for one in self.sites)


def call_sites(tables: Tables) -> CallSites:
    """What lives now. DecodeError for a build that keeps no tracks."""
    objects: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    names: dict[int, Counter[str]] = {}
    for one in tracked(tables):
        objects[one.site] += 1
        sizes[one.site] += one.size
        names.setdefault(one.site, Counter())[one.name] += one.size
    found = [
        CallSite(site, objects[site], sizes[site], tuple(name for name, _ in names[site].most_common()))
        for site in sorted(objects, key=lambda site: (-sizes[site], site))
    ]
    heap = heapinfo(walk_heap(tables))
    return CallSites(
        [one for one in found if one.site],
        next((one for one in found if not one.site), CallSite(0, 0, 0, ())),
        heap["active_blocks"],
        heap["allocated_bytes"],
    )


def view(found: CallSites, name: NameCaller) -> View:
    """The keys and values of the console's `callsites`, all sites in one list. `name` says in words where a
    call returns to.
    """
    return {
        "sites": len(found.sites),
        "objects": found.objects,
        "bytes": found.size,
        "no_site_objects": found.unknown.objects,
        "no_site_bytes": found.unknown.size,
        "heap_blocks": found.heap_blocks,
        "heap_bytes": found.heap_bytes,
        "list": [
            {"objects": one.objects, "bytes": one.size, "site": in_words(one.site, name)}
            for one in found.sites
        ],
    }
