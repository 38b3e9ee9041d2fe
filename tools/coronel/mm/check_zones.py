"""Node and zones: what their records say against the memory that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.mm.check_map import MAP, Ranges, frames_in
from coronel.mm.frames import Bools, FrameArray
from coronel.mm.layout import Struct
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import ALL_FRAMES, ZONE_NAMES, Physical, Zone, zone_edges, zone_kinds

RESERVE_SHARE = 256  # of a zone's frames that only urgent requests get: its watermark `minimum`
NO_FIRST = 0xFFFF_FFFF  # `first` of a zone without memory


def read_zones(tables: Tables, physical: Physical, findings: Findings) -> list[Zone]:
    """The zones that can be read; none when the way to one of them is broken."""
    pointers, said = physical.nodes(), int(physical.record["nodes"])
    used = sum(pointer != 0 for pointer in pointers)
    if said != used:
        address = physical.record.address_of("nodes")
        findings.add(
            "PhysicalRecord", "nodes", used, said, "not the number of its pointers to nodes", address
        )
    holder, field, at = "PhysicalRecord", "node[0]", physical.record.address_of("node")
    found = []
    try:
        zone_kinds(tables)
        node = tables.read("NodeRecord", pointers[0])
        if node["number"] != 0:
            findings.add(
                "NodeRecord 0", "number", 0, node["number"], "not its place", node.address_of("number")
            )
        for number, pointer in enumerate(node["zone"]):
            holder, field, at = "NodeRecord 0", f"zone[{number}]", node.address_of("zone", number)
            found.append(physical.zone(tables, number, pointer))
    except DecodeError as error:
        findings.add(holder, field, "the record of a zone", "none", str(error), at)
        return []
    return found


@dataclass(frozen=True)
class Edges:
    """Where zones begin and end, in frame numbers."""

    edges: tuple[int, ...]
    direct_frames: int  # frames from this number on are not in the direct map

    def part(self, zone: int, ranges: Ranges) -> Ranges:
        """What of the ranges lies in a zone."""
        low, high = self.edges[zone], self.edges[zone + 1]
        cut = [(max(first, low), min(end, high)) for first, end in ranges]
        return [(first, end) for first, end in cut if first < end]

    def of_groups(self, array: FrameArray) -> NDArray[np.uint8]:
        """The zone of each group of an array; a group lies in one zone."""
        first = array.groups * array.group_frames
        return np.searchsorted(np.array(self.edges[1:-1]), first, "right").astype(np.uint8)

    def of_frames(self, array: FrameArray, present: Bools) -> NDArray[np.uint8]:
        """What each Frame must say; 0 where it is absent."""
        found = np.repeat(self.of_groups(array), array.group_frames)
        found[~present] = 0
        return found


def find_edges(
    tables: Tables,
    physical: Physical,
    zones: list[Zone],
    array: FrameArray,
    present: Bools,
    ranges: Ranges,
    findings: Findings,
) -> Edges:
    """The edges that are to be believed. FrameMap.direct_frames moves one of them: when zones and Frames
    agree on another place for it, it is wrong.
    """
    max_order, said = array.shape.max_order, int(physical.map["direct_frames"])
    by_map = Edges(zone_edges(tables, said, max_order), said)
    if _contradictions(by_map, zones, array, present, ranges) < 2:
        return by_map
    high = np.flatnonzero(present & (array.frame_column("zone") == len(ZONE_NAMES) - 1))
    shown = array.number(int(high[0])) if len(high) else ALL_FRAMES
    by_frames = Edges(zone_edges(tables, shown, max_order), shown)
    if _contradictions(by_frames, zones, array, present, ranges) > 0:
        return by_map
    why = "zones and Frames say otherwise of where HighMem begins"
    address = physical.map.address_of("direct_frames")
    findings.add(MAP, "direct_frames", by_frames.edges[-2], said, why, address)
    return by_frames


def check_block_zones(
    physical: Physical, array: FrameArray, edges: Edges, present: Bools, findings: Findings
) -> None:
    """FrameMap.block_zone: the zone of every pageblock that has a frame, and of no other."""
    size = array.shape.block_frames
    with_frames = np.flatnonzero(present.reshape(-1, size).any(axis=1))
    numbers = array.numbers(with_frames * size) // size
    field = physical.map.type["block_zone"]
    found = np.frombuffer(physical.map.data, np.uint8, field.count, field.offset)
    right = np.zeros(len(found), np.uint8)
    right[numbers] = 1 + np.searchsorted(np.array(edges.edges[1:-1]), numbers * size, "right")
    wrong = np.flatnonzero(found != right)
    for index in wrong[: findings.room(len(wrong))].tolist():
        address = physical.map.address_of("block_zone", index)
        why = "not 1 + the zone of a pageblock that is there"
        findings.add(MAP, f"block_zone[{index}]", int(right[index]), int(found[index]), why, address)


def _contradictions(
    edges: Edges, zones: list[Zone], array: FrameArray, present: Bools, ranges: Ranges
) -> int:
    """How many witnesses they have against them: the Frames together, and each field of the zones."""
    frames = edges.of_frames(array, present)
    wrong = int(bool((array.frame_column("zone") != frames).any()))
    edge = 1 << array.shape.max_order
    for zone in zones:
        expected = _extent(edges.part(zone.number, ranges), edge)
        wrong += sum(zone.record[field] != value for field, value in expected.items())
    return wrong


def _extent(part: Ranges, edge: int) -> dict[str, int]:
    """What a zone with that memory says of its size; its edges are whole blocks of the largest order."""
    if not part:
        return {"first": NO_FIRST, "end": 0, "present_frames": 0}
    return {
        "first": part[0][0] // edge * edge,
        "end": -(-part[-1][1] // edge) * edge,
        "present_frames": frames_in(part),
    }


def check_zones(
    zones: list[Zone], present: Ranges, edges: Edges, managed: Sequence[int], edge: int, findings: Findings
) -> None:
    """Names, edges, sizes and watermarks. `managed`: how many frames of each zone the allocator has."""
    for zone in zones:
        record, kind = zone.record, list(ZONE_NAMES.values())[zone.number]
        field = record.type["name"]
        raw = record.data[field.offset : field.offset + field.size]
        if raw != kind.encode().ljust(field.size, b"\0"):
            why = "not the name of its kind"
            findings.add(zone.record_name, "name", kind, repr(raw), why, record.address_of("name"))
        _compare(
            record,
            zone.record_name,
            _extent(edges.part(zone.number, present), edge),
            "the zone holds the memory between its edges, rounded to whole blocks",
            findings,
        )
        _compare(
            record,
            zone.record_name,
            dict(_watermarks(managed[zone.number])),
            f"follows from its {managed[zone.number]} managed frames",
            findings,
        )


def _watermarks(managed: int) -> Iterator[tuple[str, int]]:
    minimum = managed // RESERVE_SHARE
    yield "minimum", minimum
    yield "low", minimum + minimum // 4
    yield "high", minimum + minimum // 2


def _compare(record: Struct, name: str, expected: dict[str, int], why: str, findings: Findings) -> None:
    for field, wanted in expected.items():
        if record[field] != wanted:
            findings.add(name, field, wanted, record[field], why, record.address_of(field))
