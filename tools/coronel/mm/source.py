"""Where `coronel stats` and `coronel frames` look: a guest started for them, or a machine of the host
library.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coronel.checkout import add_build_arguments

if TYPE_CHECKING:
    from coronel.mm.record import Tables
    from coronel.mm.walker import Walk


class Source(Protocol):
    """A memory manager's state. `HostMachine` and `KernelState` are both one."""

    tables: Tables

    def counters(self) -> dict[str, int]:
        """Every counter by name."""

    def walk(self, *, contents: bool = True) -> Walk:
        """All frames and free structures, and what is wrong with them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose a source, and what it does before it is looked at."""
    parser.add_argument("--host", action="store_true", help="the host library, not a guest")
    parser.add_argument("--kernel", type=Path, metavar="ELF", help="(default: build/PROFILE/coronel.elf)")
    add_build_arguments(parser)
    parser.add_argument("--memory", default="256M", metavar="SIZE", help="(default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument(
        "--stress", type=int, default=0, metavar="N", help="N random operations first, then look"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of --stress (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Source]:
    """The source that the arguments ask for, after --stress; gone when the block ends."""
    if given.host:
        from coronel.mm.host import HostLibrary, HostMachine  # noqa: PLC0415

        library = HostLibrary.at(given.build / given.profile)
        with HostMachine(given.memory, cpus=given.cpus, library=library) as machine:
            if given.stress:
                machine.stress(given.stress, given.seed)
            yield machine
        return
    from coronel.guest import Guest  # noqa: PLC0415
    from coronel.mm.kernel import KernelState  # noqa: PLC0415

    kernel = given.kernel or given.build / given.profile / "coronel.elf"
    with Guest(kernel=kernel, memory=given.memory, cpus=given.cpus) as guest:
        guest.wait_ready()
        if given.stress:
            guest.channel.call("stress", "pages", given.stress, "hold", seed=given.seed, timeout=300.0)
        yield KernelState(guest, kernel)
