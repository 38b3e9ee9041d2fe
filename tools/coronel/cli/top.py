"""`coronel top`: zones, free blocks of each order and events per second of a running guest.

--command runs meanwhile; Ctrl-C ends it, with exit status 0, and so does the guest when it is switched off.
With --once the lines of --command are run first, and one picture is printed: the rates are those of the time
that they took.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coronel.mm.kernel import KernelState
    from coronel.picture.activity import Activity

INTERVAL = 1.0
INTERVALS = (0.05, 3600.0)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("top", help="watch a guest's memory at work", description=__doc__)
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    add_arguments(parser, host=False)
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
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.source import check_arguments, described, opened  # noqa: PLC0415

    check_arguments(given)
    if not INTERVALS[0] <= given.interval <= INTERVALS[1]:
        low, high = INTERVALS
        raise UsageError(f"interval {given.interval:g} is out of range: {low:g} to {high:g} seconds")
    if given.json and not given.once:
        raise UsageError("--json is for programs, which do not watch: add --once")
    lines, given.commands = given.commands, []
    from coronel.mm.kernel import KernelState  # noqa: PLC0415
    from coronel.picture.activity import Activity  # noqa: PLC0415

    view = Activity(described(given))
    with opened(given) as source:
        assert isinstance(source, KernelState)
        if given.once:
            _once(source, lines, view, as_json=given.json)
        else:
            _watch(source, lines, view, given.interval)
    return 0


def _once(source: KernelState, lines: list[str], view: Activity, *, as_json: bool) -> None:
    from coronel.mm.source import run_commands  # noqa: PLC0415
    from coronel.picture.activity import Sample  # noqa: PLC0415

    with source.still() as tables:
        view.add(Sample.take(tables))
    run_commands(source.guest, lines)
    with source.still() as tables:
        view.add(Sample.take(tables))
    if as_json:
        import json  # noqa: PLC0415

        print(json.dumps(view.as_json(), indent=2))
        return
    from rich.console import Console  # noqa: PLC0415

    Console().print(view)


def _watch(source: KernelState, lines: list[str], view: Activity, interval: float) -> None:
    from rich.console import Console  # noqa: PLC0415

    from coronel.picture.activity import Sample  # noqa: PLC0415
    from coronel.picture.live import watch  # noqa: PLC0415

    tables = source.tables
    view.note = "Ctrl-C ends"

    def draw() -> Activity:
        view.add(Sample.take(tables))
        return view

    watch(source.guest, lines, interval, draw, Console())
