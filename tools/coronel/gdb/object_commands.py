"""GDB's commands `coronel who`, `coronel slabs`, `coronel heap`, `coronel sites` and `coronel leaks`: whose
an address is, what the object caches and the kernel heap hold, for whom, and what the last scan found that
nothing leads to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import gdb

from coronel.gdb.inferior import tables
from coronel.mm.call_sites import call_sites, view
from coronel.mm.heap import walk_heap
from coronel.mm.heap_view import lines
from coronel.mm.leaks import leaks as read_leaks
from coronel.mm.record import Tables
from coronel.mm.slab_view import cache_named, cells, slabinfo
from coronel.mm.tracks import NameCaller
from coronel.mm.who import nameless
from coronel.mm.who import who as ask
from coronel.task.views import table, text


def who(argument: str) -> None:
    """`coronel who ADDRESS`: its frame, block, slab and object, and the calls that allocated and freed that,
    where the build keeps them. ADDRESS is any expression: a pointer, a number, a VirtAddr.
    """
    if not argument.strip():
        raise gdb.GdbError("coronel who ADDRESS: whose? A pointer, a number, or an expression for a VirtAddr")
    value = gdb.parse_and_eval(argument)
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        value = value["value"]
    found, address = tables(), int(value.cast(gdb.lookup_type("unsigned long")))
    gdb.write(text(ask(found, address, _name_call(found))) + "\n")


def slabs(argument: str) -> None:
    """`coronel slabs`: the object caches. `coronel slabs CACHE`: each slab of that one, a cell for each
    object.
    """
    found, name = tables(), argument.strip()
    lines = cells(found, cache_named(found, name)) if name else table(slabinfo(found))
    gdb.write("\n".join(lines) + "\n")


def heap(argument: str) -> None:
    """`coronel heap`: the kernel heap, counted block by block, and what is wrong with it."""
    if argument.strip():
        raise gdb.GdbError("coronel heap takes no argument")
    gdb.write("\n".join(lines(walk_heap(tables()))) + "\n")


def sites(argument: str) -> None:
    """`coronel sites`: live objects by the call that allocated them, in a build that keeps track of them."""
    if argument.strip():
        raise gdb.GdbError("coronel sites takes no argument")
    found = tables()
    gdb.write(text(view(call_sites(found), _name_call(found))) + "\n")


def _name_call(found: Tables) -> NameCaller:
    """What puts an address that a call returns to into the console's words, which are not GDB's."""
    return _namer(str(gdb.current_progspace().filename), found.record.slide)


@functools.cache
def _namer(program: str, slide: int) -> NameCaller:
    try:
        from coronel.artifact import Artifact  # noqa: PLC0415
        from coronel.build.symbols import call_namer  # noqa: PLC0415
    except ImportError:  # GDB's Python has no elftools: an address is still one
        return nameless
    return call_namer(Artifact.open(program), slide)


def leaks(argument: str) -> None:
    """`coronel leaks`: what the last `kmemleak scan` reported, with the calls that allocated it."""
    if argument.strip():
        raise gdb.GdbError("coronel leaks takes no argument")
    found = read_leaks(tables())
    gdb.write(f"{len(found)} leaks, {sum(leak.size for leak in found)} bytes\n")
    for leak in found:
        gdb.write(f"{leak.address:#x}, {leak.size} bytes of {leak.name}\n")
        for call in (leak.allocated.site, *leak.callers):
            gdb.write(f"  {call:#x} {gdb.execute(f'info symbol {call - 1:#x}', to_string=True)}")


BODIES: dict[str, Callable[[str], None]] = {
    "who": who,
    "slabs": slabs,
    "heap": heap,
    "sites": sites,
    "leaks": leaks,
}
