"""GDB's commands `coronel frame|zones|buddy|magazines|vmallocinfo|stats|walk|type`, over the same decoders as
everything else; those about page tables are in table_commands, those about CPUs and threads in task_commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gdb

from coronel.errors import CoronelError
from coronel.gdb import CONSOLE_VARIABLE, object_commands, table_commands, task_commands
from coronel.gdb.inferior import tables
from coronel.mm import stats
from coronel.mm.buddy import counted_blocks
from coronel.mm.magazines import read_caches
from coronel.mm.ranges import read_ranges
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Zone, frame_at


class _Prefix(gdb.Command):  # type: ignore[misc]  # GDB has no types
    """The kernel's memory through Coronel's own tables."""

    def __init__(self) -> None:
        super().__init__("coronel", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class _Command(gdb.Command):  # type: ignore[misc]  # GDB has no types
    """One subcommand. What goes wrong is one line, and GDB's own error."""

    def __init__(self, name: str, help_text: str, body: Callable[[str], None]) -> None:
        self.__doc__ = help_text
        self._body = body
        super().__init__(f"coronel {name}", gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """GDB calls."""
        del from_tty
        try:
            self._body(argument)
        except (CoronelError, gdb.error) as error:
            raise gdb.GdbError(f"coronel: {error}") from None


def _print(text: str) -> None:
    gdb.write(text + "\n")


def frame(argument: str) -> None:
    """`coronel frame N`: one Frame with its Pageblock. N is any expression: a number, a FrameNumber, a
    PhysAddr.
    """
    if not argument.strip():
        raise gdb.GdbError(
            "coronel frame N: which frame? A number, or an expression for a FrameNumber or PhysAddr"
        )
    value = gdb.parse_and_eval(argument)
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        number = int(value["value"]) >> 12
    else:
        number = int(value.cast(gdb.lookup_type("long")))
    found = tables()
    one = frame_at(found, Physical.of(found), number)
    rows: dict[str, Any] = {"frame": number, "address": f"{number << 12:#x}", "state": one.state_name}
    rows |= {name: value for name, value in one.frame.items() if name != "state"}
    rows |= {f"pageblock.{name}": one.block[name] for name in ("free_frames", "list", "whole_order")}
    for name, value in rows.items():
        _print(f"{name + ':':24}{value}")


def zones(argument: str) -> None:
    """`coronel zones`: the zones that have memory, their levels and watermarks, in frames."""
    _nothing("zones", argument)
    found = tables()
    for zone in _populated(found, Physical.of(found)):
        record, lists = zone.record, zone.lists
        _print(f"zone {zone.name}, frames {record['first']} to {record['end']}")
        for name, value in (
            ("free", lists["free_frames"]),
            ("minimum", record["minimum"]),
            ("low", record["low"]),
            ("high", record["high"]),
            ("present", record["present_frames"]),
            ("managed", lists["managed_frames"]),
        ):
            _print(f"  {name + ':':22}{value}")


def buddy(argument: str) -> None:
    """`coronel buddy`: free blocks of each zone and order, and the largest, by the pageblocks' counts."""
    _nothing("buddy", argument)
    found = tables()
    physical = Physical.of(found)
    for zone in _populated(found, physical):
        blocks = counted_blocks(found, physical, zone)
        largest = max((order for order, count in enumerate(blocks) if count), default=None)
        size = "none" if largest is None else f"order {largest}, {1 << largest} frames"
        _print(f"zone {zone.name}")
        _print(f"  order:                {''.join(f'{order:7}' for order in range(len(blocks)))}")
        _print(f"  free blocks:          {''.join(f'{count:7}' for count in blocks)}")
        _print(f"  largest free block:   {size}")


def magazines(argument: str) -> None:
    """`coronel magazines`: of each CPU that runs, and each zone and order: how many blocks its two magazines
    hold, and how many each may hold now.
    """
    _nothing("magazines", argument)
    found = tables()
    physical = Physical.of(found)
    names = {zone.number: zone.name for zone in _populated(found, physical)}
    _print("cpu  zone     order   loaded  previous   limit")
    for cache in read_caches(found, physical)[: len(found.cpus)]:
        for place, pair in enumerate(cache.pairs):
            zone, order = cache.places.zone(place), cache.places.order(place)
            if zone not in names:
                continue
            counts = []
            for field in ("loaded", "previous"):
                one = cache.at(place, int(pair[field]))
                counts.append("?" if one is None else str(one.count))
            _print(
                f"{cache.cpu:3}  {names[zone]:8}{order:6}{counts[0]:>9}{counts[1]:>10}{int(pair['limit']):8}"
            )
        if cache.taken:
            _print(f"{cache.cpu:3}  is taken: it stopped in the middle of an operation")


def _populated(found: Tables, physical: Physical) -> list[Zone]:
    return [zone for zone in physical.zones(found) if zone.populated]


def vmallocinfo(argument: str) -> None:
    """`coronel vmallocinfo`: who has which kernel addresses."""
    _nothing("vmallocinfo", argument)
    found = read_ranges(tables())
    if found is None:
        raise gdb.GdbError("coronel vmallocinfo: this kernel hands out no addresses yet")
    for one in found.taken:
        caller = gdb.format_address(int(one.record["caller"])) if hasattr(gdb, "format_address") else ""
        _print(f"{one}  pages={one.pages} {caller}".rstrip())


def counters(argument: str) -> None:
    """`coronel stats`: every counter, over all CPUs."""
    _nothing("stats", argument)
    found = tables()
    values = stats.counters(found)
    for info in found.counters:
        _print(f"{info.name + ':':24}{values[info.name]:>12} {info.unit}")


def walk(argument: str) -> None:
    """`coronel walk`: reads all frames and free structures and says what is wrong with them. Needs numpy."""
    _nothing("walk", argument)
    try:
        from coronel.mm.walker import walk as walk_all  # noqa: PLC0415
    except ImportError as error:
        raise gdb.GdbError(
            f"coronel walk: GDB's Python cannot load numpy ({error}); use `coronel frames`"
        ) from None
    _print(walk_all(tables(), contents=False).summary())


def type_line(argument: str) -> None:
    """`coronel type LINE`: types a line on the kernel's console; it is read when the kernel runs on."""
    descriptor = os.environ.get(CONSOLE_VARIABLE)
    if descriptor is None:
        raise gdb.GdbError("coronel type: this GDB was not started by `coronel debug`")
    os.write(int(descriptor), argument.encode() + b"\n")


def _nothing(name: str, argument: str) -> None:
    if argument.strip():
        raise gdb.GdbError(f"coronel {name} takes no argument")


def register() -> None:
    """Hands the commands to GDB."""
    _Prefix()
    bodies = {
        "frame": frame,
        "zones": zones,
        "buddy": buddy,
        "magazines": magazines,
        "vmallocinfo": vmallocinfo,
        "stats": counters,
        "walk": walk,
        "type": type_line,
        **table_commands.BODIES,
        **task_commands.BODIES,
        **object_commands.BODIES,
    }
    for name, body in bodies.items():
        _Command(name, body.__doc__ or "", body)
