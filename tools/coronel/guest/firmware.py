"""The machine's firmware: QEMU's own BIOS, or UEFI from the package `ovmf`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from coronel.checkout import system_path
from coronel.errors import SetupError

FOLDER = system_path("/usr/share/OVMF")
# Code and variables, the one that every Debian has first.
PAIRS = (("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd"))
UEFI_MEMORY_MINIMUM = 128 << 20  # with less than half of it, OVMF hangs in silence


class Firmware(Enum):
    """What runs before the boot loader."""

    bios = "bios"
    uefi = "uefi"


@dataclass(frozen=True)
class Uefi:
    """The two flash chips of a UEFI machine."""

    code: Path
    variables: Path

    @classmethod
    def find(cls, folder: Path = FOLDER) -> Uefi:
        """Those of the package. SetupError where it is not installed."""
        for code, variables in PAIRS:
            found = cls(folder / code, folder / variables)
            if found.code.is_file() and found.variables.is_file():
                return found
        raise SetupError(f"firmware uefi needs {folder / PAIRS[0][0]}: install the package ovmf")

    def arguments(self) -> list[str]:
        """QEMU's arguments. What the firmware writes is forgotten: every machine starts from the same."""
        shared = "if=pflash,format=raw"
        return [
            "-drive",
            f"{shared},unit=0,readonly=on,file={self.code}",
            "-drive",
            f"{shared},unit=1,snapshot=on,file={self.variables}",
        ]
