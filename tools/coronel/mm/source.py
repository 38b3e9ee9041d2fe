"""Where commands look: a guest that is started for them, or a machine of the host library."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coronel.checkout import add_build_arguments
from coronel.errors import UsageError

if TYPE_CHECKING:
    from coronel.artifact import Artifact
    from coronel.guest import Guest
    from coronel.mm.record import Tables
    from coronel.mm.walker import Walk

COMMAND_TIMEOUT = 3600.0  # a workload may take its time, but a guest that hangs is noticed in the end


class Source(Protocol):
    """A memory manager's state. `HostMachine` and `KernelState` are both one."""

    tables: Tables

    def still(self) -> AbstractContextManager[Tables]:
        """A block in which memory does not change, with the tables as they are then."""

    def counters(self) -> dict[str, int]:
        """Every counter by name."""

    def walk(self, *, contents: bool = True) -> Walk:
        """All frames and free structures, and what is wrong with them."""


def add_arguments(parser: argparse.ArgumentParser, *, host: bool = True) -> None:
    """The options that choose a source, and what it does before it is looked at. Without `host` it is a
    guest.
    """
    if host:
        parser.add_argument("--host", action="store_true", help="the host library, not a guest")
    else:
        parser.set_defaults(host=False)
    parser.add_argument("--kernel", type=Path, metavar="ELF", help="(default: build/PROFILE/coronel.elf)")
    add_build_arguments(parser)
    parser.add_argument("--memory", default="256M", metavar="SIZE", help="(default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument(
        "--stress", type=int, default=0, metavar="N", help="N random operations first, then look"
    )
    parser.add_argument(
        "--objects", type=int, default=0, metavar="N", help="N random calls of kmalloc and the heap first"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="of --stress, --objects (default: %(default)s)"
    )
    parser.add_argument(
        "--command",
        dest="commands",  # `command` is the word that chose this parser
        action="append",
        default=[],
        metavar="LINE",
        help="run this line of the guest's console first; may be given again",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Source]:
    """The source that the arguments ask for, after --stress, --objects and --command; gone when the block
    ends.
    """
    from coronel.mm.random_objects import RandomObjects  # noqa: PLC0415

    check_arguments(given)
    if given.host:
        from coronel.mm.host import HostLibrary, HostMachine  # noqa: PLC0415

        library = HostLibrary.at(given.build / given.profile)
        with HostMachine(given.memory, cpus=given.cpus, library=library) as machine:
            if given.stress:
                machine.stress(given.stress, given.seed)
            if given.objects:
                RandomObjects(machine.run_objects, given.seed).run(given.objects)
            yield machine
        return
    from coronel.guest import Guest  # noqa: PLC0415
    from coronel.mm.kernel import KernelState  # noqa: PLC0415

    kernel = given.kernel or given.build / given.profile / "coronel.elf"
    with Guest(kernel=kernel, memory=given.memory, cpus=given.cpus) as guest:
        guest.wait_ready()
        if given.stress:
            guest.channel.call("stress", "pages", given.stress, "hold", seed=given.seed, timeout=300.0)
        if given.objects:
            from coronel.mm.guest_mm import GuestKernelMM  # noqa: PLC0415

            RandomObjects(GuestKernelMM(guest).run_objects, given.seed).run(given.objects)
        run_commands(guest, given.commands)
        yield KernelState(guest, kernel)


def program_of(source: Source) -> tuple[Artifact, int]:
    """The program whose memory it is, and how far from its own addresses it runs."""
    from coronel.mm.host import HostMachine  # noqa: PLC0415
    from coronel.mm.kernel import KernelState  # noqa: PLC0415

    if isinstance(source, HostMachine):
        return source.library.artifact, source.library.base
    assert isinstance(source, KernelState)
    return source.artifact, source.tables.record.slide


def check_arguments(given: argparse.Namespace) -> None:
    """UsageError for what makes no sense, whatever is started."""
    if min(given.stress, given.objects, given.seed) < 0:
        raise UsageError("--stress, --objects and --seed are numbers: 0 or more")
    if given.host and given.commands:
        raise UsageError("--command is for a guest: the host library has no console, only --stress")
    if not all(line.strip() and line.isprintable() for line in given.commands):
        raise UsageError("--command is one line of the console: not empty, without control characters")


def run_commands(guest: Guest, lines: Sequence[str]) -> None:
    """Runs console lines one after another, however long they take; MMError for one that is refused."""
    for line in lines:
        guest.channel.batch([line], timeout=COMMAND_TIMEOUT)[0].take()


def described(given: argparse.Namespace) -> str:
    """The machine in a few words, and what it did before, for a title."""
    from coronel.guest.options import parse_memory  # noqa: PLC0415

    mebibytes = parse_memory(given.memory) >> 20
    size = f"{mebibytes >> 10} GiB" if mebibytes % 1024 == 0 else f"{mebibytes} MiB"
    where = "the host library" if given.host else "a guest"
    machine = f"{where}: {size}, {given.cpus} CPU{'s' if given.cpus > 1 else ''}"
    numbers = {"stress": given.stress, "objects": given.objects}
    done = [f"{name} {number} seed={given.seed}" for name, number in numbers.items() if number]
    done += given.commands
    return machine + (f", after {'; '.join(done)}" if done else "")
