"""The tracks of objects, out of raw memory: who allocated each, and how many bytes he asked for. Needs
nothing but Python: GDB's commands use it too.

for one in tracked(tables):  # every live object that has one
    hex(one.address), one.size, one.name, hex(one.site)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.layout import Struct
from coronel.mm.record import Tables
from coronel.mm.slabs import Slab, read_heap, record_size
from coronel.mm.zones import Physical

OPTION = "debug_slab"
TRAIL_CHECK = 8  # bytes behind the track of a large object, of its size and its call: large_guard::Trail
LEAST_ZONE = 16  # bytes before it: large_guard::kLeastZone
CHECK = 0x6C61_7267_6521_7A6F  # large_guard::kCheck

NameCaller = Callable[[int], str]  # what an address that a call returns to is called; empty: nobody knows


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
    """Of all its objects."""
    kind, objects, at = tables.type("ObjectTrack"), len(slab.states), slab_track_at(tables, slab, 0)
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
            at = large_track_at(tables, address, PAGE_SIZE << int(head["order"]))
            yield Tracked(address, "large", "kmalloc", tables.read(track, at))
            index = tags.find(large, index + 1)


def slab_track_at(tables: Tables, slab: Slab, index: int) -> int:
    """Where that of an object lies, of a slab whose record lies outside: behind the record."""
    objects = len(slab.states)
    return slab.address + record_size(tables, objects) + index * tables.type("ObjectTrack").size


def large_track_at(tables: Tables, address: int, size: int) -> int:
    """Where that of a large object lies, whose block of `size` bytes begins at `address`: before a check."""
    return address + size - TRAIL_CHECK - tables.type("ObjectTrack").size


def is_whole(tables: Tables, track: Struct, address: int) -> bool:
    """Whether nobody wrote over that track of the large object at `address`, and there ever was one."""
    checks = struct.unpack("<II", tables.memory.read(track.address + track.type.size, TRAIL_CHECK))
    requested, site = int(track["requested"]), int(track["allocated"]["site"])
    mixed = [address ^ word ^ CHECK for word in (requested, site)]
    wanted = tuple((word ^ word >> 32) & 0xFFFF_FFFF for word in mixed)
    return address + requested + LEAST_ZONE <= track.address and checks == wanted


def makes_sense(tables: Tables, track: Struct, most: int) -> bool:
    """Whether that can be what was written down of an object that may have up to `most` bytes."""
    calls = (track["allocated"], track["freed"])
    are_calls = all(call["cpu"] < tables.option("max_cpus") and not call["ns"] >> 63 for call in calls)
    return 0 < track["requested"] <= most and are_calls


def in_words(address: int, name: NameCaller) -> str:
    """An address that a call returns to, as the console says it."""
    return f"{address:#018x} {name(address)}".rstrip()
