"""The counters of a kernel built for coverage: found by its ELF file, read from a guest's RAM, written as the
files that gcov reads.

The compiler describes the counters of each object in a record of static data (GCC's libgcc/libgcov.h, struct
gcov_info) and, with -fprofile-info-section, lists the records' addresses. So the kernel needs no code of
its own for this: whoever can read its RAM, also after it has panicked, has its coverage.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coronel.artifact import Artifact
from coronel.errors import ArtifactError

LIST_START, LIST_END = "coverage_start", "coverage_end"  # linker.ld
# Kinds of counters, of which each record has a merge function or none; kind 0 counts jumps taken.
KINDS = {12: 8, 13: 8, 14: 9, 15: 10}
MERGE_JUMPS = 1  # the Makefile's value of __gcov_merge_add

_HEAD = struct.Struct("<I4xQIIQ")  # version, next, stamp, checksum, file name
_TAIL = struct.Struct("<I4xQ")  # number of functions, their descriptions
_FUNCTION = struct.Struct("<QIII4xI4xQ")  # key, ident, line checksum, flow checksum, counters, their address

# gcc/gcov-io.h: every record is a tag, a length in bytes and the data.
_MAGIC = 0x67636461
_TAG_FUNCTION, _TAG_JUMPS, _TAG_SUMMARY = 0x01000000, 0x01A10000, 0xA1000000


class Memory(Protocol):
    """Bytes of a guest by physical address."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes."""


@dataclass(frozen=True)
class Function:
    """The counters of one function."""

    ident: int
    line_checksum: int
    flow_checksum: int
    address: int
    counters: int


@dataclass(frozen=True)
class Unit:
    """The counters of one object file."""

    address: int
    version: int
    stamp: int
    checksum: int
    file: Path  # where gcov looks for them
    functions: tuple[Function, ...]


def units(kernel: Artifact) -> list[Unit]:
    """Every object's counters, in the order of the kernel's list. ArtifactError: not built for coverage."""
    start, end = kernel.symbol(LIST_START).address, kernel.symbol(LIST_END).address
    if start == end:
        raise ArtifactError(f"{kernel.path} was not built for coverage")
    addresses = struct.unpack(f"<{(end - start) // 8}Q", kernel.read(start, end - start))
    return [_unit(kernel, address) for address in addresses]


def _unit(kernel: Artifact, address: int) -> Unit:
    version, _, stamp, checksum, name = _HEAD.unpack(kernel.read(address, _HEAD.size))
    kinds = KINDS.get(compiler(version))
    if kinds is None:
        raise ArtifactError(f"{kernel.path}: coverage of GCC {compiler(version)} is not known here: {KINDS}")
    merges = struct.unpack(f"<{kinds}Q", kernel.read(address + _HEAD.size, 8 * kinds))
    if merges != (MERGE_JUMPS, *[0] * (kinds - 1)):
        raise ArtifactError(f"{kernel.path}: an object counts more than jumps, or its record is not as known")
    count, table = _TAIL.unpack(kernel.read(address + _HEAD.size + 8 * kinds, _TAIL.size))
    described = struct.unpack(f"<{count}Q", kernel.read(table, 8 * count))
    functions = []
    for description in filter(None, described):
        key, ident, lines, flow, number, at = _FUNCTION.unpack(kernel.read(description, _FUNCTION.size))
        if key == address:  # another key: the linker kept another object's copy of an inline function
            functions.append(Function(ident, lines, flow, at, number))
    return Unit(address, version, stamp, checksum, Path(_text(kernel, name)), tuple(functions))


def compiler(version: int) -> int:
    """GCC's major version: four characters, the first two are letter and digit of it (gcc/gcov-io.h)."""
    letter, digit = (version >> 24) & 0xFF, (version >> 16) & 0xFF
    return (letter - ord("A")) * 10 + digit - ord("0")


def _text(kernel: Artifact, address: int) -> str:
    found = b""
    while b"\0" not in found:
        found += kernel.read(address + len(found), 1)
    return found[:-1].decode()


class Counters:
    """What the guests of one kernel counted, together."""

    def __init__(self, kernel: Artifact) -> None:
        self.units = units(kernel)
        self._proof = kernel.read(self.units[0].address, _HEAD.size)
        self._base = _physical_base(kernel)
        functions = [function for unit in self.units for function in unit.functions]
        self._first = min(function.address for function in functions)
        self._end = max(function.address + 8 * function.counters for function in functions)
        self.values = [0] * sum(function.counters for function in functions)

    def add(self, ram: Memory) -> bool:
        """Adds what one guest has counted so far; False when its RAM does not hold this kernel."""
        if ram.read(self.units[0].address - self._base, len(self._proof)) != self._proof:
            return False
        data = ram.read(self._first - self._base, self._end - self._first)
        position = 0
        for unit in self.units:
            for function in unit.functions:
                found = struct.unpack_from(f"<{function.counters}Q", data, function.address - self._first)
                for index, value in enumerate(found, position):
                    self.values[index] += value
                position += function.counters
        return True

    def save(self, path: Path) -> None:
        """As raw numbers, for `load` with the same kernel."""
        path.write_bytes(struct.pack(f"<{len(self.values)}Q", *self.values))

    def load(self, path: Path) -> None:
        """Adds what was saved."""
        found = struct.unpack(f"<{len(self.values)}Q", path.read_bytes())
        self.values = [a + b for a, b in zip(self.values, found, strict=True)]

    def write(self) -> None:
        """Writes each object's file for gcov, beside the object."""
        values = iter(self.values)
        for unit in self.units:
            unit.file.write_bytes(gcda(unit, values))


def _physical_base(kernel: Artifact) -> int:
    segment = next(s for s in kernel.segments if s.type == "PT_LOAD")
    return segment.address - segment.physical


def gcda(unit: Unit, values: Iterator[int]) -> bytes:
    """The file of one object; takes as many of `values` as it has counters."""
    words = [_MAGIC, unit.version, unit.stamp, unit.checksum, _TAG_SUMMARY, 8, 1, 0]
    found = bytearray(struct.pack("<8I", *words))
    for function in unit.functions:
        counted: Sequence[int] = [next(values) for _ in range(function.counters)]
        checks = (function.ident, function.line_checksum, function.flow_checksum)
        found += struct.pack("<5I", _TAG_FUNCTION, 12, *checks)
        found += struct.pack("<II", _TAG_JUMPS, 8 * len(counted)) + struct.pack(f"<{len(counted)}Q", *counted)
    return bytes(found) + bytes(4)
