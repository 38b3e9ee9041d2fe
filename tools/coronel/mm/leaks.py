"""Objects that nobody can reach: what the last scan of the guarded profile has said, out of raw memory.
Needs nothing but Python: GDB's commands use it too.

for leak in leaks(tables):
    hex(leak.address), leak.size, leak.name, hex(leak.allocated.site)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.layout import Struct
from coronel.mm.misuse import HeapCall
from coronel.mm.record import Tables
from coronel.mm.slabs import Slab, read_heap
from coronel.mm.zones import Physical

OPTION = "debug_kmemleak"
TRAIL_CHECK = 8  # bytes behind the track of a large object: large_guard::Trail


@dataclass(frozen=True)
class LeakCount:
    """What a scan has seen."""

    objects: int  # that were judged
    leaks: int
    leaked_bytes: int
    words: int  # that were looked at


@dataclass(frozen=True)
class Leak:
    """An object that no pointer leads to."""

    address: int
    size: int  # asked for
    keeper: str  # cache, large
    name: str  # "kmalloc-64"
    allocated: HeapCall
    callers: tuple[int, ...]  # what the calls before allocated.site return to, the nearest first


def leaks(tables: Tables) -> list[Leak]:
    """Those that the last scan reported, that are allocated still and not known, by address. DecodeError for
    a build without the option.
    """
    if not tables.option(OPTION):
        raise DecodeError(f"this build keeps no track of leaks: {OPTION} is off; `make guarded` sets it")
    found = [*_of_slabs(tables), *_of_frames(tables)]
    return sorted(found, key=lambda leak: leak.address)


def _of_slabs(tables: Tables) -> Iterator[Leak]:
    allocated = tables.enum("ObjectState")["allocated"]
    for cache in read_heap(tables).caches:
        stride = int(cache.cut["stride"])
        for slab in cache.slabs.values():
            first = int(slab.record["first"])
            if first // PAGE_SIZE == slab.address // PAGE_SIZE:
                continue  # its record lies inside: its objects are the heap's own, and have no tracks
            for index, track in _reported(tables, slab):
                if slab.states[index] == allocated:
                    yield _leak(track, first + index * stride, "cache", cache.name)


def _reported(tables: Tables, slab: Slab) -> Iterator[tuple[int, Struct]]:
    kind = tables.type("ObjectTrack")
    at = slab.address + slab.record.type.size + -(-len(slab.states) // 8) * 8 + 8 * len(slab.free_words)
    data = tables.memory.read(at, kind.size * len(slab.states))
    reported = kind.enumeration("leak")["reported"]
    states = struct.unpack_from(f"<{len(data) // 4}I", data)
    place, step = kind["leak"].offset // 4, kind.size // 4
    for index, state in enumerate(states[place::step]):
        if state == reported:
            begin = index * kind.size
            yield index, Struct(kind, data[begin : begin + kind.size], at + begin)


def _of_frames(tables: Tables) -> Iterator[Leak]:
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
            known = tables.read(track, end - TRAIL_CHECK - track.size)
            if str(known["leak"]) == "reported":
                yield _leak(known, address, "large", "kmalloc")
            index = tags.find(large, index + 1)


def _leak(track: Struct, address: int, keeper: str, name: str) -> Leak:
    call = track["allocated"]
    allocated = HeapCall(int(call["site"]), int(call["cpu"]), int(call["ns"]))
    callers: list[int] = []
    for distance in track["callers"]:
        if distance == 0:
            break
        callers.append(allocated.site + (distance - (1 << 32) if distance >> 31 else distance))
    return Leak(address, int(track["requested"]), keeper, name, allocated, tuple(callers))
