"""What a guest that failed was doing: its threads and where each is, with the names of functions."""

from __future__ import annotations

from collections.abc import Iterable

from coronel.artifact import Artifact
from coronel.build.symbols import demangle
from coronel.guest.registers import Registers as GuestRegisters
from coronel.mm.record import Tables
from coronel.task.backtrace import backtrace
from coronel.task.check import TaskWalk, check_tasks
from coronel.task.tasks import CpuRegisters, Registers, read_tasks
from coronel.task.views import text, threads

_INTERRUPTS_ON = 1 << 9  # RFLAGS.IF


def by_block(registers: Iterable[GuestRegisters]) -> CpuRegisters:
    """QEMU's registers by the PerCpu that each %gs points to."""
    return {
        one.gs_base: Registers(one["rip"], one["rsp"], one["rbp"], bool(one["rfl"] & _INTERRUPTS_ON))
        for one in registers
    }


def threads_report(tables: Tables, artifact: Artifact, registers: CpuRegisters) -> str:
    """The console's `threads`, what is wrong, and where each thread is. DecodeError when there are none."""
    walk = check_tasks(read_tasks(tables), registers)
    lines = [text(threads(walk.tasks))]
    if walk.problems or walk.tasks.unreadable:
        lines.append(walk.summary())
    for thread, calls in zip(walk.tasks.threads.values(), backtraces(walk, artifact), strict=True):
        lines += ["", f"{thread.number} {thread.name}", *(f"  {call}" for call in calls)]
    return "\n".join(lines)


def backtraces(walk: TaskWalk, artifact: Artifact) -> list[list[str]]:
    """Of each thread: addresses and names of functions, innermost first."""
    traces = [backtrace(walk.tasks, thread, walk.registers) for thread in walk.tasks.threads.values()]
    # A return address may be the first byte behind a function that ends with the call.
    places = [(address, address - (n > 0)) for calls in traces for n, address in enumerate(calls)]
    symbols = [artifact.function_at(inside) for _, inside in places]
    names = iter(demangle([symbol.name for symbol in symbols if symbol is not None]))
    lines = iter(
        f"{address:#018x} " + ("?" if symbol is None else f"{next(names)}+{address - symbol.address:#x}")
        for (address, _), symbol in zip(places, symbols, strict=True)
    )
    return [[next(lines) for _ in calls] for calls in traces]
