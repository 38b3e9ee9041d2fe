"""`coronel slabs [CACHE]`: the object caches as the console's `slabinfo`, or one cache with a cell for each
object of each slab; read from the memory of a guest that is booted for it and asked nothing, or of the host
library.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("slabs", help="object caches and their slabs", description=__doc__)
    parser.add_argument("cache", nargs="?", metavar="CACHE", help="show each slab of this one")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 0."""
    import json  # noqa: PLC0415

    from coronel.mm.slab_view import cache_named, cells, slabinfo  # noqa: PLC0415
    from coronel.mm.source import opened  # noqa: PLC0415
    from coronel.task.views import table  # noqa: PLC0415

    with opened(given) as source, source.still() as tables:
        if given.cache is not None:
            lines = list(cells(tables, cache_named(tables, given.cache)))
            print(json.dumps(lines, indent=2) if given.json else "\n".join(lines))
        else:
            rows = slabinfo(tables)
            print(json.dumps(rows, indent=2) if given.json else "\n".join(table(rows)))
    return 0
