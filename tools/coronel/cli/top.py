"""`coronel top`: zones, free blocks of each order and events per second of a running guest; with --slabs the
object caches: what they hold, what of that is free, and how it changes.

--command runs meanwhile; Ctrl-C ends it, with exit status 0, and so does the guest when it is switched off.
With --once the lines of --command are run first, and one picture is printed: the rates are those of the time
that they took. Otherwise nothing stands still: a list that changes while it is followed is said.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from coronel.mm.kernel import KernelState
    from coronel.mm.record import Tables

INTERVAL = 1.0
INTERVALS = (0.05, 3600.0)
SORT = "size"


class View(Protocol):
    """What is shown: a renderable of the last samples."""

    note: str

    def take(self, tables: Tables) -> None:
        """Reads the next sample and adds it."""

    def as_json(self) -> dict[str, Any]:
        """The same numbers for programs."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of it."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("top", help="watch a guest's memory at work", description=__doc__)
    from coronel.mm.slab_use import SORTS  # noqa: PLC0415
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    add_arguments(parser, host=False)
    parser.add_argument("--slabs", action="store_true", help="the object caches, as slabtop")
    parser.add_argument("--sort", choices=SORTS, help=f"the order of --slabs (default: {SORT})")
    parser.add_argument("--once", action="store_true", help="one picture, of a guest that stands still")
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL,
        metavar="SECONDS",
        help="between two pictures (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Shows it; 0."""
    from coronel.mm.source import check_arguments, described, opened  # noqa: PLC0415

    check_arguments(given)
    _check(given)
    lines, given.commands = given.commands, []
    from coronel.mm.kernel import KernelState  # noqa: PLC0415

    view = _view(given, described(given))
    with opened(given) as source:
        assert isinstance(source, KernelState)
        if given.once:
            _once(source, lines, view, as_json=given.json)
        else:
            _watch(source, lines, view, given.interval)
    return 0


def _check(given: argparse.Namespace) -> None:
    from coronel.errors import UsageError  # noqa: PLC0415

    if not INTERVALS[0] <= given.interval <= INTERVALS[1]:
        low, high = INTERVALS
        raise UsageError(f"interval {given.interval:g} is out of range: {low:g} to {high:g} seconds")
    if given.json and not given.once:
        raise UsageError("--json is for programs, which do not watch: add --once")
    if given.sort and not given.slabs:
        raise UsageError("--sort is the order of the object caches: add --slabs")


def _view(given: argparse.Namespace, machine: str) -> View:
    if given.slabs:
        from coronel.picture.slab_activity import SlabActivity  # noqa: PLC0415

        return SlabActivity(machine, given.sort or SORT)
    from coronel.picture.activity import Activity  # noqa: PLC0415

    return Activity(machine)


def _once(source: KernelState, lines: list[str], view: View, *, as_json: bool) -> None:
    from coronel.mm.source import run_commands  # noqa: PLC0415

    with source.still() as tables:
        view.take(tables)
    run_commands(source.guest, lines)
    with source.still() as tables:
        view.take(tables)
    if as_json:
        import json  # noqa: PLC0415

        print(json.dumps(view.as_json(), indent=2))
        return
    from rich.console import Console  # noqa: PLC0415

    Console().print(view)


def _watch(source: KernelState, lines: list[str], view: View, interval: float) -> None:
    from rich.console import Console  # noqa: PLC0415

    from coronel.picture.live import watch  # noqa: PLC0415

    view.note = "Ctrl-C ends"

    def draw() -> View:
        view.take(source.refresh())  # a frame may be mapped anew: the guarded profile hides the free ones
        return view

    watch(source.guest, lines, interval, draw, Console())
