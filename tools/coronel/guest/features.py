"""The build options of a kernel, read from its ELF file: docs/formats.md section 1."""

from __future__ import annotations

import struct
from typing import Protocol

from coronel.errors import DecodeError

Options = dict[str, int]

_RECORD_HEAD = struct.Struct("<8sII")
_OPTIONS_TABLE = struct.Struct("<QII")
_OPTIONS_OFFSET = 88
_ROW = struct.Struct("<32s8sQ80s")
_ROWS_LIMIT = 1000


class Place(Protocol):
    """Where a symbol lies."""

    @property
    def address(self) -> int:
        """Its virtual address."""


class KernelFile(Protocol):
    """What is needed of `coronel.artifact.Artifact`."""

    def symbol(self, name: str) -> Place:
        """A defined symbol."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a virtual address, as the file holds them."""


def options_of(kernel: KernelFile) -> Options:
    """The value of every option by its name. DecodeError when the kernel's record is not as documented."""
    record = kernel.symbol("coronel_record").address
    magic, version, _ = _RECORD_HEAD.unpack(kernel.read(record, _RECORD_HEAD.size))
    if magic != b"CORONEL\0" or version != 1:
        raise DecodeError(
            f"coronel_record at {record:#x} has magic {magic!r}, version {version}: wanted CORONEL, 1"
        )
    address, rows, row_bytes = _OPTIONS_TABLE.unpack(
        kernel.read(record + _OPTIONS_OFFSET, _OPTIONS_TABLE.size)
    )
    if row_bytes != _ROW.size or rows > _ROWS_LIMIT:
        raise DecodeError(f"the table of options at {address:#x} has {rows} rows of {row_bytes} bytes")
    found: Options = {}
    for row in range(rows):
        name, _, value, _ = _ROW.unpack(kernel.read(address + row * row_bytes, row_bytes))
        found[name.rstrip(b"\0").decode("ascii", "backslashreplace")] = value
    return found
