"""`coronel heap`: the kernel heap as the console's `heapinfo`, but counted in the memory of a guest that is
booted for it and asked nothing, or of the host library. Exit status 1 when its blocks, lists and sums do not
agree.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("heap", help="the kernel heap", description=__doc__)
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 1 when something is wrong with it."""
    import json  # noqa: PLC0415

    from coronel.mm.heap import walk_heap  # noqa: PLC0415
    from coronel.mm.heap_view import heapinfo, lines  # noqa: PLC0415
    from coronel.mm.source import opened  # noqa: PLC0415

    with opened(given) as source, source.still() as tables:
        found = walk_heap(tables)
    if given.json:
        print(json.dumps({**heapinfo(found), "problems": list(map(str, found.problems))}, indent=2))
    else:
        print("\n".join(lines(found)))
    return 1 if found.problems else 0
