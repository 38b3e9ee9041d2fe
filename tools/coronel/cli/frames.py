"""`coronel frames`: what every frame is: a summary, the zones that have memory, runs of frames in one state,
and whatever is wrong.

It walks the frame array and the free structures in the memory of a kernel that is booted for it, or of the
host library, and asks nobody. Exit status 1 when something is wrong.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coronel.mm.walker import Walk
    from coronel.mm.zones import Zone

RUNS_SHOWN = 40


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "frames", help="what every frame is, and what is wrong", description=__doc__
    )
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    add_arguments(parser)
    parser.add_argument("--first", type=int, default=0, metavar="FRAME", help="list runs from here on")
    parser.add_argument(
        "--count", type=int, default=RUNS_SHOWN, metavar="N", help="of runs listed (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 1 when the walk found a problem."""
    from coronel.mm.source import opened  # noqa: PLC0415

    if given.first < 0 or given.count < 0:
        from coronel.errors import UsageError  # noqa: PLC0415

        raise UsageError("--first and --count are numbers of frames and of runs: 0 or more")
    with opened(given) as source:
        walk = source.walk()
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(_as_json(walk, given.first, given.count), indent=2))
    else:
        _print(walk, given.first, given.count)
    return 1 if walk.problems or not walk.complete else 0


def _levels(walk: Walk) -> dict[str, int]:
    return {
        "present": walk.present,
        "reserved": walk.reserved,
        "managed": walk.managed,
        "free": walk.free,
        "cached": walk.cached,
        "allocated_blocks": len(walk.allocated_blocks),
    }


def _as_json(walk: Walk, first: int, count: int) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415

    runs = [run for run in walk.ranges() if run[1] > first][:count]
    return {
        "frames": _levels(walk),
        "free_blocks": list(walk.free_blocks),
        "zones": [
            {"zone": zone.name, **_zone_levels(zone), "free_blocks": list(blocks)}
            for zone, blocks in _zones(walk)
        ],
        "magazines": [
            {"cpu": one.cpu, "zone": walk.zones[one.zone].name, "order": one.order, "blocks": one.blocks}
            for one in walk.magazines
        ],
        "ranges": [{"first": low, "end": end, "state": state.name} for low, end, state in runs],
        "problems": [asdict(problem) for problem in walk.problems],
        "problems_left_out": walk.left_out,
        "complete": walk.complete,
        "notes": walk.notes,
    }


def _zones(walk: Walk) -> list[tuple[Zone, tuple[int, ...]]]:
    """Those that have memory, with their free blocks."""
    pairs = zip(walk.zones, walk.zone_free_blocks, strict=False)
    return [(zone, blocks) for zone, blocks in pairs if zone.populated]


def _zone_levels(zone: Zone) -> dict[str, int]:
    record = zone.record
    return {
        "first": record["first"],
        "end": record["end"],
        "free": zone.lists["free_frames"],
        "minimum": record["minimum"],
        "low": record["low"],
        "high": record["high"],
    }


def _print(walk: Walk, first: int, count: int) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    levels = Table(*_levels(walk), title="frames", title_justify="left", box=None, pad_edge=False)
    levels.add_row(*map(str, _levels(walk).values()))
    zones = Table("zone", title="zones", title_justify="left", box=None, pad_edge=False)
    orders = Table("zone", title="free blocks by order", title_justify="left", box=None, pad_edge=False)
    for order in range(len(walk.free_blocks)):
        orders.add_column(str(order), justify="right")
    for zone, blocks in _zones(walk):
        if not zones.rows:
            for name in _zone_levels(zone):
                zones.add_column(name, justify="right")
        zones.add_row(zone.name, *map(str, _zone_levels(zone).values()))
        orders.add_row(zone.name, *map(str, blocks))
    runs = Table(title="runs", title_justify="left", box=None, pad_edge=False)
    for name in ("first", "end", "frames", "address"):
        runs.add_column(name, justify="right")
    runs.add_column("state")
    found = [run for run in walk.ranges() if run[1] > first]
    for low, end, state in found[:count]:
        runs.add_row(str(low), str(end), str(end - low), f"{low << 12:#x}", state.name)
    console.print(levels, zones, orders, runs, sep="\n\n")
    if len(found) > count:
        console.print(
            f"... {len(found) - count} more runs: --first {found[count][0]}, or --count {len(found)}"
        )
    if walk.problems or not walk.complete:
        console.print(walk.summary(), style="bold red", markup=False, highlight=False)
    elif walk.notes:
        console.print(*walk.notes, sep="\n", markup=False, highlight=False)
