"""`KernelState`: the memory manager's state inside a running guest, read from its RAM while nobody is asked.

with Guest() as guest:
    guest.wait_ready()
    state = KernelState(guest)
    with guest.paused():
        state.walk().check()
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coronel.artifact import Artifact
from coronel.errors import DecodeError, UsageError
from coronel.memory import KernelMemory
from coronel.mm import stats
from coronel.mm.record import SYMBOL, Tables

if TYPE_CHECKING:
    from coronel.guest import Guest
    from coronel.mm.walker import Walk
    from coronel.task.check import TaskWalk


class KernelState:
    """One kernel's tables, and what they lead to. `kernel` is its file, by default the one it started from.

    Made once the kernel has announced its first prompt (`Guest.wait_ready`); DecodeError before its memory
    manager is initialised. Every method pauses the guest while it reads, so the numbers of one answer belong
    together; pause it yourself (`Guest.paused`) when several answers must.
    """

    def __init__(self, guest: Guest, kernel: Artifact | str | os.PathLike[str] | None = None) -> None:
        self.guest = guest
        kernel = kernel or guest.options.kernel
        if kernel is None:
            raise UsageError("a guest that a boot loader starts does not know its kernel's file: name it")
        self.artifact = kernel if isinstance(kernel, Artifact) else Artifact.open(os.fspath(kernel))
        with guest.paused():
            # Whatever root the CPU is on, the kernel's own half is mapped; the record names the kernel's
            # root.
            memory = guest.kernel_memory()
            record = self.artifact.symbol(SYMBOL).address
            root = Tables.load(memory, record).record.root
            if root == 0:
                raise DecodeError(
                    "the kernel has no page tables of its own yet: its memory manager is not initialised"
                )
            self.memory = KernelMemory(guest.ram, root, memory.levels)
            self.tables = Tables.load(self.memory, record)

    def refresh(self) -> Tables:
        """The tables as they are now, translations forgotten."""
        self.memory.invalidate()
        self.tables = Tables.load(self.memory, self.tables.record.address)
        return self.tables

    @contextmanager
    def still(self) -> Iterator[Tables]:
        """The tables as they are now, of a guest that stands still until the block ends."""
        with self.guest.paused():
            yield self.refresh()

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        with self.guest.paused():
            return stats.counters(self.refresh())

    def walk(self, *, contents: bool = True) -> Walk:
        """All frames and free structures, and what is wrong with them; see `coronel.mm.walker.walk`."""
        from coronel.mm.walker import walk  # noqa: PLC0415  # numpy, which a caller may not need

        with self.guest.paused():
            return walk(self.refresh(), contents=contents)

    def tasks(self) -> TaskWalk:
        """CPUs, threads and queues, and what is wrong with them; see `coronel.task.check`."""
        from coronel.task.check import check_tasks  # noqa: PLC0415
        from coronel.task.report import by_block  # noqa: PLC0415
        from coronel.task.tasks import read_tasks  # noqa: PLC0415

        with self.guest.paused():
            return check_tasks(read_tasks(self.refresh()), by_block(self.guest.registers()))
