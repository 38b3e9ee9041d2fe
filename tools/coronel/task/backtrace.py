"""Where a thread is: the return addresses on its stack, read by its frame pointers."""

from __future__ import annotations

import struct

from coronel.errors import DecodeError
from coronel.task.tasks import CpuRegisters, Tasks, Thread

MOST_FRAMES = 64
_SAVED = struct.Struct("<7Q")  # r15 r14 r13 r12 rbx rbp, and where the change of threads returns to
_FRAME = struct.Struct("<2Q")  # the caller's frame, and where it goes on


def backtrace(tasks: Tasks, thread: Thread, registers: CpuRegisters | None = None) -> list[int]:
    """Addresses of code, innermost first: where it goes on, then where each function returns to. Empty for a
    thread that runs when the registers of its CPU are not given. Ends where a frame is not further up in the
    stack than the one before.
    """
    if thread.on_cpu:
        runs = [cpu for cpu in tasks.cpus if cpu.block["thread"] == thread.address]
        at = (registers or {}).get(runs[0].block.address) if runs else None
        if at is None:
            return []
        found, frame = [at.ip], at.frame
    else:
        try:
            saved = tasks.tables.memory.read(thread.record["stack_pointer"], _SAVED.size)
        except DecodeError:
            return []
        *_, frame, first = _SAVED.unpack(saved)
        found = [first]
    below = 0
    while len(found) < MOST_FRAMES and frame > below and thread.stack is not None:
        if not thread.stack.bottom <= frame <= thread.stack.top - _FRAME.size:
            break
        below = frame
        try:
            frame, address = _FRAME.unpack(tasks.tables.memory.read(frame, _FRAME.size))
        except DecodeError:
            break
        if address:
            found.append(address)
    return found
