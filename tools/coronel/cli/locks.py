"""`coronel locks`: how often the locks of each rank were not free, and who waits, as the console's `locks`,
but read from the memory of a guest that is booted for it and asked nothing. Exit status 1 when CPUs, threads
and queues do not agree.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.task import command  # noqa: PLC0415

    command.register(subparsers, "locks", "which locks are waited for", __doc__)
