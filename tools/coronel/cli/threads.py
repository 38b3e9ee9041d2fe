"""`coronel threads`: every thread, as the console's `threads`, but read from the memory of a guest that is
booted for it and asked nothing; with --backtrace also where each of them is. Exit status 1 when CPUs, threads
and queues do not agree.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.task import command  # noqa: PLC0415

    parser = command.register(subparsers, "threads", "every thread, and where it is", __doc__)
    parser.add_argument("--backtrace", action="store_true", help="and the functions that each is in")
