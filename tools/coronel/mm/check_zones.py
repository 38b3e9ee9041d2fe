"""Zones: what their records say against the memory that is there."""

from __future__ import annotations

from coronel.errors import DecodeError
from coronel.mm.check_map import Ranges, frames_in
from coronel.mm.layout import Struct
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Shape, Zone

ZONE_NAMES = ("DMA", "DMA32", "Normal", "HighMem")


def read_zones(tables: Tables, physical: Physical, findings: Findings) -> list[Zone]:
    """The zones that can be read. Their number is that of the pointers in use."""
    pointers = physical.record["zone"]
    used = next((count for count, pointer in enumerate(pointers) if pointer == 0), len(pointers))
    said = int(physical.record["zones"])
    if said != used or any(pointers[used:]):
        address = physical.record.address_of("zones")
        findings.add(
            "PhysicalRecord", "zones", used, said, "not the number of its pointers to zones", address
        )
    found = []
    for number in range(used):
        try:
            found.append(physical.zone(tables, number, pointers[number]))
        except DecodeError as error:
            address = physical.record.address_of("zone", number)
            findings.add(
                "PhysicalRecord", f"zone[{number}]", "a ZoneRecord", pointers[number], str(error), address
            )
    return found


def check_zones(zones: list[Zone], present: Ranges, shape: Shape, findings: Findings) -> None:
    """Names, edges and sizes."""
    edge = 1 << shape.max_order
    for zone in zones:
        record, name = zone.record, zone.record_name
        field = record.type["name"]
        raw = record.data[field.offset : field.offset + field.size]
        if raw not in [known.encode().ljust(field.size, b"\0") for known in ZONE_NAMES]:
            wanted = " or ".join(ZONE_NAMES)
            findings.add(name, "name", wanted, repr(raw), "no name of a zone", record.address_of("name"))
        if len(zones) == 1 and present:
            _check_only(record, name, present, edge, findings)
            continue
        for place in ("first", "end"):
            if record[place] % edge:
                why = "zones begin and end at whole blocks of the largest order"
                findings.add(
                    name, place, f"a multiple of {edge}", record[place], why, record.address_of(place)
                )


def _check_only(record: Struct, name: str, present: Ranges, edge: int, findings: Findings) -> None:
    """The only zone holds all memory, rounded to whole blocks of the largest order."""
    expected = {
        "first": present[0][0] // edge * edge,
        "end": -(-present[-1][1] // edge) * edge,
        "present_frames": frames_in(present),
    }
    for field, wanted in expected.items():
        if record[field] != wanted:
            why = "the only zone holds all memory"
            findings.add(name, field, wanted, record[field], why, record.address_of(field))
