"""Which picture of the floor of objects `coronel map` draws, and what it is made of."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from coronel.mm.source import Source, program_of
from coronel.picture.object_terminal import HeapView, ObjectView, SiteView, SlabView
from coronel.picture.sheet import Sheet


@dataclass(frozen=True)
class Picture:
    """One picture, for a terminal, for a file and for programs."""

    view: ObjectView
    sheet: Sheet
    json: dict[str, Any]


def wanted(given: argparse.Namespace) -> bool:
    """Whether the arguments ask for one of these."""
    return given.slabs is not None or given.heap or given.sites


def picture_of(source: Source, given: argparse.Namespace, machine: str) -> Picture:
    """The one that the arguments ask for, of memory as it is now. DecodeError where the build knows nothing
    of it, or has no such cache.
    """
    if given.slabs is not None:
        return _slabs(source, given.slabs, machine)
    return _heap(source, machine) if given.heap else _sites(source, machine)


def _slabs(source: Source, name: str, machine: str) -> Picture:
    from coronel.picture.slab_sheet import slab_sheet  # noqa: PLC0415
    from coronel.picture.slabs import as_json, slab_pictures  # noqa: PLC0415

    with source.still() as tables:
        found = slab_pictures(tables, name)
    return Picture(SlabView(found, machine), slab_sheet(found, machine), as_json(found, machine))


def _heap(source: Source, machine: str) -> Picture:
    from coronel.mm.heap import walk_heap  # noqa: PLC0415
    from coronel.picture.heap import as_json  # noqa: PLC0415
    from coronel.picture.heap_sheet import heap_sheet  # noqa: PLC0415

    with source.still() as tables:
        found = walk_heap(tables)
    return Picture(HeapView(found, machine), heap_sheet(found, machine), as_json(found, machine))


def _sites(source: Source, machine: str) -> Picture:
    from coronel.build.symbols import call_names  # noqa: PLC0415
    from coronel.mm.call_sites import call_sites, view  # noqa: PLC0415
    from coronel.picture.site_sheet import site_sheet  # noqa: PLC0415

    with source.still() as tables:
        found = call_sites(tables)
        name = call_names(*program_of(source), [one.site for one in found.sites])
    shown = {"machine": machine, **view(found, name)}
    return Picture(SiteView(found, machine, name), site_sheet(found, machine, name), shown)
