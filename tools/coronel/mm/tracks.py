"""Every live object that has a track, out of raw memory: who allocated it, and how many bytes he asked for.
Needs nothing but Python: GDB's commands use it too.

for one in tracked(tables):
    hex(one.address), one.size, one.name, hex(one.site)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.layout import Struct
from coronel.mm.record import Tables
from coronel.mm.slabs import Slab, read_heap
from coronel.mm.zones import Physical

OPTION = "debug_slab"
TRAIL_CHECK = 8  # bytes behind the track of a large object: large_guard::Trail


@dataclass(frozen=True)
class Tracked:
    """A live object and its ObjectTrack."""

    address: int
    keeper: str  # cache, large
    name: str  # "kmalloc-64"
    track: Struct

    @property
    def size(self) -> int:
        """Bytes that were asked for."""
        return int(self.track["requested"])

    @property
    def site(self) -> int:
        """What the call that allocated it returns to; 0 where nobody knows."""
        return int(self.track["allocated"]["site"])


def tracked(tables: Tables) -> Iterator[Tracked]:
    """All of them, but for those of caches that caches need themselves. DecodeError for a build that keeps no
    tracks.
    """
    if not tables.option(OPTION):
        raise DecodeError(f"this build keeps no track of objects: {OPTION} is off; `make guarded` sets it")
    yield from _of_slabs(tables)
    yield from _of_frames(tables)


def _of_slabs(tables: Tables) -> Iterator[Tracked]:
    allocated = tables.enum("ObjectState")["allocated"]
    for cache in read_heap(tables).caches:
        stride = int(cache.cut["stride"])
        for slab in cache.slabs.values():
            first = int(slab.record["first"])
            if first // PAGE_SIZE == slab.address // PAGE_SIZE:
                continue  # its record lies inside: its objects are the heap's own, and have no tracks
            for index, track in enumerate(_tracks(tables, slab)):
                if slab.states[index] == allocated:
                    yield Tracked(first + index * stride, "cache", cache.name, track)


def _tracks(tables: Tables, slab: Slab) -> list[Struct]:
    """Of all its objects; they lie behind the slab's states and bits."""
    kind, objects = tables.type("ObjectTrack"), len(slab.states)
    at = slab.address + slab.record.type.size + -(-objects // 8) * 8 + 8 * len(slab.free_words)
    data = tables.memory.read(at, kind.size * objects)
    starts = range(0, len(data), kind.size)
    return [Struct(kind, data[begin : begin + kind.size], at + begin) for begin in starts]


def _of_frames(tables: Tables) -> Iterator[Tracked]:
    """Large objects: a byte of each Frame says whether it heads one."""
    physical, kind, track = Physical.of(tables), tables.type("Frame"), tables.type("ObjectTrack")
    frames, direct = int(physical.map["frames"]), int(physical.map["direct_map"])
    large, tag_at = tables.enum("FrameTag")["large_object"], kind["tag"].offset
    for row in physical.map["range"][: physical.map["ranges"]]:
        first = int(row["first"])
        data = tables.memory.read(frames + first * kind.size, (int(row["end"]) - first) * kind.size)
        tags = data[tag_at :: kind.size]
        index = tags.find(large)
        while index >= 0:
            head = Struct(kind, data[index * kind.size : (index + 1) * kind.size], 0)
            address = direct + (first + index) * PAGE_SIZE
            end = address + (PAGE_SIZE << int(head["order"]))
            yield Tracked(address, "large", "kmalloc", tables.read(track, end - TRAIL_CHECK - track.size))
            index = tags.find(large, index + 1)
