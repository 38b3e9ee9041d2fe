"""`coronel cpus`: what each CPU does and did, as the console's `cpus`, but read from the memory of a guest
that is booted for it and asked nothing. Exit status 1 when CPUs, threads and queues do not agree.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    from coronel.task import command  # noqa: PLC0415

    command.register(subparsers, "cpus", "what each CPU does", __doc__)
