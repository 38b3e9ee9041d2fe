"""What GDB debugs: its memory, the kernel's tables in it, and the registers of its CPUs."""

from __future__ import annotations

import gdb

from coronel.errors import DecodeError
from coronel.mm.record import SYMBOL, Tables
from coronel.task.tasks import CpuRegisters, Registers

INTERRUPTS_ON = 1 << 9  # RFLAGS.IF


class Inferior:
    """The memory of what GDB debugs, as GDB sees it."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`, or DecodeError."""
        if not 0 <= address < 1 << 64 or not 0 <= size <= 1 << 32:
            raise DecodeError(f"memory [{address:#x}, {address + size:#x}) makes no sense")
        try:
            return bytes(gdb.selected_inferior().read_memory(address, size))
        except (gdb.error, gdb.MemoryError) as error:
            raise DecodeError(f"GDB cannot read [{address:#x}, {address + size:#x}): {error}") from None


def tables() -> Tables:
    """The kernel's tables now. DecodeError before its memory manager is initialised."""
    try:
        # An extern "C" symbol is found by its ELF name only, whatever namespace declares it.
        address = int(gdb.parse_and_eval(f"(unsigned long)&{SYMBOL}"))
    except gdb.error as error:
        raise DecodeError(
            f"there is no {SYMBOL} ({error}): load the kernel with `file coronel.elf`"
        ) from None
    try:
        return Tables.load(Inferior(), address)
    except DecodeError as error:
        hint = "let the kernel come to its prompt first: continue, then Ctrl-C"
        raise DecodeError(f"{error} ({hint})") from None


def registers() -> CpuRegisters:
    """Of every CPU, by where its %gs points; the selected one stays so. Empty where GDB shows no %gs."""
    found = {}
    selected = gdb.selected_thread()
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            frame = gdb.newest_frame()

            def number(name: str, frame: gdb.Frame = frame) -> int:
                return int(frame.read_register(name).format_string(format="x"), 16)  # flags cannot be cast

            on = bool(number("eflags") & INTERRUPTS_ON)
            found[number("gs_base")] = Registers(number("rip"), number("rsp"), number("rbp"), on)
    except ValueError:  # no such register
        return {}
    finally:
        if selected is not None:
            selected.switch()
    return found
