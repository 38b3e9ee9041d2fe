"""`coronel stats`: every counter of a kernel that is booted for it, or of the host library, read from its
memory.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("stats", help="the counters, read from memory", description=__doc__)
    # The options are the source's; numpy stays out until the command runs.
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints them; 0."""
    from coronel.mm.source import opened  # noqa: PLC0415

    with opened(given) as source:
        values = source.counters()
        infos = source.tables.counters
    if given.json:
        import json  # noqa: PLC0415

        rows = {
            info.name: {"value": values[info.name], "unit": info.unit, "kind": info.kind} for info in infos
        }
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("counter", box=None, pad_edge=False)
    table.add_column("value", justify="right")
    for title in ("unit", "kind", "what it counts"):
        table.add_column(title, overflow="fold")
    for info in infos:
        table.add_row(info.name, str(values[info.name]), info.unit, info.kind, info.help)
    Console().print(table)
    return 0
