"""`coronel profile CASE`: where the instructions of a benchmark's case go, by function or by line. In a guest
it counts every instruction; with --host it is callgrind on the host library.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("profile", help="where a case's instructions go", description=__doc__)
    parser.add_argument("case", nargs="?", help="CASE or SET/CASE; without it, the cases are listed")
    parser.add_argument("--lines", action="store_true", help="by line of the source")
    parser.add_argument("--host", action="store_true", help="a case of a program of bench/host/")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="(default: the row's)")
    parser.add_argument("--memory", default="1G", metavar="SIZE", help="(default: %(default)s)")
    parser.add_argument(
        "--count", type=int, default=25, metavar="N", help="of lines shown (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--build", type=Path, default=Path("build/release"), metavar="DIR")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 0."""
    from coronel.bench.result import shares  # noqa: PLC0415
    from coronel.bench.rows import RELEASE, ROWS, GuestCase, HostCase, guest_case  # noqa: PLC0415
    from coronel.errors import UsageError  # noqa: PLC0415

    if given.rounds < 0 or given.count < 1:
        raise UsageError("--rounds and --count are numbers: 0 or more, and 1 or more")
    if given.case is None:
        kind = HostCase if given.host else GuestCase
        for row in ROWS:  # the guarded profile has no cases of its own
            timed = getattr(row.source, "measure", "") == "time"
            if isinstance(row.source, kind) and row.profile == RELEASE and not timed:
                print(f"{row.source.case:<14} {row.name}")
        return 0
    if given.host:
        from coronel.bench import host  # noqa: PLC0415

        counts, operations = host.profile(host.case_of(given.case, given.build.name), given.lines)
    else:
        from coronel.bench import profile  # noqa: PLC0415

        elf = given.build / "coronel.elf"
        case = guest_case(given.case)
        taken = profile.take(elf, case, given.rounds or case.rounds, given.memory)
        places = profile.places_of(elf, taken.counts)
        counts = taken.by_line(places) if given.lines else taken.by_function(places)
        operations = taken.operations
    found = shares(counts, operations)
    if given.json:
        import json  # noqa: PLC0415
        from dataclasses import asdict  # noqa: PLC0415

        value = {"case": given.case, "operations": operations, "instructions": sum(counts.values())}
        print(json.dumps({**value, "shares": [asdict(share) for share in found]}, indent=1))
        return 0
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    each = sum(counts.values()) / operations
    title = f"{given.case}: {each:.1f} instructions for each of {operations} operations"
    table = Table(box=None, pad_edge=False)
    table.add_column("each", justify="right")
    table.add_column("share", justify="right")
    table.add_column("line" if given.lines else "function", overflow="fold")
    for share in found[: given.count]:
        table.add_row(f"{share.each:.2f}", f"{share.share:.1%}", share.where)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(title, markup=False, highlight=False)
    console.print(table, markup=False)
    if len(found) > given.count:
        console.print(f"... and {len(found) - given.count} more: --count {len(found)}")
    return 0
