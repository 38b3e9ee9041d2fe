"""The build options of a kernel, read from its ELF file: docs/formats.md section 1."""

from __future__ import annotations

import struct
from typing import Protocol

from coronel.errors import DecodeError

Options = dict[str, int]

SYMBOL = "coronel_options"
_ROW = struct.Struct("<32s16sQ80s")


class Place(Protocol):
    """Where a symbol lies."""

    @property
    def address(self) -> int:
        """Its virtual address."""

    @property
    def bytes(self) -> int:
        """Its size."""


class KernelFile(Protocol):
    """What is needed of `coronel.artifact.Artifact`."""

    def symbol(self, name: str) -> Place:
        """A defined symbol."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a virtual address, as the file holds them."""


def options_of(kernel: KernelFile) -> Options:
    """The value of every option by its name. DecodeError when the table is not as documented."""
    table = kernel.symbol(SYMBOL)
    if table.bytes == 0 or table.bytes % _ROW.size:
        raise DecodeError(f"{SYMBOL} has {table.bytes} bytes: no whole number of rows of {_ROW.size}")
    rows = _ROW.iter_unpack(kernel.read(table.address, table.bytes))
    return {name.rstrip(b"\0").decode("ascii", "backslashreplace"): value for name, _, value, _ in rows}
