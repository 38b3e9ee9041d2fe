"""CPU registers as QEMU's `info registers` prints them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VALUE = re.compile(r"\b(R[A-Z0-9]{1,2}|E[A-Z]{2}|RIP|RFL|EIP|EFL|CR[0-4]|DR[0-7]|EFER) ?= ?([0-9a-f]+)\b")
_GS = re.compile(r"^GS =[0-9a-f]+ ([0-9a-f]+)", re.MULTILINE)
_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Registers:
    """One CPU: `registers["rip"]`, `["cr3"]`, `["efer"]`, ... and all of it as QEMU's text.

    Outside long mode QEMU prints 32-bit names only; they are found by their 64-bit names too.
    """

    cpu: int
    values: dict[str, int]
    text: str

    def __getitem__(self, name: str) -> int:
        """The register's value; KeyError for a name that QEMU does not print."""
        return self.values[name.lower()]

    @property
    def gs_base(self) -> int:
        """Where %gs points; 0 when QEMU does not say."""
        found = _GS.search(self.text)
        return int(found[1], 16) if found else 0

    @property
    def core_text(self) -> str:
        """QEMU's text without the floating point and vector registers."""
        return self.text.partition("\nFCW=")[0]


def parse(text: str) -> list[Registers]:
    """One entry for each CPU in the output of `info registers -a`."""
    pieces = _CPU.split(text)
    cpus = []
    for number, body in zip(pieces[1::2], pieces[2::2], strict=True):
        values = {name.lower(): int(digits, 16) for name, digits in _VALUE.findall(body)}
        values.update(
            {
                "r" + name[1:]: value
                for name, value in values.items()
                if name.startswith("e") and name != "efer"
            }
        )
        cpus.append(Registers(int(number), values, body.strip("\n")))
    return cpus
