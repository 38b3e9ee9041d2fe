"""GDB's commands `coronel pagetables|pgstat`: what the console shows, read from memory."""

from __future__ import annotations

from collections.abc import Callable

import gdb

from coronel.gdb.inferior import tables
from coronel.mm.page_tables import census_view, kernel_tree, path_view, root_view
from coronel.task.views import text


def pagetables(argument: str) -> None:
    """`coronel pagetables [ADDR]`: the page tables on the way to ADDR, any expression; alone: what the root
    points to.
    """
    tree = kernel_tree(tables())
    if not argument.strip():
        gdb.write(text(root_view(tree)) + "\n")
        return
    address = int(gdb.parse_and_eval(argument).cast(gdb.lookup_type("unsigned long")))
    gdb.write(text(path_view(tree, address)) + "\n")


def pgstat(argument: str) -> None:
    """`coronel pgstat`: page tables and what they map, by level."""
    if argument.strip():
        raise gdb.GdbError("coronel pgstat takes no argument")
    gdb.write(text(census_view(kernel_tree(tables()))) + "\n")


BODIES: dict[str, Callable[[str], None]] = {"pagetables": pagetables, "pgstat": pgstat}
