"""A machine in QEMU that a program can start, drive, watch and read. See `Guest`."""

from coronel.guest.channel import Channel, Outcome
from coronel.guest.console import Console
from coronel.guest.ending import Cause, Ending
from coronel.guest.guest import Guest
from coronel.guest.options import GuestOptions, Wiring, parse_memory
from coronel.guest.registers import Registers
from coronel.guest.shell import PROMPT, Shell

__all__ = [
    "PROMPT",
    "Cause",
    "Channel",
    "Console",
    "Ending",
    "Guest",
    "GuestOptions",
    "Outcome",
    "Registers",
    "Shell",
    "Wiring",
    "parse_memory",
]
