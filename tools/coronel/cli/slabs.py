"""`coronel slabs [CACHE]`: the object caches as the console's `slabinfo`, or one cache with a cell for each
object of each slab; read from the memory of a guest that is booted for it and asked nothing, or of the host
library. With --sites: live objects by the call that allocated them, as the console's `callsites`; the guarded
profile knows that.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("slabs", help="object caches and their slabs", description=__doc__)
    parser.add_argument("cache", nargs="?", metavar="CACHE", help="show each slab of this one")
    parser.add_argument("--sites", action="store_true", help="live objects by the call that allocated them")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 0."""
    import json  # noqa: PLC0415

    if given.sites:
        return _sites(given)
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


def _sites(given: argparse.Namespace) -> int:
    import json  # noqa: PLC0415

    from coronel.build.symbols import call_names  # noqa: PLC0415
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.call_sites import call_sites, view  # noqa: PLC0415
    from coronel.mm.source import opened, program_of  # noqa: PLC0415
    from coronel.task.views import text  # noqa: PLC0415

    if given.cache is not None:
        raise UsageError("--sites is about all caches: leave CACHE out")
    with opened(given) as source, source.still() as tables:
        found = call_sites(tables)
        names = call_names(*program_of(source), [one.site for one in found.sites])
    shown = view(found, names)
    print(json.dumps(shown, indent=2) if given.json else text(shown))
    return 0
