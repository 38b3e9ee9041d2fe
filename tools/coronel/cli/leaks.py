"""`coronel leaks`: the objects that nothing leads to, with the calls that allocated them. A guest of the
guarded profile is booted, does what --stress and --command say, and is asked to scan; what it found is read
from its memory.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coronel.artifact import Artifact
    from coronel.mm.leaks import Leak


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.checkout import GUARDED_PROFILE  # noqa: PLC0415
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("leaks", help="objects that nothing leads to", description=__doc__)
    add_arguments(parser)
    parser.set_defaults(run=run, profile=GUARDED_PROFILE)


def run(given: argparse.Namespace) -> int:
    """Prints each; 0, whether there are any or not."""
    import dataclasses  # noqa: PLC0415
    import json  # noqa: PLC0415

    from coronel.mm.host import HostMachine  # noqa: PLC0415
    from coronel.mm.leaks import leaks  # noqa: PLC0415
    from coronel.mm.source import opened, program_of  # noqa: PLC0415

    if not given.host:
        given.commands.append("kmemleak scan")
    with opened(given) as source:
        if isinstance(source, HostMachine):
            source.find_leaks()
        program, slide = program_of(source)
        with source.still() as tables:
            found = leaks(tables)
    if given.json:
        print(json.dumps([dataclasses.asdict(leak) for leak in found], indent=2))
        return 0
    print(f"{len(found)} leaks, {sum(leak.size for leak in found)} bytes")
    for leak in found:
        print("\n".join(lines(leak, program, slide)))
    return 0


def lines(leak: Leak, program: Artifact, slide: int) -> list[str]:
    """One leak for people: what it is, then the call that allocated it and those before."""
    from coronel.build.symbols import demangle  # noqa: PLC0415

    calls = [leak.allocated.site, *leak.callers]
    symbols = [program.function_at(call - slide - 1) for call in calls]
    names = iter(demangle([symbol.name for symbol in symbols if symbol is not None]))
    said = [f"{leak.address:#x}, {leak.size} bytes of {leak.name}, by CPU {leak.allocated.cpu}"]
    return said + [
        f"  {call:#x} {next(names) if symbol is not None else 'no function'}"
        for call, symbol in zip(calls, symbols, strict=True)
    ]
