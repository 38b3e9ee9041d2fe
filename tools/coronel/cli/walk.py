"""`coronel walk ADDR`: the page tables on the way to an address, level by level, as the console's
`pagetables`, but read from the raw memory of a guest that is booted for it and asked nothing. Without ADDR:
what the root points to; with --stat: tables and pages by level, as `pgstat`. Exit status 1 when the address
is not mapped.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("walk", help="page tables, level by level", description=__doc__)
    parser.add_argument("address", nargs="?", metavar="ADDR", help="a virtual address, 0x... or decimal")
    parser.add_argument("--stat", action="store_true", help="tables and pages by level")
    add_arguments(parser, host=False)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 1 when nothing is mapped there."""
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.page_tables import census_view, kernel_tree, path_view, root_view  # noqa: PLC0415
    from coronel.mm.source import opened  # noqa: PLC0415
    from coronel.task.views import text  # noqa: PLC0415

    try:
        address = None if given.address is None else int(given.address, 0)
    except ValueError:
        raise UsageError(f"{given.address!r} is no address: 0x... or decimal") from None
    if given.stat and address is not None:
        raise UsageError("--stat is about the whole tree: leave ADDR out")
    with opened(given) as source, source.still() as tables:
        tree = kernel_tree(tables)
        if address is not None:
            if tree.canonical(address) != address:
                raise UsageError(f"no CPU takes the address {address:#x}: its highest bits are not equal")
            view = path_view(tree, address)
        else:
            view = census_view(tree) if given.stat else root_view(tree)
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(view, indent=2))
    else:
        print(text(view))
    return 1 if view.get("physical") == "-" else 0
