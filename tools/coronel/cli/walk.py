"""`coronel walk ADDR`: the page tables on the way to an address, level by level, as the console's
`pagetables`, but read from the raw memory of a guest that is booted for it and asked nothing. Without ADDR:
what the root points to; with --stat: tables and pages by level, as `pgstat`. Exit status 1 when the address
is not mapped.

With --host the tree is one of the host library's: it has no kernel to map, so --map AT=TO[+BYTES] (once or
more) maps pages of a program's data first, from AT to TO.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coronel.mm.page_tables import Tree, View
    from coronel.mm.record import Tables
    from coronel.mm.source import Source


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("walk", help="page tables, level by level", description=__doc__)
    parser.add_argument("address", nargs="?", metavar="ADDR", help="a virtual address, 0x... or decimal")
    parser.add_argument("--stat", action="store_true", help="tables and pages by level")
    parser.add_argument(
        "--map",
        dest="mapped",
        action="append",
        default=[],
        metavar="AT=TO[+BYTES]",
        help="with --host: map this first (default of BYTES: 4096)",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 1 when nothing is mapped there."""
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.source import opened  # noqa: PLC0415
    from coronel.task.views import text  # noqa: PLC0415

    try:
        address = None if given.address is None else int(given.address, 0)
    except ValueError:
        raise UsageError(f"{given.address!r} is no address: 0x... or decimal") from None
    if given.stat and address is not None:
        raise UsageError("--stat is about the whole tree: leave ADDR out")
    if given.mapped and not given.host:
        raise UsageError("--map is for --host: what a guest maps is its own affair")
    wanted = [_mapping(text) for text in given.mapped]
    with opened(given) as source:
        root = _own_tree(source, wanted) if given.host else None
        with source.still() as tables:
            view = _view(_tree(tables, root), address, stat=given.stat)
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(view, indent=2))
    else:
        print(text(view))
    return 1 if view.get("physical") == "-" else 0


def _mapping(text: str) -> tuple[int, int, int]:
    """Virtual address, physical address, bytes."""
    from coronel.errors import UsageError  # noqa: PLC0415

    at, equals, rest = text.partition("=")
    to, plus, size = rest.partition("+")
    try:
        if not equals:
            raise ValueError
        return int(at, 0), int(to, 0), int(size, 0) if plus else 4096
    except ValueError:
        raise UsageError(f"{text!r} maps nothing: AT=TO or AT=TO+BYTES, 0x... or decimal") from None


def _own_tree(source: Source, wanted: list[tuple[int, int, int]]) -> int:
    """The root of a tree of the host library that maps these; MMError for one that it refuses."""
    from coronel.errors import MMError  # noqa: PLC0415
    from coronel.mm.host import HostMachine  # noqa: PLC0415
    from coronel.mm.tables import PTEFlags, table_operation  # noqa: PLC0415

    assert isinstance(source, HostMachine)
    (made,) = source.run_tables([table_operation("pgd_alloc")])
    if made.why:
        raise MMError(f"{made.why}: pgd_alloc", -made.value)
    data = PTEFlags.WRITE | PTEFlags.USER | PTEFlags.NX
    for at, to, size in wanted:
        (done,) = source.run_tables([table_operation("map_range", made.value, at, size, to, data)])
        if done.why:
            raise MMError(f"{done.why}: --map {at:#x}={to:#x}+{size:#x}", -done.value)
    return made.value


def _tree(tables: Tables, root: int | None) -> Tree:
    from coronel.mm.page_tables import Tree, kernel_tree  # noqa: PLC0415

    return kernel_tree(tables) if root is None else Tree.at(tables, root)


def _view(tree: Tree, address: int | None, *, stat: bool) -> View:
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.page_tables import census_view, path_view, root_view  # noqa: PLC0415

    if address is None:
        return census_view(tree) if stat else root_view(tree)
    if tree.canonical(address) != address:
        raise UsageError(f"no CPU takes the address {address:#x}: its highest bits are not equal")
    return path_view(tree, address)
