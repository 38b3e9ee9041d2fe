"""`coronel debug`: boots Coronel paused, with GDB in this terminal: symbols, printers, `coronel
frame|zones|stats`.

The machine stands before its first instruction. Until the kernel has its own page tables, break with
`hbreak`, not `break`. The kernel's console is printed between GDB's lines; `coronel type LINE` types on it.
When GDB ends, so does the machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coronel.checkout import add_build_arguments


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "debug", help="boot it paused, with GDB in this terminal", description=__doc__
    )
    parser.add_argument("--kernel", type=Path, metavar="ELF", help="(default: build/PROFILE/coronel.elf)")
    add_build_arguments(parser)
    parser.add_argument(
        "--memory", default="256M", metavar="SIZE", help="RAM, 2M to 512G (default: %(default)s)"
    )
    parser.add_argument("--cpus", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--cmdline", default="", metavar="TEXT", help="the kernel's command line")
    parser.add_argument("--gdb", default="gdb", metavar="PROGRAM", help="(default: %(default)s)")
    parser.add_argument(
        "--execute",
        "-ex",
        action="append",
        default=[],
        metavar="COMMAND",
        help="a GDB command; may be repeated",
    )
    parser.add_argument("--batch", action="store_true", help="end GDB after the commands of -ex")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of GDB (default: none)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """GDB's exit status."""
    from coronel.gdb.session import debug  # noqa: PLC0415
    from coronel.guest import GuestOptions  # noqa: PLC0415

    options = GuestOptions(
        kernel=given.kernel or given.build / given.profile / "coronel.elf",
        memory=given.memory,
        cpus=given.cpus,
        cmdline=given.cmdline,
    )

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    if not given.batch:
        print(
            "coronel: the machine is paused; `hbreak kmain`, `continue`; `help coronel` lists more",
            file=sys.stderr,
        )
    return debug(
        options, given.execute, batch=given.batch, program=given.gdb, timeout=given.timeout, write=write
    )
