"""`coronel who ADDRESS`: whose an address is: its frame, block, slab and object, and in the guarded profile
the calls that allocated and freed that. As the console's `who`, but read from the memory of a guest that is
booted for it and asked nothing, or of a machine of the host library.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    parser = subparsers.add_parser("who", help="whose an address is", description=__doc__)
    parser.add_argument(
        "addresses", nargs="+", metavar="ADDRESS", help="a virtual address, or +OFFSET: that byte of RAM"
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints an answer for each address; 1 when one is not mapped."""
    from coronel.build.symbols import call_namer  # noqa: PLC0415
    from coronel.errors import DecodeError  # noqa: PLC0415
    from coronel.mm.source import opened, program_of  # noqa: PLC0415
    from coronel.mm.who import who  # noqa: PLC0415
    from coronel.mm.zones import Physical  # noqa: PLC0415
    from coronel.task.views import text  # noqa: PLC0415

    numbers = [(word.startswith("+"), _number(word.removeprefix("+"))) for word in given.addresses]
    answers, status = [], 0
    with opened(given) as source, source.still() as tables:
        name = call_namer(*program_of(source))
        direct = int(Physical.of(tables).map["direct_map"])
        for is_offset, number in numbers:
            address = number + direct if is_offset else number
            try:
                answers.append(who(tables, address, name))
            except DecodeError as error:
                answers.append({"address": f"{address:#x}", "note": str(error)})
                status = 1
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(answers, indent=2))
    else:
        print("\n\n".join(text(answer) for answer in answers))
    return status


def _number(word: str) -> int:
    from coronel.errors import UsageError  # noqa: PLC0415

    try:
        number = int(word, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise UsageError(f"{word!r} is no address: a number of up to 64 bits, or + and an offset into RAM")
    return number
