"""What machine to build: every option of a guest, checked before anything starts, and QEMU's command line
from it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from coronel.errors import SetupError, UsageError
from coronel.guest import image, process
from coronel.guest.firmware import UEFI_MEMORY_MINIMUM, Firmware, Uefi
from coronel.memory import Segment

MIB = 1 << 20
GIB = 1 << 30
MEMORY_MINIMUM = 2 * MIB  # with less, QEMU's own firmware hangs in silence
MEMORY_MAXIMUM = 512 * GIB
CPUS_MAXIMUM = 255
EXIT_PORT = 0xF4
CMDLINE_MAXIMUM = 4095  # pc-bios/optionrom/pvh_main.c, CMDLINE_BUFSIZE, which nobody compares with

_MEMORY = re.compile(r"(\d{1,15})\s*(?:([MGT])(?:i?B)?)?", re.IGNORECASE)
_UNITS = {"": MIB, "M": MIB, "G": GIB, "T": 1 << 40}


def parse_memory(text: str | int) -> int:
    """Bytes from "64M", "1G", or a number of MiB as QEMU takes it. UsageError outside 2M to 512G."""
    match = _MEMORY.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"memory {str(text)!r} is not a size: write for example 64M or 1G")
    size = int(match[1]) * _UNITS[(match[2] or "").upper()]
    if not MEMORY_MINIMUM <= size <= MEMORY_MAXIMUM:
        raise UsageError(f"memory {str(text)!r} is out of range: a machine has 2M to 512G")
    return size


class Wiring(Enum):
    """Where COM1 goes."""

    program = "program"  # to this process: Console, Shell
    terminal = "terminal"  # to the terminal that this process was started in, with QEMU's own keys (Ctrl-A X)


@dataclass(frozen=True)
class GuestOptions:
    """One machine. A wrong value is a UsageError or ArtifactError when the object is made, not when QEMU
    starts.

    At most one of `kernel` (an ELF file with a PVH note, started directly) and `iso` (started by its boot
    loader); without either, the kernel that is built in this checkout.
    """

    kernel: str | os.PathLike[str] | None = None
    iso: str | os.PathLike[str] | None = None
    memory: str | int = "64M"
    cpus: int = 1
    machine: str = "pc"
    cpu: str = "max"
    firmware: Firmware | str = Firmware.bios  # what starts an iso: bios or uefi
    cmdline: str = ""
    modules: Sequence[str | os.PathLike[str]] = ()
    icount: int | None = None  # 2^icount ns per instruction; 0 is exact counting, for benchmarks
    accel: str = "tcg"
    gdb: str | os.PathLike[str] | None = None  # a unix socket where QEMU waits for GDB
    qemu: str = field(default_factory=process.default_qemu)
    extra: Sequence[str] = ()  # passed to QEMU as they are
    wiring: Wiring = Wiring.program

    def __post_init__(self) -> None:
        """Checks everything that can be known without starting QEMU."""
        parse_memory(self.memory)
        if not isinstance(self.cpus, int) or not 1 <= self.cpus <= CPUS_MAXIMUM:
            raise UsageError(f"cpus {self.cpus!r} is out of range: a machine has 1 to {CPUS_MAXIMUM}")
        if self.machine not in ("pc", "q35"):
            raise UsageError(f"machine {self.machine!r} is unknown: there are pc and q35")
        self._check_firmware()
        if not re.fullmatch(r"[A-Za-z0-9][\w.,=+-]*", self.cpu):
            raise UsageError(f"cpu {self.cpu!r} is not a CPU model: write for example max or qemu64,+rdrand")
        if self.accel not in ("tcg", "kvm"):
            raise UsageError(f"accel {self.accel!r} is unknown: there are tcg and kvm")
        if self.icount is not None and not (isinstance(self.icount, int) and 0 <= self.icount <= 10):
            raise UsageError(f"icount {self.icount!r} is out of range: a shift from 0 to 10")
        if self.icount is not None and self.accel == "kvm":
            raise UsageError("icount counts emulated instructions: it needs accel tcg")
        if "\0" in self.cmdline or "\n" in self.cmdline:
            raise UsageError("the kernel command line holds a line end or NUL")
        if (size := len(self.cmdline.encode())) > CMDLINE_MAXIMUM:
            raise UsageError(
                f"a kernel command line of {size} bytes is too long: QEMU's direct start takes "
                f"{CMDLINE_MAXIMUM} and overwrites its own boot information with more; put it into an iso"
            )
        if self.kernel is not None and self.iso is not None:
            raise UsageError("a guest starts either a kernel or an iso: give one of them")
        if self.kernel is None and self.iso is None:
            object.__setattr__(self, "kernel", image.default_kernel())
        self._check_files()

    def _check_firmware(self) -> None:
        try:
            object.__setattr__(self, "firmware", Firmware(self.firmware))
        except ValueError:
            raise UsageError(f"firmware {self.firmware!r} is unknown: there are bios and uefi") from None
        if self.firmware is Firmware.bios:
            return
        if self.iso is None:
            raise UsageError("firmware uefi starts an iso: a kernel is started directly, without firmware")
        if self.machine != "q35":
            raise UsageError(f"firmware uefi needs machine q35, not {self.machine}")
        if self.memory_bytes < UEFI_MEMORY_MINIMUM:
            least = UEFI_MEMORY_MINIMUM // MIB
            raise UsageError(
                f"memory {str(self.memory)!r} is too little for firmware uefi: at least {least}M"
            )

    def _check_files(self) -> None:
        if self.accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise SetupError(
                "accel kvm needs read and write access to /dev/kvm: use accel tcg, or join group kvm"
            )
        if self.iso is not None:
            if self.cmdline or self.modules:
                raise UsageError(
                    "an iso carries its own command line and modules, in its grub.cfg: build it with them"
                )
            image.check_iso(Path(self.iso))
            if self.firmware is Firmware.uefi:
                Uefi.find()
                image.check_uefi_entry(Path(self.iso))
            return
        assert self.kernel is not None
        image.check_kernel(Path(self.kernel))
        if len(self.modules) > 1:
            raise UsageError("QEMU's direct start passes one module: put several into an iso")
        for module in self.modules:
            image.check_readable(Path(module), "module")
            if "," in str(module):
                raise UsageError(f"QEMU cannot take a module whose name holds a comma: {module}")

    @property
    def memory_bytes(self) -> int:
        """RAM, in bytes."""
        return parse_memory(self.memory)

    def segments(self) -> list[Segment]:
        """Where the RAM lies. QEMU leaves room for devices below 4 GiB and puts the rest above.

        i440fx and q35 differ (hw/i386/pc_piix.c, pc_init1; hw/i386/pc_q35.c, pc_q35_init): q35 keeps 2 GiB
        below from 2.75 GiB on, i440fx 3 GiB from 3.5 GiB on.
        """
        threshold, below = (0xE000_0000, 3 * GIB) if self.machine == "pc" else (0xB000_0000, 2 * GIB)
        size = self.memory_bytes
        if size < threshold:
            return [Segment(0, size, 0)]
        return [Segment(0, below, 0), Segment(4 * GIB, size - below, below)]

    def machine_arguments(self) -> list[str]:
        """Arguments that make the machine and start the kernel, without its ports."""
        arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        # A panicking kernel announces itself to pvpanic before it prints why: let it go on and print.
        arguments += ["-action", "panic=none", "-device", "pvpanic"]
        arguments += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
        arguments += ["-accel", self.accel, "-cpu", self.cpu, "-smp", str(self.cpus)]
        arguments += ["-m", f"{self.memory_bytes // MIB}M"]
        if self.icount is not None:
            arguments += ["-icount", f"shift={self.icount},sleep=off"]
        if self.iso is not None:
            arguments += [
                "-drive",
                f"file={_escaped(self.iso)},format=raw,if=ide,index=2,media=cdrom,readonly=on",
            ]
            arguments += ["-boot", "d"]
            if self.firmware is Firmware.uefi:
                arguments += Uefi.find().arguments()
        else:
            arguments += ["-kernel", os.fspath(self.kernel or "")]
            arguments += ["-append", self.cmdline] if self.cmdline else []
            arguments += ["-initrd", os.fspath(self.modules[0])] if self.modules else []
        if self.gdb is not None:
            arguments += ["-gdb", f"unix:{_escaped(self.gdb)},server=on,wait=off"]
        return arguments + list(self.extra)

    def shell_line(self) -> str:
        """A line for a shell that starts the same machine with the console in the terminal."""
        return shlex.join(
            [self.qemu, "-machine", self.machine, *self.machine_arguments(), "-serial", "mon:stdio"]
        )


def _escaped(path: str | os.PathLike[str]) -> str:
    """A path inside one of QEMU's comma-separated arguments."""
    return os.fspath(path).replace(",", ",,")
